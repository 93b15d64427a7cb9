-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- In which queues do callers who are angry in the first half end calm?
-- Grain: one row per queue; a null queue is one of its own.
-- Units: calls counted, share_recovered of the angry ones 0 to 1; negativity 0 to 1.
-- Angry in the first half: the call's highest probability of anger lies there and is at least 0.5, and mean negativity (anger, disgust,
-- fear, sadness) of the first or second quarter is at least 0.5. Recovered: negativity of the last quarter is below 0.5 and at least 0.2
-- lower than that quarter's: escalation the other way round. _low and _high: Wilson's 95 % interval. Queues differ in what people call
-- about: a low share is a question, no verdict on those who work there.
WITH upset AS (
    SELECT queue, greatest(negativity_q1, negativity_q2) AS upset, negativity_q4, duration_s
    FROM {{ ref('call_emotions') }} AS call_emotions
    WHERE emotion_role IS DISTINCT FROM 'agent'
        AND peak_anger >= 0.5 AND peak_anger_at_s < duration_s / 2
        AND greatest(negativity_q1, negativity_q2) >= 0.5
), grouped AS (
    SELECT
        queue,
        count(*) AS angry_first,
        count(negativity_q4) AS end_known,
        count(*) FILTER (negativity_q4 < 0.5 AND upset - negativity_q4 >= 0.2) AS recovered,
        avg(upset) FILTER (negativity_q4 IS NOT NULL) AS negativity_first,
        avg(negativity_q4) AS negativity_end
    FROM upset
    GROUP BY queue
)
SELECT
    queue,
    angry_first, -- calls that are angry in the first half
    end_known, -- of those, calls with scored speech in the last quarter
    recovered, -- of those, calls that end calm
    recovered / nullif(end_known, 0) AS share_recovered, -- recovered of end_known, 0 to 1
    wilson_interval(recovered / nullif(end_known, 0), end_known).low AS share_recovered_low,
    wilson_interval(recovered / nullif(end_known, 0), end_known).high AS share_recovered_high,
    negativity_first, -- mean over these calls of the larger negativity of the first two quarters, 0 to 1
    negativity_end -- mean over these calls of the last quarter's negativity, 0 to 1
FROM grouped
ORDER BY share_recovered, queue
