-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which customers went from calm to angry over their calls, and which the other way?
-- Grain: one row per customer and turn: two calls, one calm and one angry, with no other such call of the customer between.
-- Units: share_ of scored speech 0 to 1, days between the calls' dates.
-- An angry call has anger in at least 0.3 of its scored speech; a calm one in less than 0.1, and neutral, calm or happy speech in at least
-- half. What lies between, calls with less than 10 s of scored speech and calls that are mostly unsure are passed over. One call is one
-- call: a turn is a hint which recordings to review; where the codecs differ, the codec may be the cause. Only callers with a pseudonym.
WITH judged AS (
    SELECT
        *,
        CASE
            WHEN share_anger >= 0.3 THEN 'angry'
            WHEN share_anger < 0.1 AND coalesce(share_neutral, 0) + coalesce(share_calm, 0) + coalesce(share_happiness, 0) >= 0.5 THEN 'calm'
        END AS mood
    FROM {{ ref('call_emotions') }} AS call_emotions
    WHERE customer_pseudonym IS NOT NULL AND emotion_role IS DISTINCT FROM 'agent' AND scored_speech_s >= 10 AND share_unsure <= 0.5
), known AS (
    FROM judged WHERE mood IS NOT NULL
), again AS ( -- customers with one call need no sorting; of a rare collision the customer decides
    SELECT hash(customer_pseudonym) AS hashed FROM known GROUP BY hashed HAVING count(*) > 1
), turns AS (
    SELECT
        *,
        lag({mood: mood, call_id: call_id, call_date: call_date, queue: queue, codec: codec, share_anger: share_anger, recording_id: recording_id})
            OVER (PARTITION BY customer_pseudonym ORDER BY call_date, started_at, recording_id) AS former
    FROM known
    WHERE hash(customer_pseudonym) IN (FROM again)
)
SELECT
    customer_pseudonym,
    former.mood || ' to ' || mood AS turn, -- calm to angry, or angry to calm
    former.call_id AS from_call_id, -- the earlier call
    call_id AS to_call_id, -- the later call
    former.call_date AS from_date, -- date of the earlier call
    call_date AS to_date, -- date of the later call
    call_date - former.call_date AS days_between, -- days between the two calls
    former.queue AS from_queue, -- queue of the earlier call
    queue AS to_queue, -- queue of the later call
    former.share_anger AS from_share_anger, -- share of scored speech labelled anger in the earlier call, 0 to 1
    share_anger AS to_share_anger, -- share of scored speech labelled anger in the later call, 0 to 1
    minutes_seconds(coalesce(call_anger_at_s, peak_anger_at_s)) AS moment, -- where the later call sounds angriest, minutes:seconds from its start
    recording_link(recordings_uri, key, coalesce(call_anger_at_s, peak_anger_at_s)) AS recording_link, -- address of the later call's recording, with the moment as a media fragment
    former.codec = codec AS same_codec, -- whether both recordings have the same codec
    former.recording_id AS from_recording_id, -- recording of the earlier call
    recording_id AS to_recording_id -- recording of the later call
FROM turns
LEFT JOIN (SELECT run_id, recordings_uri FROM {{ ref('runs') }} AS runs) USING (run_id)
WHERE former.mood <> mood
ORDER BY to_date DESC, customer_pseudonym, to_recording_id
