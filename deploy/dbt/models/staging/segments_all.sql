-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- What was detected in every speech segment, in every version?
-- Grain: one row per segment of a channel, upload (recording_id and etag), model and policy.
-- Units: seconds (_s), dB (_db, _dbfs), probabilities 0 to 1 (p_).
-- Scored segments of a call of the view refused are left out, as in call_emotions_all. To count or group emotions take label, as in segments.
SELECT
    * EXCLUDE (part),
    CASE WHEN unsure THEN 'unsure' WHEN NOT unsure THEN emotion END AS label -- emotion where the model is sure, else unsure; null where none is scored
FROM {{ source('lake', 'segments') }}
SEMI JOIN {{ ref('chunks') }} AS chunks USING (day, version, chunk_id, part)
WHERE (emotion IS NULL AND confidence IS NULL) OR recording_id NOT IN (SELECT recording_id FROM {{ ref('refused') }} AS refused)
