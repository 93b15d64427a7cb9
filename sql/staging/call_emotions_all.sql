-- How did every call go, in every version?
-- Grain: one row per upload (recording_id and etag), model and policy.
-- Units: seconds (_s), dB (_dbfs), shares and probabilities 0 to 1.
SELECT * EXCLUDE (part) FROM parts.call_emotions SEMI JOIN chunks USING (day, version, chunk_id, part)
