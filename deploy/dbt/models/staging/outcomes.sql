-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- How did each recording end?
-- Grain: one row per recording_id: its newest version, see newest. All versions: outcomes_all.
-- Units: in the columns' names.
SELECT * EXCLUDE (part) FROM {{ ref('newest') }} AS newest
