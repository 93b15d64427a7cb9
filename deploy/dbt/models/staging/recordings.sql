-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which recordings are known, each as it was last uploaded?
-- Grain: one row per recording_id.
-- Units: in the columns' names.
-- The newest upload is the one planned last: a store holds one upload of a key at a time. Older ones: recordings_all.
SELECT *
FROM {{ source('lake', 'recordings') }}
QUALIFY row_number() OVER (PARTITION BY recording_id ORDER BY planned_at DESC, last_modified DESC, etag DESC, chunk_id DESC) = 1
