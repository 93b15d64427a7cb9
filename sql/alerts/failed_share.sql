-- Did too large a share of the last night's recordings fail?
-- Grain: one row if the share is above $above, of at least $at_least recordings.
-- Units: failed and recordings counted, share and above 0 to 1.
-- The last night: the newest run that handled recordings, and the runs of the 24 hours before it.
WITH handled AS (
    SELECT started_at, failed, scored + no_speech + withheld + quarantined + failed AS recordings
    FROM runs
    WHERE started_at <= $now
)
SELECT sum(failed)::BIGINT AS failed, sum(recordings)::BIGINT AS recordings, sum(failed) / sum(recordings) AS share, $above::DOUBLE AS above
FROM handled
WHERE started_at > (SELECT max(started_at) FROM handled WHERE recordings > 0) - INTERVAL 24 HOUR
HAVING sum(recordings) >= $at_least AND sum(failed) / sum(recordings) > $above
