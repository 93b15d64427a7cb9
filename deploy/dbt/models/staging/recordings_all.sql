-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which recordings were ever planned into a chunk?
-- Grain: one row per upload (recording_id and etag).
-- Units: in the columns' names.
SELECT * FROM {{ source('lake', 'recordings') }}
