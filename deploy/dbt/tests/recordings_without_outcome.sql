-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which planned recordings have no outcome?
-- Grain: one row per upload (recording_id, etag and its sidecar's etag).
-- Units: none.
-- Left out: what a run planned that may still be at work, which is one that has no row in runs and planned it within the last day; and days
-- whose outcomes the retention deletes.
SELECT
    'a planned recording has no outcome' AS what,
    NULL::VARCHAR AS call_id,
    format('{} (etag {}) of chunk {}, planned by run {}: run the night again', key, etag, chunk_id, run_id) AS detail
FROM {{ ref('recordings_all') }} AS recordings_all
ANTI JOIN {{ ref('outcomes_all') }} AS outcomes_all USING (recording_id, etag, chunk_id)
WHERE (run_id IN (SELECT run_id FROM {{ ref('runs') }} AS runs) OR planned_at < coalesce(getvariable('as_of')::TIMESTAMPTZ, now()) - INTERVAL 1 DAY)
    AND NOT EXISTS (FROM {{ ref('deletions') }} AS d WHERE d.day = recordings_all.day AND d.table_name = 'outcomes')
