-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which calls sound worst, and where in the recording is it?
-- Grain: one row per scored call, worst first; add LIMIT 20.
-- Units: shares and probabilities 0 to 1, _s in seconds, moment in minutes:seconds from the start of the recording.
-- Ranked by anger_score: the share of anger as if 30 s of the average call were added, so that one segment of a short call is not the worst
-- of all. The moment is the highest probability of anger. recording_link is null where the key holds masked ids or the store is unknown.
WITH calls AS (
    FROM {{ ref('call_emotions') }} AS call_emotions WHERE outcome = 'scored' AND peak_anger IS NOT NULL AND emotion_role IS DISTINCT FROM 'agent'
), average AS (
    SELECT weighted_avg(share_anger, nullif(scored_speech_s, 0)) AS share_anger FROM calls
), ranked AS ( -- texts are made of the rows that are read, not of every call
    SELECT
        c.call_id,
        c.call_date,
        c.queue,
        with_average_speech(c.share_anger, c.scored_speech_s, average.share_anger) AS anger_score,
        c.share_anger,
        c.peak_anger,
        c.peak_anger_at_s AS moment_s,
        c.negativity_change,
        c.escalated,
        c.share_unsure,
        c.scored_speech_s,
        c.duration_s,
        c.codec,
        c.key,
        c.recording_id,
        runs.recordings_uri
    FROM calls AS c
    CROSS JOIN average
    LEFT JOIN {{ ref('runs') }} AS runs USING (run_id)
    ORDER BY anger_score DESC, c.peak_anger DESC, c.recording_id
)
SELECT
    call_id,
    call_date,
    queue,
    anger_score, -- what the calls are ranked by, 0 to 1
    share_anger,
    peak_anger,
    moment_s, -- start of the angriest segment, seconds from the start of the recording
    minutes_seconds(moment_s) AS moment, -- the same as minutes:seconds
    recording_link(recordings_uri, key, moment_s) AS recording_link, -- address of the recording in its store, with the moment as a media fragment
    negativity_change,
    escalated,
    share_unsure,
    scored_speech_s,
    duration_s,
    codec,
    key,
    recording_id
FROM ranked
