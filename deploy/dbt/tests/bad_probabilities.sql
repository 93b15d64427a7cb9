-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which segments carry impossible probabilities?
-- Grain: one row per segment.
-- Units: probabilities 0 to 1, times in seconds.
-- With an emotion, the probabilities that are not null lie in 0 to 1 and sum to 1 (within 0.001, for float32 and half
-- precision), and the confidence is the emotion's own probability; without an emotion, all are null.
WITH listed AS (
    SELECT
        *,
        list_filter([p_anger, p_calm, p_disgust, p_fear, p_happiness, p_neutral, p_sadness, p_surprise], lambda p: p IS NOT NULL) AS p,
        CASE emotion
            WHEN 'anger' THEN p_anger WHEN 'calm' THEN p_calm WHEN 'disgust' THEN p_disgust WHEN 'fear' THEN p_fear
            WHEN 'happiness' THEN p_happiness WHEN 'neutral' THEN p_neutral
            WHEN 'sadness' THEN p_sadness WHEN 'surprise' THEN p_surprise
        END AS p_emotion
    FROM {{ ref('segments') }} AS segments
), judged AS (
    SELECT
        *,
        CASE
            WHEN emotion IS NULL AND (len(p) > 0 OR confidence IS NOT NULL) THEN 'probabilities without an emotion'
            WHEN emotion IS NULL THEN NULL
            WHEN len(p) = 0 THEN 'an emotion without probabilities'
            WHEN len(list_filter(p, lambda x: isnan(x) OR x < 0 OR x > 1)) > 0 THEN 'a probability outside 0 to 1'
            WHEN abs(list_sum(p) - 1) > 0.001 THEN 'probabilities that do not sum to 1'
            WHEN confidence IS NULL OR isnan(confidence) OR p_emotion IS NULL OR abs(confidence - p_emotion) > 0.001
                THEN 'a confidence that is not the probability of its emotion'
        END AS what
    FROM listed
)
SELECT
    what,
    call_id,
    format(
        'channel {} ({}) from {:.3f} s: emotion {}, confidence {}, probabilities {} in {}',
        channel, role, start_s, coalesce(emotion, 'null'), coalesce(confidence::VARCHAR, 'null'), p::VARCHAR, recording_id
    ) AS detail
FROM judged
WHERE what IS NOT NULL
