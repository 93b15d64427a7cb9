-- Which customers call again, and do they sound angrier from call to call?
-- Grain: one row per customer with at least two calls; those with the clearest rise come first.
-- Units: calls counted, share_ of scored speech 0 to 1, anger_per_call in share of anger a call, p_ 0 to 1.
-- The trend is that of the share of anger over the customer's scored calls in their order: slope by least squares, p_value by Fisher's z of its
-- correlation (from four scored calls on). Thousands of customers are looked at, so hundreds rise by chance: p_adjusted is Benjamini and
-- Hochberg's, and of the customers whose trend is rises or falls at most one in 20 is expected to be wrong. Only callers with a pseudonym.
WITH numbered AS (
    SELECT
        *,
        nullif(scored_speech_s, 0) AS seconds,
        row_number() OVER (PARTITION BY customer_pseudonym ORDER BY call_date, started_at, recording_id) AS call_number
    FROM call_emotions
    WHERE customer_pseudonym IS NOT NULL AND emotion_role IS DISTINCT FROM 'agent'
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
        CASE WHEN count(share_anger) > 1 THEN regr_slope(share_anger, call_number) END AS anger_per_call,
        CASE WHEN count(share_anger) > 3 AND max(share_anger) > min(share_anger) THEN corr(share_anger, call_number) END AS correlation
    FROM numbered
    GROUP BY customer_pseudonym
    HAVING count(*) > 1
), tested AS (
    SELECT *, two_sided_p(atanh(greatest(-0.999999, least(0.999999, correlation))) * sqrt(greatest(scored - 3, 0))) AS p_value FROM grouped
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
    codecs, -- different codecs: with more than one, a trend may be the line's
    share_anger,
    first_share_anger, -- share of scored speech labelled anger in the first scored call, 0 to 1
    last_share_anger, -- share of scored speech labelled anger in the last scored call, 0 to 1
    anger_per_call, -- change of the share of anger from call to call (slope), -1 to 1
    p_value, -- how often so clear a trend comes by chance, 0 to 1; null below four scored calls or without any difference
    p_adjusted, -- p_value after Benjamini and Hochberg, over all customers
    CASE
        WHEN p_value IS NULL THEN NULL
        WHEN p_adjusted < 0.05 THEN if(anger_per_call > 0, 'rises', 'falls')
        ELSE 'no clear trend'
    END AS trend -- rises, falls or no clear trend; null where it can't be told
FROM adjusted
ORDER BY trend IS NOT DISTINCT FROM 'rises' DESC, p_value, customer_pseudonym
