-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Was a role scored that the policy excludes?
-- Grain: one row per call, role and policy.
-- Units: none.
-- Repeats ser_tasks/calls/policy.py independently: a policy that is not listed here allows no role.
WITH allowed(policy, role) AS (
    VALUES
        ('customers_only', 'customer'),
        ('customers_with_notice', 'customer'),
        ('customers_and_mixed', 'customer'),
        ('customers_and_mixed', 'mixed'),
        ('customers_mono', 'customer'),
        ('everyone', 'customer'),
        ('everyone', 'agent'),
        ('everyone', 'mixed'),
        ('everyone', 'unknown')
), emotions AS (
    SELECT call_id, recording_id, role, policy, count(*) AS scored
    FROM {{ ref('segments') }} AS segments
    WHERE emotion IS NOT NULL OR confidence IS NOT NULL
    GROUP BY call_id, recording_id, role, policy
    UNION ALL
    SELECT call_id, recording_id, emotion_role AS role, policy, 1 AS scored
    FROM {{ ref('call_emotions') }} AS call_emotions
    WHERE emotion_role IS NOT NULL
    UNION ALL
    SELECT call_id, recording_id, unnest(['customer', 'agent', 'unknown']) AS role, policy,
        unnest([customer_words_sentiment, agent_words_sentiment, unattributed_words_sentiment]) AS scored
    FROM {{ ref('call_emotions') }} AS call_emotions
), scored_roles AS (
    FROM emotions WHERE scored IS NOT NULL
)
SELECT
    'emotion of a role that the policy leaves out' AS what,
    call_id,
    format('role {} under policy {}, {} rows in {}', coalesce(role, 'null'), policy, max(scored), recording_id) AS detail
FROM scored_roles
ANTI JOIN allowed USING (policy, role)
GROUP BY call_id, recording_id, role, policy
