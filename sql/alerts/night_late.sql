-- Has the last night not ended in time?
-- Grain: one row if no run that began since $from o'clock has ended, evaluated for the last morning on which $by has passed.
-- Units: $from and $by are local times in SER_TIME_ZONE; $mornings are weekdays, 1 Monday to 7 Sunday.
-- last_run_ended_at is local, too. A run writes its row when it ends. A night that is caught up during the day ends the alert.
WITH mornings AS (
    SELECT
        timezone($time_zone, $now)::DATE - back::INTEGER AS night,
        timezone($time_zone, night + $by::TIME) AS ends_at,
        timezone($time_zone, night - ($from::TIME > $by::TIME)::INTEGER + $from::TIME) AS begins_at
    FROM range(9) AS days(back)
    WHERE list_contains($mornings, isodow(night))
),
last_night AS (
    FROM mornings WHERE ends_at <= $now ORDER BY night DESC LIMIT 1
)
SELECT
    night,
    $by::VARCHAR AS by,
    $time_zone::VARCHAR AS time_zone,
    (SELECT timezone($time_zone, max(ended_at)) FROM runs WHERE ended_at <= $now) AS last_run_ended_at
FROM last_night
WHERE NOT EXISTS (FROM runs WHERE started_at >= begins_at AND started_at <= $now)
