-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which customers call again, and do they sound angrier from call to call?
-- Grain: one row per customer with at least two calls; those whose anger rose most for certain come first.
-- Units: calls counted, share_ of scored speech 0 to 1, anger_per_call and rise in share of anger, p_ 0 to 1.
-- The trend is that of the share of anger over the customer's scored calls in their order: a line by least squares. rise is how far it
-- climbs from the first scored call to the last, rise_low and rise_high are its 95 % interval (Student's t), from five scored calls on. Of
-- thousands of customers one in 40 seems to rise by chance: trend says rises or falls where p_adjusted (Benjamini and Hochberg's, over all
-- customers) is below 0.05, and only may rise or may fall where p_value alone is. Only callers with a pseudonym.
WITH calls AS (
    SELECT customer_pseudonym, call_date, started_at, recording_id, queue, codec, share_anger, scored_speech_s
    FROM {{ ref('counted_calls') }} AS counted_calls
    WHERE customer_pseudonym IS NOT NULL AND emotion_role IS DISTINCT FROM 'agent'
), again AS ( -- customers with one call need no sorting; of a rare collision the count below decides
    SELECT hash(customer_pseudonym) AS hashed FROM calls GROUP BY hashed HAVING count(*) > 1
), numbered AS (
    SELECT
        *,
        nullif(scored_speech_s, 0) AS seconds,
        row_number() OVER (PARTITION BY customer_pseudonym ORDER BY call_date, started_at, recording_id) AS call_number
    FROM calls
    WHERE hash(customer_pseudonym) IN (FROM again)
), grouped AS (
    SELECT
        customer_pseudonym,
        count(*) AS calls,
        count(share_anger) AS scored,
        min(call_date) AS first_date,
        max(call_date) AS last_date,
        count(DISTINCT queue) AS queues,
        count(DISTINCT codec) AS codecs,
        weighted_avg(share_anger, seconds) AS share_anger,
        arg_min(share_anger, call_number) AS first_share_anger,
        arg_max(share_anger, call_number) AS last_share_anger,
        CASE WHEN scored > 1 THEN regr_slope(share_anger, call_number) END AS anger_per_call,
        CASE WHEN scored > 4 AND max(share_anger) > min(share_anger) THEN corr(share_anger, call_number) END AS correlation,
        max(call_number) FILTER (share_anger IS NOT NULL) - min(call_number) FILTER (share_anger IS NOT NULL) AS steps,
        CASE WHEN scored > 4 THEN sqrt((1 - correlation ^ 2) / (scored - 2) * regr_syy(share_anger, call_number) / regr_sxx(share_anger, call_number)) END AS error
    FROM numbered
    GROUP BY customer_pseudonym
    HAVING count(*) > 1
), tested AS (
    SELECT *, correlation_p(correlation, scored) AS p_value, steps * t_quantile(greatest(1, scored - 2)) * error AS margin FROM grouped
), ranked AS (
    SELECT *, count(p_value) OVER (ORDER BY p_value) AS place, count(p_value) OVER () AS tests FROM tested
), adjusted AS (
    SELECT *, CASE WHEN p_value IS NOT NULL THEN least(1, min(p_value * tests / place) OVER (ORDER BY p_value DESC)) END AS p_adjusted FROM ranked
)
SELECT
    customer_pseudonym,
    calls, -- calls of the customer
    scored, -- of those, calls with a share of anger
    first_date, -- date of the first call
    last_date, -- date of the last call
    queues, -- different queues called
    codecs, -- different codecs: with more than one, the codec may cause a trend
    share_anger,
    first_share_anger, -- share of scored speech labelled anger in the first scored call, 0 to 1
    last_share_anger, -- share of scored speech labelled anger in the last scored call, 0 to 1
    anger_per_call, -- change of the share of anger from call to call (slope), -1 to 1
    steps * anger_per_call AS rise, -- how far the line climbs from the first scored call to the last, -1 to 1
    rise - margin AS rise_low,
    rise + margin AS rise_high,
    p_value, -- how often so clear a trend comes by chance, 0 to 1; null below five scored calls or without any difference
    p_adjusted, -- p_value after Benjamini and Hochberg, over all customers
    CASE
        WHEN p_value IS NULL THEN NULL
        WHEN p_adjusted < 0.05 THEN if(anger_per_call > 0, 'rises', 'falls')
        WHEN p_value < 0.05 THEN if(anger_per_call > 0, 'may rise', 'may fall')
        ELSE 'no clear trend'
    END AS trend -- rises, may rise, no clear trend, may fall or falls; null where it is undetermined
FROM adjusted
ORDER BY rise_low DESC, rise DESC, customer_pseudonym
