-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which segments lie outside their recording, or end before they start?
-- Grain: one row per segment.
-- Units: seconds.
-- 10 ms of grace at the end: segment bounds are rounded to the detector's step.
SELECT
    'a segment outside its recording' AS what,
    s.call_id,
    format('channel {} from {:.3f} to {:.3f} s of {:.3f} s in {}', s.channel, s.start_s, s.end_s, c.duration_s, s.recording_id) AS detail
FROM {{ ref('segments') }} AS s
JOIN {{ ref('call_emotions') }} AS c USING (recording_id)
WHERE NOT coalesce(s.start_s >= 0 AND s.end_s > s.start_s AND s.end_s <= c.duration_s + 0.01, false)
