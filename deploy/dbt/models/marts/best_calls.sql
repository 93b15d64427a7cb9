-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which calls sound best, and where in the recording is it?
-- Grain: one row per scored call, best first; add LIMIT 20.
-- Units: shares and probabilities 0 to 1, _s in seconds, moment in minutes:seconds from the start of the recording.
-- Ranked by happiness_score: the share of happiness less that of negative speech, as if 30 s of the average call were added. The moment is
-- the highest probability of happiness (null in older parts). recording_link is null where the key holds masked ids or the store is
-- unknown.
WITH calls AS (
    SELECT
        *,
        share_happiness - share_negative(share_anger, share_disgust, share_fear, share_sadness) AS balance,
        share_negative(share_anger, share_disgust, share_fear, share_sadness) AS share_negative
    FROM {{ ref('call_emotions') }} AS call_emotions
    WHERE outcome = 'scored' AND share_happiness IS NOT NULL AND emotion_role IS DISTINCT FROM 'agent'
), average AS (
    SELECT weighted_avg(balance, nullif(scored_speech_s, 0)) AS balance FROM calls
), ranked AS ( -- texts are made of the rows that are read, not of every call
    SELECT
        c.call_id,
        c.call_date,
        c.queue,
        with_average_speech(c.balance, c.scored_speech_s, average.balance) AS happiness_score,
        c.share_happiness,
        c.share_negative,
        c.peak_happiness,
        c.peak_happiness_at_s AS moment_s,
        c.negativity_change,
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
    ORDER BY happiness_score DESC, c.peak_happiness DESC, c.recording_id
)
SELECT
    call_id,
    call_date,
    queue,
    happiness_score, -- what the calls are ranked by, -1 to 1
    share_happiness,
    share_negative,
    peak_happiness,
    moment_s, -- start of the happiest segment, seconds from the start of the recording
    minutes_seconds(moment_s) AS moment, -- the same as minutes:seconds
    recording_link(recordings_uri, key, moment_s) AS recording_link, -- address of the recording in its store, with the moment as a media fragment
    negativity_change,
    share_unsure,
    scored_speech_s,
    duration_s,
    codec,
    key,
    recording_id
FROM ranked
