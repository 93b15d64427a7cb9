-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Is a queue's anger on a day outside what is usual there?
-- Grain: one row per queue and call_date with scored calls, newest first.
-- Units: share_ and usual_ of scored speech 0 to 1, calls in recordings.
-- Customers on a channel of their own are counted. usual_anger is what the day's mix of sources (codec, sampling rate and language) had on
-- the 28 days before (a source counts once 7 such days have calls of it), so that a new codec alone is not news. The range is usual_anger
-- less and plus three standard deviations (a control chart): how far the queue's days lay from their own usual, widened where the day has
-- fewer calls than they had, and never less than one call. outside is
-- null where less than half of the day's speech can be compared, fewer than 7 of those days can, or so few calls came that the range would
-- be the whole scale, as with one. Of days on which nothing happened, about
-- one in 300 lies outside by chance. A queue that stays angry becomes usual after four weeks: see week_on_week and drift.
WITH by_source AS (
    SELECT
        queue,
        call_date,
        audio_kind(codec, sampling_rate_hz, language) AS source,
        count(*) AS calls,
        sum(scored_speech_s) AS seconds,
        sum(share_anger * scored_speech_s) AS anger_s,
        sum(scored_speech_s ^ 2) AS seconds_squared
    FROM {{ ref('counted_calls') }} AS counted_calls
    WHERE share_anger IS NOT NULL AND scored_speech_s > 0 AND call_date IS NOT NULL AND emotion_role = 'customer'
    GROUP BY queue, call_date, source
), expected AS (
    SELECT
        *,
        CASE WHEN count(*) OVER before >= 7 THEN sum(anger_s) OVER before / sum(seconds) OVER before END AS usual
    FROM by_source
    WINDOW before AS (
        PARTITION BY queue, source ORDER BY call_date RANGE BETWEEN INTERVAL 28 DAYS PRECEDING AND INTERVAL 1 DAY PRECEDING
    )
), by_day AS (
    SELECT
        queue,
        call_date,
        sum(calls)::BIGINT AS calls,
        sum(anger_s) / sum(seconds) AS share_anger,
        coalesce(sum(seconds) FILTER (usual IS NOT NULL) / sum(seconds), 0) AS comparable,
        sum(anger_s) FILTER (usual IS NOT NULL) / sum(seconds) FILTER (usual IS NOT NULL) AS compared_anger,
        weighted_avg(usual, seconds) AS usual_anger,
        (sum(seconds) FILTER (usual IS NOT NULL)) ^ 2 / sum(seconds_squared) FILTER (usual IS NOT NULL) AS n
    FROM expected
    GROUP BY queue, call_date
), ranged AS (
    SELECT
        *,
        count(usual_anger) OVER before AS usual_days,
        greatest(
            3 * sqrt(avg((compared_anger - usual_anger) ^ 2) OVER before),
            3 * sqrt(avg((compared_anger - usual_anger) ^ 2 * n) OVER before / n),
            1 / n
        ) AS margin
    FROM by_day
    WINDOW before AS (PARTITION BY queue ORDER BY call_date RANGE BETWEEN INTERVAL 28 DAYS PRECEDING AND INTERVAL 1 DAY PRECEDING)
), judged AS (
    SELECT *, CASE WHEN usual_days >= 7 AND comparable >= 0.5 AND (usual_anger > margin OR usual_anger + margin < 1) THEN margin END AS known_margin FROM ranged
)
SELECT
    call_date,
    queue,
    calls, -- scored calls of the day
    share_anger,
    comparable AS share_comparable, -- share of the day's scored speech whose codec, sampling rate and language have a usual share, 0 to 1
    compared_anger, -- share of anger in that speech alone: what is compared, 0 to 1
    usual_anger, -- share of anger that is usual for the day's mix of codecs, sampling rates and languages, 0 to 1
    CASE WHEN known_margin IS NOT NULL THEN greatest(0, usual_anger - known_margin) END AS usual_low, -- lower end of the usual range; null where outside is
    CASE WHEN known_margin IS NOT NULL THEN least(1, usual_anger + known_margin) END AS usual_high, -- upper end of the usual range; null where outside is
    usual_days, -- days of the four weeks before that the range comes from
    CASE
        WHEN known_margin IS NULL THEN NULL
        WHEN compared_anger > usual_anger + known_margin THEN 'above'
        WHEN compared_anger < usual_anger - known_margin THEN 'below'
        ELSE 'usual'
    END AS outside -- above, below or usual; null where it is undetermined
FROM judged
ORDER BY call_date DESC, queue
