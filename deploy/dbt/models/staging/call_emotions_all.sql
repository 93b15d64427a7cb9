-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- How did every call go, in every version?
-- Grain: one row per upload (recording_id and etag), model and policy.
-- Units: seconds (_s), dB (_dbfs), shares and probabilities 0 to 1.
-- A call of the view refused has no scored row: consent that is withdrawn is so for every version.
SELECT * EXCLUDE (part) FROM {{ source('lake', 'call_emotions') }} SEMI JOIN {{ ref('chunks') }} AS chunks USING (day, version, chunk_id, part)
WHERE outcome <> 'scored' OR recording_id NOT IN (SELECT recording_id FROM {{ ref('refused') }} AS refused)
