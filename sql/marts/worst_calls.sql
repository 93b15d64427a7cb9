-- Which calls sound worst, and where in the recording is it?
-- Grain: one row per scored call, worst first; add LIMIT 20.
-- Units: shares and probabilities 0 to 1, _s in seconds, moment in minutes:seconds from the start of the recording.
-- Ranked by anger_score: the share of anger as if 30 s of the average call were added, so that one segment of a short call is not the worst of
-- all. The moment is the highest probability of anger. recording_link is null where the key holds masked ids or no run names the store.
WITH calls AS (
    FROM call_emotions WHERE outcome = 'scored' AND peak_anger IS NOT NULL AND emotion_role IS DISTINCT FROM 'agent'
), average AS (
    SELECT weighted_avg(share_anger, nullif(scored_speech_s, 0)) AS share_anger FROM calls
), stores AS (
    SELECT run_id, rtrim(recordings_uri, '/') AS recordings_uri FROM runs
)
SELECT
    c.call_id,
    c.call_date,
    c.queue,
    (c.share_anger * c.scored_speech_s + average.share_anger * 30) / (c.scored_speech_s + 30) AS anger_score, -- what the calls are ranked by, 0 to 1
    c.share_anger,
    c.peak_anger,
    c.peak_anger_at_s AS moment_s, -- start of the angriest segment, seconds from the start of the recording
    minutes_seconds(c.peak_anger_at_s) AS moment, -- the same as minutes:seconds
    CASE
        WHEN NOT contains(c.key, '~') THEN stores.recordings_uri || '/' || c.key || '#t=' || round(c.peak_anger_at_s, 1)
    END AS recording_link, -- address of the recording in its store, with the moment as a media fragment
    c.negativity_change,
    c.escalated,
    c.share_unsure,
    c.scored_speech_s,
    c.duration_s,
    c.codec,
    c.key,
    c.recording_id
FROM calls AS c
CROSS JOIN average
LEFT JOIN stores USING (run_id)
ORDER BY anger_score DESC, c.peak_anger DESC, c.recording_id
