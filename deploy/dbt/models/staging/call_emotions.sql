-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- How did each call go?
-- Grain: one row per recording, of its newest version as newest names it. All versions: call_emotions_all.
-- Units: seconds (_s), dB (_dbfs), shares and probabilities 0 to 1.
-- A recording whose newest version was quarantined or failed has no row here, even where an older version was good.
SELECT * EXCLUDE (part)
FROM {{ source('lake', 'call_emotions') }}
SEMI JOIN {{ ref('chunks') }} AS chunks USING (version, chunk_id, part)
ANTI JOIN {{ ref('superseded') }} AS superseded USING (version, chunk_id, recording_id)
