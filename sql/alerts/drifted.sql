-- Which scores or measures of the audio have drifted from the reference month?
-- Grain: one row per measure of the newest month with at least $at_least_calls calls whose drift is in $drifts (some, much).
-- With 200 calls no psi comes to 0.25 by chance.
-- Units: psi from 0, means in the measure's unit, calls counted. See drift.
SELECT measure AS subject, month, reference_month, calls, mean, reference_mean, psi, drift
FROM (
    SELECT *
    FROM drift
    WHERE month <= timezone($time_zone, $now)::DATE AND calls >= $at_least_calls
    QUALIFY month = max(month) OVER ()
)
WHERE list_contains($drifts, drift)
ORDER BY psi DESC
