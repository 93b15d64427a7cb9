-- Does anger rise or fall as calls go on?
-- Grain: one row per queue and tenth of the recording (1 = its first tenth); tenths without scored speech are left out.
-- Units: mean probability and negativity (anger, disgust, fear, sadness) 0 to 1, weighted by seconds; scored_speech_s in seconds.
-- A segment that lies in two tenths counts in each with the seconds it spends there.
WITH pieces AS (
    SELECT
        c.queue,
        tenth,
        s.recording_id,
        s.p_anger,
        coalesce(s.p_anger, 0) + coalesce(s.p_disgust, 0) + coalesce(s.p_fear, 0) + coalesce(s.p_sadness, 0) AS negativity,
        least(s.end_s, c.duration_s * tenth / 10) - greatest(s.start_s, c.duration_s * (tenth - 1) / 10) AS seconds
    FROM segments AS s
    JOIN call_emotions AS c USING (recording_id, etag, chunk_id, model, policy)
    CROSS JOIN range(1, 11) AS tenths(tenth)
    WHERE s.emotion IS NOT NULL AND s.role = c.emotion_role
)
SELECT
    queue,
    tenth,
    count(DISTINCT recording_id) AS calls,
    sum(seconds) AS scored_speech_s,
    weighted_avg(p_anger, seconds) AS mean_p_anger,
    weighted_avg(negativity, seconds) AS mean_negativity
FROM pieces
WHERE seconds > 0
GROUP BY queue, tenth
ORDER BY queue, tenth
