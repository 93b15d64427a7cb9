-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Do two models say the same about the same recordings?
-- Grain: one row per pair of models that scored the same uploads for the same role; model_a is the one that came first.
-- Units: calls in recordings, share_ and agreement 0 to 1, differences are b less a.
-- The pairs are of the same recording, etag and chunk, so a difference is the models', not the calls'. _low and _high: 95 % interval of the
-- mean difference a call (Student's t over calls). kappa is Cohen's: agreement beyond chance, 1 all, 0 none. It cannot say which model is
-- right.
WITH versions AS (
    SELECT model, min(scored_at) AS first_at FROM {{ ref('call_emotions_all') }} AS call_emotions_all GROUP BY model
), scored AS (
    SELECT
        recording_id, etag, chunk_id, model, emotion_role, first_at, scored_at, share_anger, share_unsure, mean_p_anger, escalated,
        coalesce(dominant_emotion, 'unsure') AS dominant
    FROM {{ ref('call_emotions_all') }} AS call_emotions_all
    JOIN versions USING (model)
    WHERE outcome = 'scored' AND emotion_role IS DISTINCT FROM 'agent' AND (SELECT count(*) FROM versions) > 1
    QUALIFY row_number() OVER (PARTITION BY recording_id, etag, chunk_id, model ORDER BY scored_at DESC, version DESC) = 1
), pairs AS (
    SELECT
        a.model AS model_a,
        b.model AS model_b,
        a.share_anger AS anger_a,
        b.share_anger AS anger_b,
        b.share_anger - a.share_anger AS difference,
        a.mean_p_anger AS p_a,
        b.mean_p_anger AS p_b,
        a.share_unsure AS unsure_a,
        b.share_unsure AS unsure_b,
        a.escalated AS escalated_a,
        b.escalated AS escalated_b,
        a.dominant AS dominant_a,
        b.dominant AS dominant_b
    FROM scored AS a
    JOIN scored AS b USING (recording_id, etag, chunk_id, emotion_role)
    WHERE (a.first_at, a.model) < (b.first_at, b.model)
), by_label AS (
    SELECT model_a, model_b, sum(n_a * n_b) AS products
    FROM (
        SELECT model_a, model_b, label, count(*) FILTER (side = 'a') AS n_a, count(*) FILTER (side = 'b') AS n_b
        FROM (
            SELECT model_a, model_b, dominant_a AS label, 'a' AS side FROM pairs
            UNION ALL
            SELECT model_a, model_b, dominant_b AS label, 'b' AS side FROM pairs
        )
        GROUP BY model_a, model_b, label
    )
    GROUP BY model_a, model_b
), compared AS (
    SELECT
        model_a,
        model_b,
        count(*) AS calls,
        count(*) FILTER (dominant_a = dominant_b) / count(*) AS agreement,
        avg(anger_a) AS share_anger_a,
        avg(anger_b) AS share_anger_b,
        avg(difference) AS difference,
        t_quantile(nullif(count(difference) - 1, 0)) * stddev_samp(difference) / sqrt(count(difference)) AS margin,
        CASE WHEN count(p_a) > 2 AND max(p_a) > min(p_a) AND max(p_b) > min(p_b) THEN corr(p_a, p_b) END AS correlation,
        avg(unsure_a) AS share_unsure_a,
        avg(unsure_b) AS share_unsure_b,
        count(*) FILTER (escalated_a) AS escalated_a,
        count(*) FILTER (escalated_b) AS escalated_b,
        count(*) FILTER (escalated_a AND escalated_b) AS escalated_both
    FROM pairs
    GROUP BY model_a, model_b
)
SELECT
    model_a, -- the model that scored first
    model_b, -- the model that came later
    calls, -- recordings that both scored
    agreement, -- share of these calls with the same dominant emotion (mostly unsure is one of its own), 0 to 1
    (agreement - products / calls ^ 2) / nullif(1 - products / calls ^ 2, 0) AS kappa, -- Cohen's kappa of the dominant emotion, at most 1
    share_anger_a, -- mean of the calls' share of anger by model_a, 0 to 1
    share_anger_b, -- mean of the calls' share of anger by model_b, 0 to 1
    difference, -- share_anger_b less share_anger_a
    difference - margin AS difference_low,
    difference + margin AS difference_high,
    correlation AS correlation_p_anger, -- of the calls' mean probabilities of anger (Pearson), -1 to 1
    share_unsure_a, -- mean of the calls' share of unsure speech by model_a, 0 to 1
    share_unsure_b, -- mean of the calls' share of unsure speech by model_b, 0 to 1
    escalated_a, -- calls that escalated by model_a
    escalated_b, -- calls that escalated by model_b
    escalated_both -- calls that escalated by both
FROM compared
JOIN by_label USING (model_a, model_b)
ORDER BY calls DESC, model_a, model_b
