-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- What did each run do?
-- Grain: one row per run_id.
-- Units: in the columns' names; audio_h_per_h in audio hours per wall-clock hour.
SELECT * FROM {{ source('lake', 'runs') }} QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY ended_at DESC) = 1
