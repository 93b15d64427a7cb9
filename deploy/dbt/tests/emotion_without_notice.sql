-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Was a caller scored without notice?
-- Grain: one row per call.
-- Units: none.
-- No policy scores a call whose notice_given is false; customers_with_notice scores only calls that say it is true.
SELECT
    'emotion of a caller who was not told' AS what,
    call_id,
    format('notice_given is {} (policy {}) in {}', coalesce(notice_given::VARCHAR, 'unknown'), policy, recording_id) AS detail
FROM {{ ref('call_emotions') }} AS call_emotions
WHERE (notice_given = false OR (policy = 'customers_with_notice' AND notice_given IS NULL))
    AND (
        outcome = 'scored'
        OR emotion_role IS NOT NULL
        OR dominant_emotion IS NOT NULL
        OR recording_id IN (SELECT recording_id FROM {{ ref('segments') }} AS segments WHERE emotion IS NOT NULL)
    )
