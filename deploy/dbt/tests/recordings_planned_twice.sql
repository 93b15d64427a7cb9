-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which uploads are in two chunks?
-- Grain: one row per upload (recording_id, etag and its sidecar's etag).
-- Units: none.
SELECT
    'a recording is planned twice' AS what,
    NULL::VARCHAR AS call_id,
    format(
        '{} (etag {}) is in {} rows of the manifest, chunks {}',
        min(key), etag, count(*), string_agg(DISTINCT chunk_id, ', ' ORDER BY chunk_id)
    ) AS detail
FROM {{ ref('recordings_all') }} AS recordings_all
GROUP BY recording_id, etag, sidecar_etag
HAVING count(*) > 1
