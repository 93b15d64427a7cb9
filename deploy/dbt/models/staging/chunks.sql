-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which part holds each chunk?
-- Grain: one row per chunk and version that is done.
-- Units: none.
-- A merged part counts before a chunk's own, a later one before an earlier one (merged-000002-... > merged-000001-... > ''):
-- so no row appears twice while ser compact merges parts, and none before its chunk is done.
SELECT day, version, chunk_id, max(part) AS part FROM {{ source('lake', 'outcomes') }} GROUP BY day, version, chunk_id
