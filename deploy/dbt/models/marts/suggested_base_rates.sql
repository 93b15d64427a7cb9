-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- How frequent is each emotion on our calls, by what reviewers hear in stretches that were drawn at random?
-- Grain: one row per model and emotion that somebody heard.
-- Units: shares 0 to 1.
-- Weighted as in measured_precision: the answer holds for all scored segments, not for the loud ones that the list to hear chooses.
-- For SER_PRIORS: take the emotions that the model knows, and divide by their sum. Too few to go by with fewer than 30 stretches.
WITH rows AS (
    SELECT *, sum(weight) OVER (PARTITION BY model) AS all_weight FROM {{ ref('reviewed_sample') }} AS reviewed_sample WHERE is_stretch
), worth AS (
    SELECT model, sum(weight) ^ 2 / sum(weight ^ 2) AS worth, count(*) AS judged_stretches
    FROM (SELECT model, sum(weight) AS weight FROM rows GROUP BY model, sample_id, recording_id, channel, start_s, end_s)
    GROUP BY model
), rates AS (
    SELECT model, emotion, sum(weight) / any_value(all_weight) AS base_rate FROM rows GROUP BY model, emotion
)
SELECT
    model,
    emotion, -- emotion that reviewers hear
    judged_stretches, -- stretches that were judged, of all emotions
    base_rate, -- share of scored segments with this emotion, 0 to 1
    wilson_interval(base_rate, worth).low AS base_rate_low,
    wilson_interval(base_rate, worth).high AS base_rate_high
FROM rates
JOIN worth USING (model)
ORDER BY model, base_rate DESC, emotion
