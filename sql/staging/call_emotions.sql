-- How did each call go?
-- Grain: one row per recording, of its newest version as outcomes names it. All versions: call_emotions_all.
-- Units: seconds (_s), dB (_dbfs), shares and probabilities 0 to 1.
-- A recording whose newest version was quarantined or failed has no row here, even where an older version was good.
SELECT c.* FROM call_emotions_all AS c SEMI JOIN outcomes USING (recording_id, etag, chunk_id, model, policy)
