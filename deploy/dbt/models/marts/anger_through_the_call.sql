-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Does anger rise or fall as calls go on?
-- Grain: one row per queue and tenth of the recording (1 = its first tenth); tenths without scored speech are left out.
-- Units: mean probability and negativity (anger, disgust, fear, sadness) 0 to 1, weighted by seconds; scored_speech_s in seconds.
-- A segment that lies in two tenths counts in each with the seconds it spends there.
WITH scored AS (
    SELECT
        c.queue,
        c.duration_s,
        s.recording_id,
        s.start_s,
        s.end_s,
        s.p_anger,
        coalesce(s.p_anger, 0) + coalesce(s.p_disgust, 0) + coalesce(s.p_fear, 0) + coalesce(s.p_sadness, 0) AS negativity
    FROM {{ ref('segments') }} AS s
    JOIN {{ ref('call_emotions') }} AS c USING (recording_id)
    WHERE s.emotion IS NOT NULL AND s.role = c.emotion_role AND c.emotion_role <> 'agent' AND c.duration_s > 0
), in_tenths AS (
    SELECT *, unnest(range(greatest(1, 1 + floor(10 * start_s / duration_s)::INT), 1 + least(10, ceil(10 * end_s / duration_s)::INT))) AS tenth
    FROM scored
), pieces AS (
    SELECT *, least(end_s, duration_s * tenth / 10) - greatest(start_s, duration_s * (tenth - 1) / 10) AS seconds FROM in_tenths
)
SELECT
    queue,
    tenth, -- tenth of the recording, 1 to 10
    count(DISTINCT recording_id) AS calls, -- calls with scored speech in the tenth
    sum(seconds) AS scored_speech_s, -- seconds of scored speech in the tenth
    weighted_avg(p_anger, seconds) AS mean_p_anger,
    weighted_avg(negativity, seconds) AS mean_negativity -- mean probability of anger, disgust, fear and sadness together, 0 to 1
FROM pieces
WHERE seconds > 0
GROUP BY queue, tenth
ORDER BY queue, tenth
