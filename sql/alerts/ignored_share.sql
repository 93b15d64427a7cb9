-- Did the newest run ignore many more keys of some suffix than is usual?
-- Grain: one row per suffix whose share of all listed keys is more than $above_usual above its median of the 14 runs before, of at least
-- $at_least keys; where there is no run before, whose share is above $first_above.
-- Units: keys and "of" counted, share and usual 0 to 1. A suffix "none" is a key without one, "another" one that may be part of a name.
-- Runs of older code do not say the suffixes and are left out.
WITH listings AS (
    SELECT run_id, ignored_suffixes, listed + ignored_keys AS keys, row_number() OVER (ORDER BY started_at DESC) AS back
    FROM runs
    WHERE started_at <= $now AND listed + ignored_keys > 0 AND ignored_suffixes IS NOT NULL
    QUALIFY back <= 15
),
ignored AS (
    SELECT run_id, back, split_part(item, ' ', 1) AS suffix, split_part(item, ' ', 2)::BIGINT AS keys
    FROM (SELECT run_id, back, unnest(string_split(ignored_suffixes, ', ')) AS item FROM listings WHERE ignored_suffixes <> '')
),
compared AS (
    SELECT
        newest.suffix,
        any_value(newest.keys) AS keys,
        any_value(listings.keys) FILTER (listings.back = 1)::BIGINT AS of,
        median(coalesce(i.keys, 0) / listings.keys) FILTER (listings.back > 1) AS usual
    FROM (FROM ignored WHERE back = 1) AS newest
    CROSS JOIN listings
    LEFT JOIN ignored AS i ON i.run_id = listings.run_id AND i.suffix = newest.suffix
    GROUP BY newest.suffix
)
SELECT suffix AS subject, keys, of, keys / of AS share, usual
FROM compared
WHERE of >= $at_least AND keys / of > coalesce(usual + $above_usual, $first_above)
ORDER BY keys DESC, subject
