-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which calls have shares of emotion that cannot be?
-- Grain: one row per call.
-- Units: shares 0 to 1.
-- In a scored call, the shares and share_unsure lie in 0 to 1 and sum to 1 (within 0.001); in any other all are null.
WITH listed AS (
    SELECT
        *,
        list_filter(
            [
                share_anger, share_calm, share_disgust, share_fear, share_happiness, share_neutral, share_sadness, share_surprise,
                share_unsure
            ],
            lambda share: share IS NOT NULL
        ) AS shares
    FROM {{ ref('call_emotions') }} AS call_emotions
), judged AS (
    SELECT
        *,
        CASE
            WHEN outcome <> 'scored' AND len(shares) > 0 THEN 'shares in a call that is not scored'
            WHEN outcome <> 'scored' THEN NULL
            WHEN len(shares) = 0 THEN 'a scored call without shares'
            WHEN len(list_filter(shares, lambda share: isnan(share) OR share < 0 OR share > 1.0001)) > 0 THEN 'a share outside 0 to 1'
            WHEN abs(list_sum(shares) - 1) > 0.001 THEN 'shares that do not sum to 1'
        END AS what
    FROM listed
)
SELECT what, call_id, format('{}, shares {} in {}', outcome, shares::VARCHAR, recording_id) AS detail
FROM judged
WHERE what IS NOT NULL
