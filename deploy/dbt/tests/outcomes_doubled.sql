-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which recordings have more than one outcome in one version?
-- Grain: one row per upload (recording_id, etag and its sidecar's etag), model and policy.
-- Units: none.
SELECT
    'a recording has more than one outcome' AS what,
    min(call_id) AS call_id,
    format(
        '{} (etag {}, version {}) has {} outcomes: {}',
        min(key), etag, min(version), count(*), string_agg(outcome || ' in chunk ' || chunk_id, ', ' ORDER BY chunk_id, outcome)
    ) AS detail
FROM {{ ref('outcomes_all') }} AS outcomes_all
LEFT JOIN (SELECT DISTINCT recording_id, etag, chunk_id, sidecar_etag FROM {{ ref('recordings_all') }} AS recordings_all) USING (recording_id, etag, chunk_id)
GROUP BY recording_id, etag, sidecar_etag, model, policy
HAVING count(*) > 1
