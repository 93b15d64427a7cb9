-- Which queues grew angrier, or calmer, from one week to the next?
-- Grain: one row per queue whose verdict in week_on_week is in $verdicts (rose, fell), for the newest week that is over.
-- Units: share_anger of scored speech 0 to 1, calls in recordings, p_adjusted 0 to 1.
-- A week shows changes for which a day has too few calls, especially in small queues. Weeks of a queue with fewer than $at_least_calls
-- scored calls are left out. The verdict compares within each codec, and accounts for the number of queues.
SELECT coalesce(queue, 'no queue') AS subject, week, calls, share_anger, share_anger_before, p_adjusted, verdict
FROM (
    SELECT *
    FROM week_on_week
    WHERE week + 7 <= timezone($time_zone, $now)::DATE
    QUALIFY week = max(week) OVER ()
)
WHERE list_contains($verdicts, verdict) AND calls >= $at_least_calls AND calls_before >= $at_least_calls
ORDER BY p_adjusted
