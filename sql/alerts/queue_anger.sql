-- Which queues were angrier, or calmer, than is usual for them?
-- Grain: one row per queue outside its usual range on the newest day before today, to the sides in $sides (above, below).
-- Units: share_anger and the usual range of scored speech 0 to 1, calls in recordings.
-- Queues with fewer than $at_least_calls scored calls that day are left out. The range: queue_days_against_usual.
SELECT queue AS subject, call_date, calls, share_anger, usual_low, usual_high, outside
FROM (
    SELECT *
    FROM queue_days_against_usual
    WHERE call_date < timezone($time_zone, $now)::DATE
    QUALIFY call_date = max(call_date) OVER ()
)
WHERE list_contains($sides, outside) AND calls >= $at_least_calls
ORDER BY share_anger - usual_high DESC
