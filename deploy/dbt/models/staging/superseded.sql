-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which handled uploads does a newer upload, model or policy of the same recording replace?
-- Grain: one row per recording_id, chunk and version that is not the recording's newest, as newest orders them.
-- Units: none.
-- Equal to all of outcomes less newest, but cheap: only recordings whose hash occurs more than once are sorted, and most lakes have few of
-- them.
WITH handled AS MATERIALIZED ( -- one listing of the parts for both passes
    SELECT recording_id, etag, chunk_id, version, planned_at, scored_at FROM {{ source('lake', 'outcomes') }}
), repeated AS (
    SELECT hash(recording_id) AS hashed FROM handled GROUP BY hashed HAVING count(*) > 1
)
SELECT recording_id, chunk_id, version
FROM handled
WHERE hash(recording_id) IN (FROM repeated)
QUALIFY (version, chunk_id) <> first((version, chunk_id)) OVER (
    PARTITION BY recording_id
    ORDER BY coalesce(planned_at, scored_at) DESC, scored_at DESC, version DESC, etag DESC, chunk_id DESC
)
