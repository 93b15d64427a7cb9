-- Do many more of the last night's recordings than is usual end unscored, and why?
-- Grain: one row per reason with which the share of recordings is more than $above_usual above its median of the 14 runs before, of at
-- least $at_least recordings; where there is no run before, whose share is above $first_above. Also per outcome, and over all outcomes,
-- where no single reason says as much.
-- Units: recordings and "of" counted, share and usual 0 to 1. $outcomes: the outcomes that are asked for. suffixes: of those recordings.
-- The last night: the newest run that handled recordings, and the runs of the 24 hours before it.
WITH handled AS (
    SELECT run_id, started_at, scored + no_speech + withheld + quarantined + failed AS recordings
    FROM runs
    WHERE started_at <= $now AND scored + no_speech + withheld + quarantined + failed > 0
),
nights AS (
    SELECT *
    FROM (SELECT *, started_at > max(started_at) OVER () - INTERVAL 24 HOUR AS is_last FROM handled)
    QUALIFY is_last OR row_number() OVER (PARTITION BY is_last ORDER BY started_at DESC) <= 14
),
by_suffix AS (
    SELECT
        n.run_id,
        n.is_last,
        o.outcome,
        coalesce(o.reason_code, '') AS reason_code,
        lower(regexp_extract(o.key, '\.[A-Za-z0-9]{1,8}$')) AS suffix,
        count(*) AS recordings
    FROM nights AS n
    JOIN outcomes_all AS o USING (run_id)
    WHERE list_contains($outcomes, o.outcome)
    GROUP BY ALL
),
last_night AS (
    SELECT
        outcome,
        reason_code,
        sum(recordings)::BIGINT AS recordings,
        (SELECT sum(recordings)::BIGINT FROM nights WHERE is_last) AS of,
        grouping(outcome, reason_code) AS how_general,
        string_agg(DISTINCT nullif(suffix, ''), ', ' ORDER BY nullif(suffix, '')) AS suffixes
    FROM by_suffix
    WHERE is_last
    GROUP BY GROUPING SETS ((outcome, reason_code), (outcome), ())
    HAVING sum(recordings) > 0
),
before AS (
    SELECT
        l.outcome,
        l.reason_code,
        l.how_general,
        n.run_id,
        coalesce(
            sum(b.recordings) FILTER (
                (l.outcome IS NULL OR b.outcome = l.outcome) AND (l.reason_code IS NULL OR b.reason_code = l.reason_code)
            ),
            0
        ) / any_value(n.recordings) AS share
    FROM last_night AS l
    CROSS JOIN (FROM nights WHERE NOT is_last) AS n
    LEFT JOIN by_suffix AS b ON b.run_id = n.run_id
    GROUP BY ALL
),
compared AS (
    SELECT l.*, l.recordings / l.of AS share, (
        SELECT median(b.share)
        FROM before AS b
        WHERE
            b.how_general = l.how_general
            AND b.outcome IS NOT DISTINCT FROM l.outcome
            AND b.reason_code IS NOT DISTINCT FROM l.reason_code
    ) AS usual
    FROM last_night AS l
)
SELECT
    CASE WHEN outcome IS NULL THEN 'not scored' ELSE trim(outcome || ' ' || coalesce(reason_code, '')) END AS subject,
    recordings,
    of,
    share,
    usual,
    suffixes
FROM compared
WHERE of >= $at_least AND share > coalesce(usual + $above_usual, $first_above)
QUALIFY row_number() OVER (PARTITION BY recordings ORDER BY how_general, subject) = 1
ORDER BY recordings DESC, subject
