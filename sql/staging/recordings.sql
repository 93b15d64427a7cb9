-- Which recordings are known, each as it was last uploaded?
-- Grain: one row per recording_id.
-- Units: in the columns' names.
-- The newest upload is the one planned last: a store holds one upload of a key at a time. Older ones: recordings_all.
SELECT *
FROM parts.recordings
QUALIFY row_number() OVER (PARTITION BY recording_id ORDER BY planned_at DESC, last_modified DESC, etag DESC, chunk_id DESC) = 1
