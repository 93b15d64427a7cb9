-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Do calls with much silence, overlap or interruption sound angrier?
-- Grain: one row per queue, measure and band of the measure.
-- Units: band_from and band_to in the measure's unit (silence and overlap: share of the call 0 to 1; interruptions: per minute), share_ 0 to 1.
-- _low and _high: 95 % interval, calls being the independent units. correlation is that of the measure with the share of anger over the
-- queue's calls (Pearson), the same in each band; within about 2 / sqrt(calls) of 0 it is none. It says what goes together, not what makes
-- people angry: angry callers may interrupt, or be interrupted.
WITH measured AS (
    SELECT
        queue,
        share_anger,
        nullif(scored_speech_s, 0) AS seconds,
        silence_s / duration_s AS v1,
        overlap_s / duration_s AS v2,
        interruptions_by_agent * 60 / duration_s AS v3,
        interruptions_by_customer * 60 / duration_s AS v4,
        band_of(v1, 0.1, 0.2, 0.35, 0.5) AS b1,
        band_of(v2, 0.01, 0.03, 0.06, 0.12) AS b2,
        band_of(v3, 0.25, 0.5, 1, 2) AS b3,
        band_of(v4, 0.25, 0.5, 1, 2) AS b4
    FROM {{ ref('call_emotions') }} AS call_emotions
    WHERE outcome = 'scored' AND duration_s > 0 AND emotion_role IS DISTINCT FROM 'agent'
), measures AS (
    SELECT unnest([
        {number: 1, measure: 'silence', edges: [0, 0.1, 0.2, 0.35, 0.5, 1]},
        {number: 2, measure: 'overlap', edges: [0, 0.01, 0.03, 0.06, 0.12, 1]},
        {number: 3, measure: 'interruptions of the customer', edges: [0, 0.25, 0.5, 1, 2, 1000]},
        {number: 4, measure: 'interruptions by the customer', edges: [0, 0.25, 0.5, 1, 2, 1000]}
    ], recursive := true)
), grouped AS (
    SELECT
        queue,
        list_position([grouping(b1), grouping(b2), grouping(b3), grouping(b4)], 0) AS number,
        coalesce(b1, b2, b3, b4) AS band,
        count(*) AS calls,
        coalesce(sum(seconds), 0) AS scored_speech_s,
        weighted_avg(share_anger, seconds) AS share_anger,
        share_interval(share_anger, seconds) AS anger
    FROM measured
    GROUP BY GROUPING SETS ((queue, b1), (queue, b2), (queue, b3), (queue, b4))
), of_queue AS (
    SELECT
        queue,
        [
            CASE WHEN count(v1) > 2 THEN corr(v1, share_anger) END,
            CASE WHEN count(v2) > 2 THEN corr(v2, share_anger) END,
            CASE WHEN count(v3) > 2 THEN corr(v3, share_anger) END,
            CASE WHEN count(v4) > 2 THEN corr(v4, share_anger) END
        ] AS correlations
    FROM measured
    GROUP BY queue
), banded AS (
    SELECT grouped.*, measure, edges[band]::DOUBLE AS band_from, edges[band + 1]::DOUBLE AS band_to, correlations[number] AS correlation
    FROM grouped
    JOIN measures USING (number)
    JOIN of_queue ON of_queue.queue IS NOT DISTINCT FROM grouped.queue
    WHERE band IS NOT NULL
)
SELECT
    queue,
    measure, -- silence, overlap, interruptions of the customer or interruptions by the customer
    band_from, -- lower end of the band: a share of the call, or times a minute
    band_to, -- upper end of the band, not in it
    calls, -- scored calls in the band
    scored_speech_s, -- seconds of scored speech: the share's denominator
    share_anger,
    anger.low AS share_anger_low,
    anger.high AS share_anger_high,
    CASE WHEN isfinite(correlation) THEN correlation END AS correlation -- of the measure with share_anger over the queue's calls, -1 to 1
FROM banded
ORDER BY queue, measure, band_from
