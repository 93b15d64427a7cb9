-- How did each call go, counted once?
-- Grain: one row per call: call_emotions without the recordings that copies names.
-- Units: seconds (_s), dB (_dbfs), shares and probabilities 0 to 1.
SELECT * FROM call_emotions ANTI JOIN copies USING (recording_id)
