-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- How did every version of every recording end?
-- Grain: one row per upload (recording_id and etag), model and policy.
-- Units: in the columns' names.
-- One pass over the parts, not a join with chunks: a part that appears in between would be in one of two passes only.
SELECT * EXCLUDE (part) FROM {{ source('lake', 'outcomes') }} QUALIFY part = max(part) OVER (PARTITION BY day, version, chunk_id)
