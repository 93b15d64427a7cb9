-- Were recordings given up, so that no night tries them again?
-- Grain: one row if the days of the last $days days have such recordings.
-- Units: recordings counted; codes are their reason codes.
SELECT
    count(*) AS recordings,
    $attempts::INTEGER AS attempts,
    $days::INTEGER AS days,
    string_agg(DISTINCT reason_code, ', ' ORDER BY reason_code) AS codes
FROM outcomes
WHERE outcome = 'failed' AND attempts >= $attempts AND day > CAST($now AS DATE) - $days::INTEGER
HAVING count(*) > 0
