-- Which planned recordings have no outcome?
-- Grain: one row per upload (recording_id and etag). While a run is at work, those still to come are here too.
-- Units: none.
SELECT
    'a planned recording has no outcome' AS what,
    NULL::VARCHAR AS call_id,
    format('{} (etag {}) of chunk {}, planned by run {}: run the night again', key, etag, chunk_id, run_id) AS detail
FROM recordings_all
ANTI JOIN outcomes_all USING (recording_id, etag)
