-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which recordings hold a call that another recording holds, too?
-- Grain: one row per recording that is not the one its call is counted by.
-- Units: none.
-- Two formats or two legs of one call: call_id and call_date are the same, and the recordings overlap in time; where a start is unknown, they
-- are equally long instead, to 1 s. A call is counted by the recording that was scored, then by the one with more scored speech, then by
-- that with more channels. An id that comes from a key with masked people is not compared: it may stand for several calls.
WITH numbered AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY call_id, call_date
            ORDER BY outcome = 'scored' DESC, scored_speech_s DESC NULLS LAST, channels DESC NULLS LAST, recording_id
        ) AS place
    FROM {{ ref('repeated_calls') }} AS repeated_calls
    WHERE call_id_source IS DISTINCT FROM 'key' OR NOT contains(call_id, '~')
    QUALIFY count(*) OVER (PARTITION BY call_id, call_date) > 1
)
SELECT
    b.call_id,
    b.recording_id,
    min_by(a.recording_id, a.place) AS counted_by -- recording_id of the recording that the call is counted by
FROM numbered AS a
JOIN numbered AS b ON a.call_id = b.call_id AND a.call_date IS NOT DISTINCT FROM b.call_date AND a.place < b.place
WHERE a.recording_id <> b.recording_id AND CASE
    WHEN a.started_at IS NULL OR b.started_at IS NULL THEN abs(a.duration_s - b.duration_s) <= 1
    WHEN a.started_at = b.started_at THEN true
    ELSE a.started_at < b.started_at + to_seconds(b.duration_s) AND b.started_at < a.started_at + to_seconds(a.duration_s)
END
GROUP BY b.call_id, b.recording_id
