-- Which recordings were ever planned into a chunk?
-- Grain: one row per upload (recording_id and etag).
-- Units: in the columns' names.
SELECT * FROM parts.recordings
