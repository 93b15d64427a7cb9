-- In which calls does the caller sound angriest?
-- Grain: one row per scored call, angriest first; add LIMIT 20 for the worst.
-- Units: shares and probabilities 0 to 1, _s in seconds (peak_anger_at_s from the start of the recording).
-- Ranked by the share of scored speech labelled anger, then by mean probability, then by the peak. Read it beside
-- scored_speech_s: in a short call one segment is a large share. It names no agent and holds no call in which the
-- agent's speech was scored: a model's guess is no measure of a person at work.
SELECT
    call_id,
    call_date,
    queue,
    share_anger,
    mean_p_anger,
    peak_anger,
    peak_anger_at_s,
    scored_speech_s,
    share_unsure,
    scored_segments,
    duration_s,
    escalated,
    emotion_role,
    started_at,
    language,
    key,
    recording_id
FROM call_emotions
WHERE outcome = 'scored' AND peak_anger IS NOT NULL AND emotion_role IS DISTINCT FROM 'agent'
ORDER BY share_anger DESC, mean_p_anger DESC, peak_anger DESC, recording_id
