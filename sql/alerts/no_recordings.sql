-- Did the last night find no new recording?
-- Grain: one row if no run since $from o'clock planned a new recording, evaluated for the last morning on which $by has passed.
-- Units: $from and $by are local times in SER_TIME_ZONE; $mornings are weekdays, 1 Monday to 7 Sunday; runs counted.
-- The night to Tuesday ends on Tuesday at $by. It begins on Tuesday at $from, or on Monday where $from is the later of the two.
-- $holidays are dates without calls: their night, which ends on the morning after, is not evaluated.
WITH mornings AS (
    SELECT
        timezone($time_zone, $now)::DATE - back::INTEGER AS night,
        timezone($time_zone, night + $by::TIME) AS ends_at,
        timezone($time_zone, night - ($from::TIME > $by::TIME)::INTEGER + $from::TIME) AS begins_at
    FROM range(22) AS days(back) -- three weeks: longer than any closing
    WHERE list_contains($mornings, isodow(night)) AND NOT list_contains($holidays::DATE[], night - 1)
),
last_night AS (
    FROM mornings WHERE ends_at <= $now ORDER BY night DESC LIMIT 1
)
SELECT night, $by::VARCHAR AS by, $time_zone::VARCHAR AS time_zone, count(run_id) AS runs
FROM last_night
LEFT JOIN runs ON started_at >= begins_at AND started_at <= $now
GROUP BY night
HAVING coalesce(sum(planned), 0) = 0
