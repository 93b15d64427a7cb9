-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which line profiles are there, of which sample, and from when does each count?
-- Grain: one row per profile and line.
-- Units: recordings, callers and segments counted, speech_s in seconds, distances from 0; features in the model's units.
SELECT * FROM {{ source('lake', 'profiles') }}
