-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which calls have more than one recording of the same time?
-- Grain: one row per recording that its call is not counted by.
-- Units: none.
-- Two formats or two legs of one call. The marts that count calls count it once; upload one recording, or give each a call_id of its own.
SELECT
    'a call has more than one recording' AS what,
    c.call_id,
    format('{} holds the call that {} holds, too', copy.key, counted.key) AS detail
FROM {{ ref('copies') }} AS c
JOIN {{ ref('outcomes') }} AS copy ON copy.recording_id = c.recording_id
JOIN {{ ref('outcomes') }} AS counted ON counted.recording_id = c.counted_by
