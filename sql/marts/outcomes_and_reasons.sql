-- How did each day's recordings end, and why?
-- Grain: one row per day (of the day folder), outcome and reason_code.
-- Units: recordings counted, share_of_day 0 to 1, audio_h in hours, spent_s in worker seconds.
SELECT
    day,
    outcome,
    reason_code,
    count(*) AS recordings,
    min(reason) AS example_reason,
    count(*) / sum(count(*)) OVER (PARTITION BY day) AS share_of_day,
    arg_min(key, reason) AS example_key,
    sum(audio_s) / 3600 AS audio_h,
    sum(spent_s) AS spent_s,
    max(attempts) AS most_attempts
FROM outcomes
GROUP BY day, outcome, reason_code
ORDER BY day DESC, recordings DESC, outcome, reason_code
