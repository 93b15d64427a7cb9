-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- How did each call go, counted once?
-- Grain: one row per call: call_emotions without the recordings that copies names.
-- Units: seconds (_s), dB (_dbfs), shares and probabilities 0 to 1.
SELECT * FROM {{ ref('call_emotions') }} AS call_emotions ANTI JOIN {{ ref('copies') }} AS copies USING (recording_id)
