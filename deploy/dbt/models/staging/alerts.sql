-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which alerts were firing or resolved, who was notified, and who acknowledged them?
-- Grain: one row per alert (rule and subject), target and notification; one more for each attempt that failed (told_at is null), and one for each acknowledgement.
-- Units: none.
SELECT * FROM {{ source('lake', 'alerts') }}
