-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Where the model says 70 % anger, do reviewers hear anger in 70 %?
-- Grain: one row per model, kind (call or stretch) and fifth of the score's range in which something was judged.
-- Units: scores and shares 0 to 1.
-- Weighted as in measured_precision. A calibrated score equals the share.
WITH units AS (
    SELECT
        model,
        CASE WHEN is_stretch THEN 'stretch' ELSE 'call' END AS kind,
        least(4, floor(score * 5))::INTEGER AS fifth,
        any_value(score) AS score,
        sum(weight) AS weight,
        sum(weight * (emotion = 'anger')::INTEGER) AS angry
    FROM {{ ref('reviewed_sample') }} AS reviewed_sample
    WHERE score IS NOT NULL
    GROUP BY model, is_stretch, fifth, sample_id, recording_id, channel, start_s, end_s
), summed AS (
    SELECT
        model,
        kind,
        fifth,
        count(*) AS judged,
        sum(score * weight) / sum(weight) AS mean_score,
        sum(angry) / sum(weight) AS share_angry,
        CASE WHEN count(*) >= 5 THEN wilson_interval(sum(angry) / sum(weight), sum(weight) ^ 2 / sum(weight ^ 2)) END AS ends
    FROM units
    GROUP BY ALL
)
SELECT
    model,
    kind, -- call or stretch
    fifth / 5 AS score_from, -- lower end of the range of the score
    judged, -- calls or stretches that were judged
    mean_score, -- mean score, 0 to 1
    share_angry, -- share in which reviewers hear anger, 0 to 1
    ends.low AS share_angry_low,
    ends.high AS share_angry_high
FROM summed
ORDER BY ALL
