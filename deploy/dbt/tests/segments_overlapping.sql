-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which segments of one channel overlap, or are there twice?
-- Grain: one row per segment that starts before an earlier one of its channel ends.
-- Units: seconds.
WITH ordered AS (
    SELECT
        *,
        max(end_s) OVER (
            PARTITION BY recording_id, channel ORDER BY start_s, end_s ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS ended_s
    FROM {{ ref('segments') }} AS segments
)
SELECT
    'two segments of one channel overlap' AS what,
    call_id,
    format('channel {} from {:.3f} s, before an earlier segment ends at {:.3f} s, in {}', channel, start_s, ended_s, recording_id) AS detail
FROM ordered
WHERE start_s < ended_s - 0.001
