-- What was detected in every speech segment, in every version?
-- Grain: one row per segment of a channel, upload (recording_id and etag), model and policy.
-- Units: seconds (_s), dB (_db, _dbfs), probabilities 0 to 1 (p_).
SELECT * EXCLUDE (part) FROM parts.segments SEMI JOIN chunks USING (day, version, chunk_id, part)
