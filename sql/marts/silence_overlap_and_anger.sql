-- Do calls with much silence, overlap or interruption sound angrier?
-- Grain: one row per queue, measure and band of the measure.
-- Units: band_from and band_to in the measure's unit (silence and overlap: share of the call 0 to 1; interruptions: per minute), share_ 0 to 1.
-- _low and _high: 95 % interval, calls being the independent units. correlation is that of the measure with the share of anger over the
-- queue's calls (Pearson), the same in each band; within about 2 / sqrt(calls) of 0 it is none. It says what goes together, not what makes
-- people angry: angry callers may interrupt, or be interrupted.
WITH measured AS (
    SELECT queue, share_anger, nullif(scored_speech_s, 0) AS seconds, unnest([
        {measure: 'silence', value: silence_s / duration_s, edges: [0, 0.1, 0.2, 0.35, 0.5, 1]},
        {measure: 'overlap', value: overlap_s / duration_s, edges: [0, 0.01, 0.03, 0.06, 0.12, 1]},
        {measure: 'interruptions of the customer', value: interruptions_by_agent * 60 / duration_s, edges: [0, 0.25, 0.5, 1, 2, 1000]},
        {measure: 'interruptions by the customer', value: interruptions_by_customer * 60 / duration_s, edges: [0, 0.25, 0.5, 1, 2, 1000]}
    ], recursive := true)
    FROM call_emotions
    WHERE outcome = 'scored' AND duration_s > 0 AND emotion_role IS DISTINCT FROM 'agent'
), banded AS (
    SELECT *, greatest(1, least(5, len(list_filter(edges, lambda edge: edge <= value)))) AS band
    FROM measured
    WHERE value IS NOT NULL
), grouped AS (
    SELECT
        queue,
        measure,
        edges[band]::DOUBLE AS band_from,
        edges[band + 1]::DOUBLE AS band_to,
        count(*) AS calls,
        coalesce(sum(seconds), 0) AS scored_speech_s,
        weighted_avg(share_anger, seconds) AS share_anger,
        share_interval(share_anger, seconds) AS anger
    FROM banded
    GROUP BY queue, measure, band_from, band_to
), correlated AS (
    SELECT queue, measure, CASE WHEN count(*) > 2 THEN corr(value, share_anger) END AS correlation
    FROM banded
    GROUP BY queue, measure
)
SELECT
    grouped.queue,
    grouped.measure, -- silence, overlap, interruptions of the customer or interruptions by the customer
    band_from, -- lower end of the band: a share of the call, or times a minute
    band_to, -- upper end of the band, not in it
    calls, -- scored calls in the band
    scored_speech_s, -- seconds of scored speech: the share's denominator
    share_anger,
    anger.low AS share_anger_low,
    anger.high AS share_anger_high,
    CASE WHEN isfinite(correlation) THEN correlation END AS correlation -- of the measure with share_anger over the queue's calls, -1 to 1
FROM grouped
JOIN correlated ON correlated.queue IS NOT DISTINCT FROM grouped.queue AND correlated.measure = grouped.measure
ORDER BY grouped.queue, grouped.measure, band_from
