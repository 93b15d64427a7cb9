-- Is the model unsure of much more on the newest day than it was?
-- Grain: one row if the day's share is more than $above_usual above the median of the 14 days before it, on the newest day with at least
-- $at_least_calls scored calls.
-- Units: share_unsure, usual and above_usual 0 to 1 of scored speech, calls counted.
-- The usual level differs by model and codec, so nothing is reported before five such days.
WITH days AS (
    SELECT
        call_date,
        sum(scored) AS calls,
        sum(share_unsure * scored_speech_s) / sum(scored_speech_s) AS share_unsure,
        row_number() OVER (ORDER BY call_date DESC) AS back
    FROM calls_by_day_and_queue
    WHERE call_date <= timezone($time_zone, $now)::DATE AND scored_speech_s > 0
    GROUP BY call_date
    HAVING sum(scored) >= $at_least_calls
)
SELECT
    any_value(call_date) FILTER (back = 1) AS call_date,
    any_value(calls::BIGINT) FILTER (back = 1) AS calls,
    any_value(share_unsure) FILTER (back = 1) AS share_unsure,
    median(share_unsure) FILTER (back BETWEEN 2 AND 15) AS usual
FROM days
HAVING count(*) > 5 AND any_value(share_unsure) FILTER (back = 1) > median(share_unsure) FILTER (back BETWEEN 2 AND 15) + $above_usual
