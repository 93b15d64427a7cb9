-- How did every call go, in every version?
-- Grain: one row per upload (recording_id and etag), model and policy.
-- Units: seconds (_s), dB (_dbfs), shares and probabilities 0 to 1.
SELECT * FROM parts.call_emotions
