-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which calls are the angriest of their line and night?
-- Grain: one row per recording of call_emotions in which no agent is scored; newest day first, in each by line and anger_rank.
-- Units: ranks from 1, probabilities 0 to 1, _s in seconds, moment in minutes:seconds from the start of the recording.
-- A night is the day of the calls (day), whenever they were scored: a re-score or a late run ranks them among the same calls. A line is that
-- of call_emotions; calls that were scored raw (line is null) are ranked among each other. Ranked by anger_score, as every
-- list of calls; calls with the same one share a rank, and the next rank counts all of them: 1, 1, 3. Not ranked (null): calls without a
-- call_anger, as those withheld, and those with less than 8 s of scored speech.
WITH ranked AS ( -- texts are made of the rows that are read, not of every call
    SELECT
        c.day,
        c.line,
        CASE WHEN c.call_anger IS NOT NULL THEN sure_anger(c.call_anger, c.share_anger, c.share_unsure, c.scored_speech_s) END AS anger_score,
        rank_by_anger(c.day, c.line, anger_score) AS anger_rank,
        count(anger_score) OVER (PARTITION BY c.day, c.line) AS calls_ranked,
        c.call_id,
        c.call_date,
        c.queue,
        c.outcome,
        c.call_anger,
        c.anger_seconds,
        c.call_anger_at_s,
        c.share_unsure,
        c.scored_speech_s,
        c.duration_s,
        c.line_profile,
        c.key,
        runs.recordings_uri,
        c.recording_id
    FROM {{ ref('call_emotions') }} AS c
    LEFT JOIN {{ ref('runs') }} AS runs USING (run_id)
    WHERE c.emotion_role IS DISTINCT FROM 'agent'
    ORDER BY c.day DESC, c.line NULLS LAST, anger_rank NULLS LAST, c.recording_id
)
SELECT
    day,
    line,
    anger_rank, -- rank by anger_score within line and day, 1 is the angriest, ties share a rank; null where not ranked
    calls_ranked, -- how many calls of the line and day have a rank
    call_id,
    call_date,
    queue,
    outcome,
    anger_score, -- lower end of the 95 % interval of call_anger (macro sure_anger), 0 to 1; null with less than 8 s of scored speech
    call_anger,
    anger_seconds,
    call_anger_at_s,
    minutes_seconds(call_anger_at_s) AS moment, -- call_anger_at_s as minutes:seconds
    recording_link(recordings_uri, key, call_anger_at_s) AS recording_link, -- address of the recording in its store, with the moment as a media fragment
    share_unsure,
    scored_speech_s,
    duration_s,
    line_profile,
    key,
    recording_id
FROM ranked
