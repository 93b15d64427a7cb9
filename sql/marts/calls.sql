-- How did each call go, in the columns that most questions need?
-- Grain: one row per call (a call with two recordings counts once), the newest first.
-- Units: shares and probabilities 0 to 1, _s in seconds, moment in minutes:seconds from the start of the recording.
-- Where most of a call is unsure, dominant_emotion is null and its shares say little. Emotions are null where nothing was scored (outcome
-- says why), and where an agent's speech was. All columns: call_emotions.
WITH shown AS ( -- texts are made of the rows that are read, not of every call
    SELECT
        *,
        emotion_role IS DISTINCT FROM 'agent' AS not_agent,
        CASE WHEN not_agent THEN coalesce(call_anger_at_s, peak_anger_at_s) END AS moment_s
    FROM counted_calls
    LEFT JOIN (SELECT run_id, recordings_uri FROM runs) USING (run_id)
    ORDER BY call_date DESC, started_at DESC, recording_id
)
SELECT
    CASE WHEN not_agent THEN dominant_emotion END AS dominant_emotion,
    CASE WHEN not_agent THEN call_anger END AS call_anger,
    CASE WHEN not_agent THEN share_anger END AS share_anger,
    CASE WHEN not_agent THEN share_happiness END AS share_happiness,
    CASE WHEN not_agent THEN share_neutral END AS share_neutral,
    CASE WHEN not_agent THEN share_sadness END AS share_sadness,
    CASE WHEN not_agent THEN share_negative(share_anger, share_disgust, share_fear, share_sadness) END AS share_negative,
    CASE WHEN not_agent THEN share_unsure END AS share_unsure,
    CASE WHEN not_agent THEN escalated END AS escalated,
    queue,
    call_date,
    minutes_seconds(moment_s) AS moment, -- where to listen: start of the segment that sounds angriest, as minutes:seconds
    recording_link(recordings_uri, key, moment_s) AS recording_link, -- address of the recording in its store, with the moment as a media fragment
    call_id,
    outcome,
    started_at,
    local_hour,
    duration_s,
    scored_speech_s,
    language,
    codec,
    customer_pseudonym,
    recording_id
FROM shown
