-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- What was said, turn by turn, where SER_WORDS=keep was set when the call was scored?
-- Grain: one row per turn of a transcript. Empty by default: words are counted, and not kept.
-- Units: _s in seconds, sentiment -1 to 1 (English only). Search: FROM words WHERE said ILIKE '%invoice%'. E-mail addresses and digits are replaced.
WITH turns AS (
    SELECT
        call_id,
        recording_id,
        call_date,
        queue,
        words_source,
        key,
        runs.recordings_uri,
        unnest(from_json(words, '[{"start_s": "DOUBLE", "end_s": "DOUBLE", "role": "VARCHAR", "said": "VARCHAR", "sentiment": "DOUBLE"}]')) AS turn
    FROM {{ ref('call_emotions') }} AS call_emotions
    LEFT JOIN {{ ref('runs') }} AS runs USING (run_id)
    WHERE words IS NOT NULL
)
SELECT
    call_id,
    recording_id,
    call_date,
    queue,
    words_source,
    turn.start_s AS start_s, -- start of the turn, seconds from the start of the recording
    turn.end_s AS end_s, -- end of the turn, seconds from the start of the recording
    minutes_seconds(turn.start_s) AS moment, -- start_s as minutes:seconds
    recording_link(recordings_uri, key, turn.start_s) AS recording_link, -- address of the recording in its store, with the moment as a media fragment
    turn.role AS role, -- who speaks: agent, customer or unattributed
    turn.said AS said, -- what was said, e-mail addresses and digits replaced
    turn.sentiment AS sentiment -- sentiment of what was said, -1 negative to 1 positive; null where the call's words have none, see call_emotions
FROM turns
