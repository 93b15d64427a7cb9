-- How did every call go, in every version?
-- Grain: one row per upload (recording_id and etag), model and policy.
-- Units: seconds (_s), dB (_dbfs), shares and probabilities 0 to 1.
-- A call whose newest version says that the caller was not informed has no scored row: consent that is withdrawn, is so for every version.
SELECT * EXCLUDE (part) FROM parts.call_emotions SEMI JOIN chunks USING (day, version, chunk_id, part)
WHERE outcome <> 'scored' OR recording_id NOT IN (SELECT recording_id FROM newest WHERE reason_code = 'no_notice')
