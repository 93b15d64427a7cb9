-- Is the model unsure of too much on the newest day?
-- Grain: one row if the share is above $above, on the newest day with at least $at_least_calls scored calls.
-- Units: share_unsure and above 0 to 1 of scored speech, calls counted.
WITH days AS (
    SELECT
        call_date,
        sum(scored) AS calls,
        sum(share_unsure * scored_speech_s) / sum(scored_speech_s) AS share_unsure
    FROM calls_by_day_and_queue
    WHERE call_date <= timezone($time_zone, $now)::DATE AND scored_speech_s > 0
    GROUP BY call_date
    HAVING sum(scored) >= $at_least_calls
)
SELECT call_date, calls::BIGINT AS calls, share_unsure, $above::DOUBLE AS above
FROM days
WHERE share_unsure > $above AND call_date = (SELECT max(call_date) FROM days)
