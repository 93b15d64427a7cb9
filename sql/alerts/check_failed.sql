-- Did a check or a chunk of the newest run fail?
-- Grain: one row if one did.
-- Units: checks and chunks counted.
SELECT run_id, checks_failed, failed_chunks
FROM runs
WHERE started_at <= $now
QUALIFY row_number() OVER (ORDER BY started_at DESC, run_id DESC) = 1 AND checks_failed + failed_chunks > 0
