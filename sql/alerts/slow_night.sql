-- Was the last night much slower than the nights before it?
-- Grain: one row if its audio-hours per hour are below $below times the median of the 14 nights with audio before it.
-- Units: audio_h_per_h and usual in audio hours per wall-clock hour.
-- Runs of less than $at_least_audio_h hours of audio say little about speed, and are left out; so is a lake with fewer than five nights.
WITH nights AS (
    SELECT audio_h_per_h, row_number() OVER (ORDER BY started_at DESC) AS back
    FROM runs
    WHERE started_at <= $now AND audio_s >= $at_least_audio_h * 3600
)
SELECT
    any_value(audio_h_per_h) FILTER (back = 1) AS audio_h_per_h,
    median(audio_h_per_h) FILTER (back BETWEEN 2 AND 15) AS usual
FROM nights
HAVING count(*) > 5 AND any_value(audio_h_per_h) FILTER (back = 1) < $below * median(audio_h_per_h) FILTER (back BETWEEN 2 AND 15)
