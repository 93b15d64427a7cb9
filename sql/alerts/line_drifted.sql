-- Which lines no longer fit the profile by which their calls are standardised?
-- Grain: one row per line whose newest week with at least $at_least_calls calls has drifted. See line_weeks.
-- Units: calls counted, distances from 0.
SELECT line AS subject, week, calls, median_distance, usual_distance, high_distance, profile_id
FROM (
    SELECT *
    FROM line_weeks
    WHERE week <= timezone($time_zone, $now)::DATE AND calls >= $at_least_calls
    QUALIFY row_number() OVER (PARTITION BY line ORDER BY week DESC, profile_id) = 1
)
WHERE drifted
ORDER BY median_distance DESC
