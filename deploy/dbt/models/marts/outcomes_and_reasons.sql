-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- How did each day's recordings end, and why?
-- Grain: one row per day (of the day folder), outcome and reason_code.
-- Units: recordings counted, share_of_day 0 to 1, audio_h in hours, spent_s in worker seconds.
SELECT
    day,
    outcome,
    reason_code,
    count(*) AS recordings, -- recordings of the day that ended so
    min(reason) AS example_reason, -- what one of them says happened, and what to do
    count(*) / sum(count(*)) OVER (PARTITION BY day) AS share_of_day, -- share of the day's recordings, 0 to 1
    arg_min(key, reason) AS example_key, -- key of that recording
    sum(audio_s) / 3600 AS audio_h,
    sum(spent_s) AS spent_s, -- worker seconds spent on them
    max(attempts) AS most_attempts -- the most often that one of them was tried
FROM {{ ref('outcomes') }} AS outcomes
GROUP BY day, outcome, reason_code
ORDER BY day DESC, recordings DESC, outcome, reason_code
