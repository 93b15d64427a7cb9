-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- How did each call of a repeat caller go, one after the other?
-- Grain: one row per call of a customer with at least two calls.
-- Units: call_number from 1, days_since_former in days, share_ of scored speech 0 to 1, negativity -1 to 1, _s in seconds.
-- Only callers with a pseudonym: see SER_PSEUDONYM_KEY.
WITH known AS (
    FROM {{ ref('counted_calls') }} AS counted_calls WHERE customer_pseudonym IS NOT NULL
), again AS ( -- customers with one call need no sorting; of a rare collision the count below decides
    SELECT hash(customer_pseudonym) AS hashed FROM known GROUP BY hashed HAVING count(*) > 1
), numbered AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY customer_pseudonym ORDER BY call_date, started_at, recording_id) AS call_number,
        count(*) OVER (PARTITION BY customer_pseudonym) AS calls,
        lag(call_date) OVER (PARTITION BY customer_pseudonym ORDER BY call_date, started_at, recording_id) AS former_date
    FROM known
    WHERE hash(customer_pseudonym) IN (FROM again)
)
SELECT
    customer_pseudonym,
    call_number, -- the customer's how-many-th call, from 1
    calls, -- calls of the customer
    call_date,
    call_date - former_date AS days_since_former, -- days since the customer's former call; null for the first
    queue,
    outcome,
    share_anger,
    share_negative(share_anger, share_disgust, share_fear, share_sadness) AS share_negative,
    share_unsure,
    negativity_change,
    escalated,
    minutes_seconds(coalesce(call_anger_at_s, peak_anger_at_s)) AS moment, -- where it sounds angriest, minutes:seconds from the start of the recording
    recording_link(recordings_uri, key, coalesce(call_anger_at_s, peak_anger_at_s)) AS recording_link, -- address of the recording in its store, with the moment as a media fragment
    scored_speech_s,
    codec,
    call_id,
    recording_id
FROM numbered
LEFT JOIN (SELECT run_id, recordings_uri FROM {{ ref('runs') }} AS runs) USING (run_id)
WHERE calls > 1 AND emotion_role IS DISTINCT FROM 'agent'
ORDER BY customer_pseudonym, call_number
