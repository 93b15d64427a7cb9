-- Which recordings have more than one row of call_emotions in one version?
-- Grain: one row per upload (recording_id and etag), model and policy.
-- Units: none.
SELECT
    'a call has more than one row' AS what,
    min(call_id) AS call_id,
    format(
        '{} (etag {}, version {}) has {} rows in chunks {}',
        min(key), etag, min(version), count(*), string_agg(DISTINCT chunk_id, ', ' ORDER BY chunk_id)
    ) AS detail
FROM call_emotions_all
GROUP BY recording_id, etag, model, policy
HAVING count(*) > 1
