-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- What was detected in every speech segment?
-- Grain: one row per segment of a channel, of the recording's newest version as newest names it. All: segments_all.
-- Units: seconds (_s), dB (_db, _dbfs), probabilities 0 to 1 (p_).
-- To count or group emotions take label: emotion is filled where the model is unsure, too.
SELECT
    * EXCLUDE (part),
    CASE WHEN unsure THEN 'unsure' WHEN NOT unsure THEN emotion END AS label -- emotion where the model is sure, else unsure; null where none is scored
FROM {{ source('lake', 'segments') }}
SEMI JOIN {{ ref('chunks') }} AS chunks USING (version, chunk_id, part)
ANTI JOIN {{ ref('superseded') }} AS superseded USING (version, chunk_id, recording_id)
