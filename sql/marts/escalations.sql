-- Which calls got worse from start to end, and where did it begin?
-- Grain: one row per escalated call, the largest change first.
-- Units: negativity (anger, disgust, fear and sadness together) 0 to 1 by quarter of the recording, _s in seconds.
-- onset_s is where the call turns: the start of the segment that best parts lower from higher negativity; null in older parts.
-- Escalated: the last quarter's mean negativity is at least 0.5 and at least 0.2 above the first quarter's.
SELECT
    call_id,
    call_date,
    queue,
    onset_s,
    negativity_change,
    negativity_q1,
    negativity_q2,
    negativity_q3,
    negativity_q4,
    peak_anger,
    peak_anger_at_s,
    share_unsure,
    scored_speech_s,
    duration_s,
    emotion_role,
    started_at,
    language,
    key,
    recording_id
FROM call_emotions
WHERE escalated AND emotion_role IS DISTINCT FROM 'agent'
ORDER BY negativity_change DESC, negativity_q4 DESC, recording_id
