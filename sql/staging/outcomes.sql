-- How did each recording end?
-- Grain: one row per recording_id: its newest version. All versions: outcomes_all.
-- Units: in the columns' names.
-- The newest upload with an outcome comes first, then the model and policy that handled it last (scored_at). A good
-- older version does not come back where the newest one was quarantined, withheld or failed: the row says so instead,
-- and the views segments and call_emotions follow it. An upload planned but not yet handled does not hide its former one.
SELECT o.*
FROM outcomes_all AS o
LEFT JOIN (
    SELECT recording_id, etag, chunk_id, max(planned_at) AS planned_at FROM parts.recordings GROUP BY recording_id, etag, chunk_id
) AS upload USING (recording_id, etag, chunk_id)
QUALIFY row_number() OVER (
    PARTITION BY o.recording_id
    ORDER BY upload.planned_at DESC NULLS LAST, o.scored_at DESC, o.version DESC, o.etag DESC, o.chunk_id DESC
) = 1
