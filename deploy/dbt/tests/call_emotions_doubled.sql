-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which recordings have more than one row of call_emotions in one version?
-- Grain: one row per upload (recording_id, etag and its sidecar's etag), model and policy.
-- Units: none.
SELECT
    'a call has more than one row' AS what,
    min(call_id) AS call_id,
    format(
        '{} (etag {}, version {}) has {} rows in chunks {}',
        min(key), etag, min(version), count(*), string_agg(DISTINCT chunk_id, ', ' ORDER BY chunk_id)
    ) AS detail
FROM {{ ref('call_emotions_all') }} AS call_emotions_all
LEFT JOIN (SELECT DISTINCT recording_id, etag, chunk_id, sidecar_etag FROM {{ ref('recordings_all') }} AS recordings_all) USING (recording_id, etag, chunk_id)
GROUP BY recording_id, etag, sidecar_etag, model, policy
HAVING count(*) > 1
