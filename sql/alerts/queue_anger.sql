-- Which queues were angrier, or calmer, than is usual for them?
-- Grain: one row per queue outside its usual range on the newest day before today (a week ago at most), to the sides in $sides (above,
-- below).
-- Units: compared_anger and the usual range of scored speech 0 to 1, calls in recordings.
-- A queue is reported that was outside on $days of its last $of_days days, or on the newest day alone by $far times the half width of its
-- range: of many queues some lie just outside on some day by chance. Days of a queue with fewer than $at_least_calls scored calls are left
-- out. The range, and what is compared: queue_days_against_usual. A new codec alone is not reported.
WITH judged AS (
    SELECT
        *,
        max(call_date) OVER () AS newest_day,
        count(*) FILTER (list_contains($sides, outside)) OVER (
            PARTITION BY queue ORDER BY call_date ROWS BETWEEN $of_days - 1 PRECEDING AND CURRENT ROW
        ) AS days_outside
    FROM queue_days_against_usual
    WHERE
        call_date < timezone($time_zone, $now)::DATE
        AND call_date >= timezone($time_zone, $now)::DATE - 28
        AND calls >= $at_least_calls
)
SELECT
    coalesce(queue, 'no queue') AS subject,
    call_date,
    calls,
    compared_anger,
    usual_low,
    usual_high,
    outside,
    days_outside,
    $of_days::INTEGER AS of_days
FROM judged
WHERE
    call_date = newest_day
    AND call_date >= timezone($time_zone, $now)::DATE - 7
    AND list_contains($sides, outside)
    AND (
        days_outside >= $days
        OR compared_anger > usual_anger + $far * (usual_high - usual_anger)
        OR compared_anger < usual_anger - $far * (usual_anger - usual_low)
    )
ORDER BY abs(compared_anger - usual_anger) DESC
