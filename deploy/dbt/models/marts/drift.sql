-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Did scores or audio drift away from those of a reference month?
-- Grain: one row per month (its first day) and measure, the reference month left out.
-- Units: calls counted; psi and psi_by_chance from 0; jensen_shannon 0 to 1; means in the measure's unit (probability, dB, seconds, share).
-- The reference is the month in the variable reference_month (SET VARIABLE reference_month = DATE '2026-03-01'), else the first whole
-- month. psi: population stability index over tenths of the reference month's calls (over values for codec and dominant emotion), half a
-- call added to each bin. By the usual rule 0.1 is some drift and 0.25 much. Few calls drift by chance: psi_by_chance is what one month in
-- 20 exceeds without any drift (chi-square), and drift says none below it. Drift in signal-to-noise or codec explains drift in scores
-- before callers do.
WITH month_of AS (
    SELECT *, date_trunc('month', call_date)::DATE AS month
    FROM {{ ref('call_emotions') }} AS call_emotions
    WHERE outcome = 'scored' AND call_date IS NOT NULL AND emotion_role IS DISTINCT FROM 'agent'
), bounds AS (
    SELECT
        coalesce(
            date_trunc('month', getvariable('reference_month')::DATE)::DATE,
            least(date_trunc('month', min(call_date) + INTERVAL 1 MONTH - INTERVAL 1 DAY)::DATE, max(month))
        ) AS reference_month
    FROM month_of
), measured AS (
    SELECT
        month,
        mean_p_anger::DOUBLE AS v1,
        mean_p_happiness::DOUBLE AS v2,
        mean_p_neutral::DOUBLE AS v3,
        mean_p_sadness::DOUBLE AS v4,
        share_unsure::DOUBLE AS v5,
        scored_snr_db::DOUBLE AS v6,
        coalesce(customer_loudness_dbfs, unattributed_loudness_dbfs)::DOUBLE AS v7,
        duration_s AS v8
    FROM month_of
), edges AS ( -- one row: the tenths of each measure
    SELECT
        quantile_cont(v1, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]) AS e1,
        quantile_cont(v2, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]) AS e2,
        quantile_cont(v3, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]) AS e3,
        quantile_cont(v4, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]) AS e4,
        quantile_cont(v5, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]) AS e5,
        quantile_cont(v6, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]) AS e6,
        quantile_cont(v7, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]) AS e7,
        quantile_cont(v8, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]) AS e8
    FROM measured
    WHERE month = (SELECT reference_month FROM bounds)
), placed AS (
    SELECT
        measured.*,
        tenth_of(v1, e1) AS t1,
        tenth_of(v2, e2) AS t2,
        tenth_of(v3, e3) AS t3,
        tenth_of(v4, e4) AS t4,
        tenth_of(v5, e5) AS t5,
        tenth_of(v6, e6) AS t6,
        tenth_of(v7, e7) AS t7,
        tenth_of(v8, e8) AS t8
    FROM measured
    CROSS JOIN edges
), in_tenths AS (
    SELECT
        month,
        list_position([grouping(t1), grouping(t2), grouping(t3), grouping(t4), grouping(t5), grouping(t6), grouping(t7), grouping(t8)], 0) AS number, -- of the measure
        coalesce(t1, t2, t3, t4, t5, t6, t7, t8) AS tenth,
        count(*) AS n,
        [sum(v1), sum(v2), sum(v3), sum(v4), sum(v5), sum(v6), sum(v7), sum(v8)][number] AS total
    FROM placed
    GROUP BY GROUPING SETS ((month, t1), (month, t2), (month, t3), (month, t4), (month, t5), (month, t6), (month, t7), (month, t8))
    HAVING tenth IS NOT NULL
), binned AS (
    SELECT
        month,
        [
            'mean_p_anger', 'mean_p_happiness', 'mean_p_neutral', 'mean_p_sadness', 'share_unsure', 'scored_snr_db', 'loudness_dbfs', 'duration_s'
        ][number] AS measure,
        tenth::VARCHAR AS bin,
        n,
        total
    FROM in_tenths
    UNION ALL
    SELECT month, 'dominant_emotion', coalesce(dominant_emotion, 'unsure'), count(*), NULL FROM month_of GROUP BY ALL
    UNION ALL
    SELECT month, 'codec', coalesce(codec, 'unknown'), count(*), NULL FROM month_of GROUP BY ALL
), months AS (
    SELECT month, measure, sum(n)::BIGINT AS calls, sum(total) / sum(n) AS mean FROM binned GROUP BY month, measure
), paired AS (
    SELECT
        m.month,
        m.measure,
        m.calls,
        m.mean,
        r.calls AS reference_calls,
        r.mean AS reference_mean,
        coalesce(later.n, 0) AS in_month,
        coalesce(reference.n, 0) AS in_reference,
        count(*) OVER (PARTITION BY m.month, m.measure) AS bins,
        (in_month + 0.5) / (m.calls + 0.5 * bins) AS p,
        (in_reference + 0.5) / (r.calls + 0.5 * bins) AS q,
        in_month / m.calls AS p_raw,
        in_reference / r.calls AS q_raw
    FROM months AS m
    JOIN months AS r ON r.measure = m.measure AND r.month = (SELECT reference_month FROM bounds) AND m.month <> r.month
    JOIN (SELECT DISTINCT measure, bin FROM binned) AS bin ON bin.measure = m.measure
    LEFT JOIN binned AS later ON later.measure = m.measure AND later.bin = bin.bin AND later.month = m.month
    LEFT JOIN binned AS reference ON reference.measure = m.measure AND reference.bin = bin.bin AND reference.month = r.month
    WHERE later.n > 0 OR reference.n > 0
), summed AS (
    SELECT
        month,
        measure,
        any_value(calls) AS calls,
        any_value(reference_calls) AS reference_calls,
        any_value(mean) AS mean,
        any_value(reference_mean) AS reference_mean,
        sum((p - q) * ln(p / q)) AS psi,
        sum(
            0.5 * if(p_raw > 0, p_raw * log2(2 * p_raw / (p_raw + q_raw)), 0) + 0.5 * if(q_raw > 0, q_raw * log2(2 * q_raw / (p_raw + q_raw)), 0)
        ) AS jensen_shannon,
        greatest(count(*) - 1, 1) AS degrees
    FROM paired
    GROUP BY month, measure
), judged AS (
    SELECT
        *,
        degrees * (1 - 2 / (9 * degrees) + 1.644854 * sqrt(2 / (9 * degrees))) ^ 3 * (1 / calls + 1 / reference_calls) AS psi_by_chance
    FROM summed
)
SELECT
    month, -- first day of the month
    measure, -- what is compared: a column of call_emotions over scored calls (loudness_dbfs: the customer's, else unattributed)
    calls, -- scored calls of the month that have the measure
    reference_calls, -- those of the reference month
    (SELECT reference_month FROM bounds) AS reference_month, -- first day of the reference month
    mean, -- mean of the measure over the month's calls; null for codec and dominant_emotion
    reference_mean, -- that of the reference month
    psi, -- population stability index against the reference month, from 0
    psi_by_chance, -- what psi exceeds in one month of 20 without drift, by the numbers of calls
    jensen_shannon, -- Jensen-Shannon divergence from the reference month in bits, 0 to 1
    CASE WHEN psi < greatest(0.1, psi_by_chance) THEN 'none' WHEN psi < 0.25 THEN 'some' ELSE 'much' END AS drift -- none, some or much
FROM judged
ORDER BY month DESC, psi DESC, measure
