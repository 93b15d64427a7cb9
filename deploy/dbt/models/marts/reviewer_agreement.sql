-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- How far do two reviewers agree?
-- Grain: one row per pair of reviewers who judged the same calls or stretches.
-- Units: shares 0 to 1, kappa -1 to 1.
-- Cohen's kappa over the emotions that each hears by their latest word: 0 is what chance gives, 1 is full agreement. Its interval is that
-- of a large sample (Cohen, Educational and Psychological Measurement 20, 1960); with fewer than 10 judged by both there is none.
-- kappa is null where both hear one and the same emotion everywhere.
WITH pairs AS (
    SELECT a.reviewer AS reviewer_a, b.reviewer AS reviewer_b, a.emotion AS emotion_a, b.emotion AS emotion_b, a.blind AND b.blind AS blind
    FROM {{ ref('review_labels') }} AS a
    JOIN {{ ref('review_labels') }} AS b
        ON a.recording_id = b.recording_id AND a.channel IS NOT DISTINCT FROM b.channel
        AND a.start_s IS NOT DISTINCT FROM b.start_s AND a.end_s IS NOT DISTINCT FROM b.end_s AND a.reviewer < b.reviewer
), counts AS (
    SELECT reviewer_a, reviewer_b, count(*) AS judged, count(*) FILTER (blind) AS blind, avg((emotion_a = emotion_b)::INTEGER) AS agreement
    FROM pairs
    GROUP BY ALL
), hears_a AS (
    SELECT reviewer_a, reviewer_b, emotion_a AS emotion, count(*) AS n FROM pairs GROUP BY ALL
), hears_b AS (
    SELECT reviewer_a, reviewer_b, emotion_b AS emotion, count(*) AS n FROM pairs GROUP BY ALL
), chance AS (
    SELECT reviewer_a, reviewer_b, sum(a.n * b.n) AS products
    FROM hears_a AS a JOIN hears_b AS b USING (reviewer_a, reviewer_b, emotion)
    GROUP BY ALL
), measured AS (
    SELECT
        counts.*,
        coalesce(products, 0) / judged ^ 2 AS by_chance,
        (agreement - by_chance) / nullif(1 - by_chance, 0) AS kappa,
        CASE WHEN judged >= 10 THEN 1.959963985 * sqrt(agreement * (1 - agreement) / judged) / nullif(1 - by_chance, 0) END AS half
    FROM counts LEFT JOIN chance USING (reviewer_a, reviewer_b)
)
SELECT
    reviewer_a, -- one reviewer
    reviewer_b, -- the other
    judged, -- calls and stretches that both judged
    blind AS judged_blind, -- of these, those that both judged without seeing the score
    agreement, -- share of them in which both hear the same emotion, 0 to 1
    by_chance, -- share in which they would by chance, 0 to 1
    kappa, -- Cohen's kappa, -1 to 1
    greatest(-1, kappa - half) AS kappa_low,
    least(1, kappa + half) AS kappa_high
FROM measured
ORDER BY judged DESC, reviewer_a, reviewer_b
