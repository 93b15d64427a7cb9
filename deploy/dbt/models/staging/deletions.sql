-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- What did the retention delete, of which day and when?
-- Grain: one row per deletion: a day of a table; a killed deletion and the one that completed it are two.
-- Units: parts counted, size_bytes in bytes, keep_days in days.
SELECT * FROM {{ source('lake', 'deletions') }}
