-- Which calls were drawn for review, who has judged them, and where does one listen?
-- Grain: one row per review sample and call (start_s null), and per stretch drawn from it; the newest sample first, in its random order.
-- Units: start_s, end_s in seconds, moment in minutes:seconds from the start of the recording.
-- Without score and stratum, so that who judges does not know them: those are in review_samples, what was judged in reviewed_sample.
WITH judged AS (
    SELECT recording_id, channel, start_s, end_s, count(*) AS reviewers FROM review_labels GROUP BY ALL
), drawn AS (
    SELECT
        s.*,
        c.queue,
        c.call_date,
        c.key,
        c.duration_s,
        CASE WHEN c.emotion_role IS DISTINCT FROM 'agent' THEN coalesce(s.start_s, c.call_anger_at_s, c.peak_anger_at_s) END AS moment_s,
        runs.recordings_uri,
        coalesce(j.reviewers, 0) AS reviewers
    FROM review_samples AS s
    JOIN call_emotions AS c USING (recording_id)
    LEFT JOIN runs USING (run_id)
    LEFT JOIN judged AS j
        ON j.recording_id = s.recording_id AND j.channel IS NOT DISTINCT FROM s.channel
        AND j.start_s IS NOT DISTINCT FROM s.start_s AND j.end_s IS NOT DISTINCT FROM s.end_s
)
SELECT
    sample_id,
    drawn_at,
    position,
    call_id,
    queue,
    call_date,
    channel,
    start_s,
    end_s,
    minutes_seconds(moment_s) AS moment, -- where to listen: start of the stretch, of a call that of its angriest segment, as minutes:seconds
    recording_link(recordings_uri, key, moment_s) AS recording_link, -- address of the recording in its store, with the moment as a media fragment
    reviewers, -- people who have judged it, from whichever page
    duration_s,
    recording_id
FROM drawn
ORDER BY drawn_at DESC, sample_id, position, start_s NULLS FIRST
