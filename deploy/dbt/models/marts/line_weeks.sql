-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Does each line still fit its profile, and from when does a new profile count?
-- Grain: one row per line profile, line and week (its Monday) of scored calls; calls that were scored raw have none.
-- Units: calls in recordings; distances from 0, about 1 where calls are like the profile's sample.
-- A line no longer fits where, with at least 20 calls, most of them are farther from it than nine tenths of the sample's calls were:
-- another codec, another telephone system, other callers. `ser adapt` makes a new profile. Where profile_changed is true, a change of
-- scores may come from the profile: compare weeks within one profile, or score the older weeks by the new one (`ser rescore --profile newest`).
WITH weeks AS (
    SELECT
        line_profile AS profile_id,
        line,
        date_trunc('week', call_date)::DATE AS week,
        count(*) AS calls,
        median(line_distance) AS median_distance
    FROM {{ ref('call_emotions') }} AS call_emotions
    WHERE outcome = 'scored' AND line_profile IS NOT NULL AND call_date IS NOT NULL
    GROUP BY ALL
)
SELECT
    weeks.profile_id, -- line profile by which the calls were standardised
    weeks.line,
    week, -- Monday of the week
    calls, -- scored calls of the line in the week
    median_distance, -- median of line_distance over them
    p.usual_distance, -- median of line_distance over the calls of the profile's sample
    p.high_distance, -- what line_distance exceeds in a tenth of the sample's calls
    calls >= 20 AND median_distance > p.high_distance AS drifted, -- whether the line no longer fits its profile
    week = min(week) OVER (PARTITION BY weeks.line, weeks.profile_id)
    AND week > min(week) OVER (PARTITION BY weeks.line) AS profile_changed -- whether this is a later profile's first week on the line
FROM weeks
LEFT JOIN {{ ref('profiles') }} AS p ON p.profile_id = weeks.profile_id AND p.line = weeks.line
ORDER BY weeks.line, week DESC, weeks.profile_id
