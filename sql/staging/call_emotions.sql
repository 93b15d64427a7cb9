-- How did each call go?
-- Grain: one row per recording, of its newest version as newest names it. All versions: call_emotions_all.
-- Units: seconds (_s), dB (_dbfs), shares and probabilities 0 to 1.
-- A recording whose newest version was quarantined or failed has no row here, even where an older version was good.
SELECT * EXCLUDE (part)
FROM parts.call_emotions
SEMI JOIN chunks USING (version, chunk_id, part)
ANTI JOIN superseded USING (version, chunk_id, recording_id)
