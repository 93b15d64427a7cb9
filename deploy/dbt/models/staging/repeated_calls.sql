-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which calls have an id that another recording has, too?
-- Grain: one row per recording: rows of call_emotions of which another recording has the same call_id and call_date.
-- Units: duration_s and scored_speech_s in seconds.
-- Written for speed, since most calls have one recording: the rows of the parts are searched for repeated ids, and only of those the newest
-- version is looked up (as newest does). A recording whose namesake is superseded may be here alone: copies compares them.
WITH repeated AS ( -- equal hashes of different calls are distinguished below
    SELECT hash(call_id, call_date) AS hashed
    FROM {{ source('lake', 'call_emotions') }}
    GROUP BY hashed
    HAVING min(hash(recording_id)) <> max(hash(recording_id))
), found AS MATERIALIZED (
    SELECT
        call_id, call_date, call_id_source, recording_id, started_at, duration_s, outcome, scored_speech_s, channels, version, chunk_id, part
    FROM {{ source('lake', 'call_emotions') }}
    WHERE hash(call_id, call_date) IN (FROM repeated)
), latest AS (
    SELECT recording_id, version, chunk_id, part
    FROM {{ source('lake', 'outcomes') }}
    WHERE recording_id IN (SELECT recording_id FROM found)
    QUALIFY row_number() OVER (
        PARTITION BY recording_id
        ORDER BY coalesce(planned_at, scored_at) DESC, scored_at DESC, version DESC, etag DESC, chunk_id DESC, part DESC
    ) = 1
)
SELECT call_id, call_date, call_id_source, recording_id, started_at, duration_s, outcome, scored_speech_s, channels
FROM found
SEMI JOIN latest USING (recording_id, version, chunk_id, part)
