-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- How often do reviewers hear anger where the list to hear says so, and elsewhere?
-- Grain: one row per model and list: to hear, uncertain, other calls, all calls.
-- Units: shares 0 to 1, calls counted.
-- The share of calls in which reviewers hear anger, each judged call weighted by 1 / inclusion_probability (Horvitz and Thompson). The
-- interval is Wilson's, for as many calls as the weights are worth (Kish). It says what to expect of such calls, and stays wide where few
-- were judged; with fewer than 5 there is none.
WITH calls AS (
    SELECT model, stratum, sample_id, recording_id, sum(weight) AS weight, sum(weight * (emotion = 'anger')::INTEGER) AS angry
    FROM {{ ref('reviewed_sample') }} AS reviewed_sample
    WHERE NOT is_stretch
    GROUP BY ALL
), lists AS (
    SELECT *, CASE stratum WHEN 'top' THEN 'to hear' WHEN 'uncertain' THEN 'uncertain' ELSE 'other calls' END AS list FROM calls
    UNION ALL
    SELECT *, 'all calls' AS list FROM calls
), summed AS (
    SELECT
        model,
        list,
        count(*) AS judged_calls,
        sum(weight) AS calls,
        sum(angry) / sum(weight) AS precision,
        CASE WHEN count(*) >= 5 THEN wilson_interval(sum(angry) / sum(weight), sum(weight) ^ 2 / sum(weight ^ 2)) END AS ends
    FROM lists
    GROUP BY ALL
)
SELECT
    model,
    list, -- to hear (on the list when the sample was drawn), uncertain, other calls, or all of them
    judged_calls, -- calls that were judged
    calls, -- calls that these stand for
    precision, -- share of them in which reviewers hear anger, 0 to 1
    ends.low AS precision_low,
    ends.high AS precision_high
FROM summed
ORDER BY model, list_position(['to hear', 'uncertain', 'other calls', 'all calls'], list)
