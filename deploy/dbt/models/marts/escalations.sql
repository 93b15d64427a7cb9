-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which calls got worse from start to end, and where did it begin?
-- Grain: one row per escalated call, the clearest change first.
-- Units: negativity (anger, disgust, fear and sadness together) 0 to 1 by quarter of the recording, _s in seconds.
-- onset_s is where the call turns: the start of the segment that best parts lower from higher anger; null in older parts.
-- Escalated: anger rises through the call by more than chance (escalation_z above 2.33), and from the first to the last third of the
-- segments by at least 0.05, at equal base rates. Of calls without any change, up to one in fifty is here, and as many are in its mirror
-- (deescalated): compare the two numbers.
WITH ranked AS ( -- texts are made of the rows that are read, not of every call
    SELECT c.*, coalesce(onset_s, peak_anger_at_s) AS moment_s, runs.recordings_uri
    FROM {{ ref('call_emotions') }} AS c
    LEFT JOIN {{ ref('runs') }} AS runs USING (run_id)
    WHERE escalated AND emotion_role IS DISTINCT FROM 'agent'
    ORDER BY escalation_z DESC NULLS LAST, negativity_change DESC, recording_id
)
SELECT
    call_id,
    call_date,
    queue,
    onset_s,
    minutes_seconds(moment_s) AS moment, -- onset_s as minutes:seconds; in older parts that of the highest probability of anger
    recording_link(recordings_uri, key, moment_s) AS recording_link, -- address of the recording in its store, with the moment as a media fragment
    escalation_z,
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
FROM ranked
