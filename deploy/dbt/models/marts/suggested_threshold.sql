-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- From which score on should a call be on the list to hear?
-- Grain: one row per model and score of a judged call: what a list of all calls from that score on would be.
-- Units: shares 0 to 1.
-- Weighted as in measured_precision. Suggested is the score with the best F1, the harmonic mean of precision and recall; too few to go by
-- with fewer than 30 judged calls, or 5 with anger: then none is.
WITH calls AS (
    SELECT model, sample_id, recording_id, any_value(score) AS score, sum(weight) AS weight,
        sum(weight * (emotion = 'anger')::INTEGER) AS angry
    FROM {{ ref('reviewed_sample') }} AS reviewed_sample
    WHERE NOT is_stretch AND score IS NOT NULL
    GROUP BY model, sample_id, recording_id
), scores AS (
    SELECT model, score, count(*) AS n, count(*) FILTER (angry > weight / 2) AS n_angry, sum(weight) AS weight, sum(angry) AS angry
    FROM calls
    GROUP BY ALL
), above AS (
    SELECT
        model,
        score AS threshold,
        sum(n) OVER from_here AS judged_calls,
        sum(weight) OVER from_here / sum(weight) OVER everything AS share_listed,
        sum(angry) OVER from_here / sum(weight) OVER from_here AS precision,
        sum(angry) OVER from_here / nullif(sum(angry) OVER everything, 0) AS recall,
        sum(n) OVER everything >= 30 AND sum(n_angry) OVER everything >= 5 AS is_enough
    FROM scores
    WINDOW
        from_here AS (PARTITION BY model ORDER BY score DESC),
        everything AS (PARTITION BY model)
)
SELECT
    model,
    threshold, -- call_anger from which on a call would be listed, 0 to 1
    judged_calls, -- judged calls from that score on
    share_listed, -- share of all calls from that score on, 0 to 1
    precision, -- share of those in which reviewers hear anger, 0 to 1
    recall, -- share of all calls with anger that would be listed, 0 to 1
    2 * precision * recall / nullif(precision + recall, 0) AS f1, -- harmonic mean of precision and recall, 0 to 1
    coalesce(is_enough AND row_number() OVER (PARTITION BY model ORDER BY f1 DESC NULLS LAST, threshold DESC) = 1, false) AS suggested -- whether it is the suggested one
FROM above
ORDER BY model, threshold DESC
