-- What was heard in every speech segment?
-- Grain: one row per segment of a channel, of the recording's newest version as outcomes names it. All: segments_all.
-- Units: seconds (_s), dB (_db, _dbfs), probabilities 0 to 1 (p_).
SELECT s.* FROM segments_all AS s SEMI JOIN outcomes USING (recording_id, etag, chunk_id, model, policy)
