-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- At which hours of the week do calls come, and when do callers sound angry?
-- Grain: one row per queue, weekday (1 = Monday) and hour of the call's start; calls without a start time are left out.
-- Units: hour 0 to 23 in the zone of call_date, calls in recordings, share_ of scored speech seconds 0 to 1, _s in seconds.
-- _low and _high: 95 % interval, calls being the independent units. A heat map has 168 cells a queue: some eight intervals of them miss by
-- chance alone, so look for neighbouring cells that agree.
WITH calls AS (
    SELECT
        *,
        CASE WHEN emotion_role IS DISTINCT FROM 'agent' THEN nullif(scored_speech_s, 0) END AS seconds,
        share_negative(share_anger, share_disgust, share_fear, share_sadness) AS share_negative
    FROM {{ ref('counted_calls') }} AS counted_calls
    WHERE call_date IS NOT NULL AND local_hour IS NOT NULL
), grouped AS (
    SELECT
        queue,
        isodow(call_date) AS weekday,
        local_hour AS hour,
        count(*) AS calls,
        count(*) FILTER (outcome = 'scored') AS scored,
        count(DISTINCT call_date) AS days,
        coalesce(sum(seconds), 0) AS scored_speech_s,
        weighted_avg(share_anger, seconds) AS share_anger,
        share_interval(share_anger, seconds) AS anger,
        weighted_avg(share_negative, seconds) AS share_negative,
        share_interval(share_negative, seconds) AS negative,
        weighted_avg(share_unsure, seconds) AS share_unsure
    FROM calls
    GROUP BY queue, weekday, hour
)
SELECT
    queue,
    weekday, -- day of the week of call_date, 1 = Monday to 7 = Sunday
    hour, -- hour of the call's start, 0 to 23 in the zone of call_date
    calls, -- calls with a row: scored, without speech or withheld
    scored, -- scored calls: the units of the intervals
    days, -- dates on which these calls came
    scored_speech_s, -- seconds of scored speech: the shares' denominator
    share_anger,
    anger.low AS share_anger_low,
    anger.high AS share_anger_high,
    share_negative,
    negative.low AS share_negative_low,
    negative.high AS share_negative_high,
    share_unsure
FROM grouped
ORDER BY queue, weekday, hour
