-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which calls sound worst, and where in the recording is it?
-- Grain: one row per call with at least 8 s of scored speech, worst first; add LIMIT 20.
-- Units: shares and probabilities 0 to 1, _s in seconds, moment in minutes:seconds from the start of the recording.
-- Ranked by anger_score, the lower end of the interval of call_anger (macro sure_anger): so a call ranks first that is angry for certain, not
-- one with little speech, nor a long one. The pages, the weekly letter and the night's report have the same order. The moment is that of the
-- highest anger_score of a segment. recording_link is null where the key holds masked ids or the store is unknown.
WITH ranked AS ( -- texts are made of the rows that are read, not of every call
    SELECT
        c.call_id,
        c.call_date,
        c.queue,
        sure_anger(c.call_anger, c.share_anger, c.share_unsure, c.scored_speech_s) AS anger_score,
        rank_by_anger(c.day, c.line, CASE WHEN c.call_anger IS NOT NULL THEN anger_score END) AS anger_rank,
        c.line,
        c.call_anger,
        c.anger_seconds,
        c.share_anger,
        c.peak_anger,
        coalesce(c.call_anger_at_s, c.peak_anger_at_s) AS moment_s,
        c.negativity_change,
        c.escalated,
        c.share_unsure,
        c.scored_speech_s,
        c.duration_s,
        c.codec,
        c.key,
        c.recording_id,
        runs.recordings_uri
    FROM {{ ref('call_emotions') }} AS c
    LEFT JOIN {{ ref('runs') }} AS runs USING (run_id)
    WHERE c.outcome = 'scored' AND c.emotion_role IS DISTINCT FROM 'agent' AND anger_score IS NOT NULL
    ORDER BY anger_score DESC, coalesce(c.call_anger, c.share_anger) DESC, c.peak_anger DESC, c.recording_id
)
SELECT
    call_id,
    call_date,
    queue,
    anger_score, -- what the calls are ranked by: the lower end of the 95 % interval of call_anger, 0 to 1
    anger_rank, -- rank by anger_score within line and day, 1 is the angriest: see calls_by_anger_rank; null in older parts
    line,
    call_anger,
    anger_seconds,
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
