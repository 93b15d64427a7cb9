-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- In which queues did anger change from one week to the next, and is it more than chance or a change of codec?
-- Grain: one row per queue and week (its Monday) that follows a week with scored calls; the newest week first, then the clearest change.
-- Units: calls in recordings, share_ of scored speech 0 to 1, change_ in share, p_ 0 to 1.
-- change is share_anger less that of the week before, with a 95 % interval (Newcombe's, from both weeks' intervals). Independent units are
-- the calls or the days, whichever says less: a queue's days differ by more than their calls explain, which many calls would take for a
-- change. change_within_source compares like with like: the change within each codec, sampling rate and language that both weeks have,
-- weighted as by Cochran, Mantel and Haenszel; p_value is its test. Customers on a channel of their own are counted. Over many queues some
-- change clearly by chance: p_adjusted is Benjamini and Hochberg's over the week's queues, and verdict goes by it: of 20 weeks in which nothing changed, one names a queue all the same. A change that goes
-- away within sources or among the speech that is sure, or a week with another codec, is no verdict on callers: verdict says so. A week of
-- one or two days says little.
-- Where few calls come, a week alone cannot distinguish even twice the anger from chance: see turning_weeks.
WITH calls AS (
    SELECT
        queue,
        date_trunc('week', call_date)::DATE AS week,
        call_date,
        audio_kind(codec, sampling_rate_hz, language) AS source,
        share_anger,
        coalesce(share_unsure, 0) AS unsure,
        scored_speech_s AS seconds
    FROM {{ ref('counted_calls') }} AS counted_calls
    WHERE share_anger IS NOT NULL AND scored_speech_s > 0 AND call_date IS NOT NULL AND emotion_role = 'customer'
), over_calls AS ( -- source is null in the rows of all sources together
    SELECT queue, week, source, count(*) AS calls, effective_calls(share_anger, seconds) AS n
    FROM calls
    GROUP BY GROUPING SETS ((queue, week), (queue, week, source))
), days AS (
    SELECT
        queue,
        week,
        source,
        call_date,
        sum(seconds) AS seconds,
        weighted_avg(share_anger, seconds) AS share,
        weighted_avg(unsure, seconds) AS unsure
    FROM calls
    GROUP BY GROUPING SETS ((queue, week, call_date), (queue, week, source, call_date))
), over_days AS (
    SELECT
        queue,
        week,
        source,
        sum(seconds) AS seconds,
        weighted_avg(share, seconds) AS share,
        weighted_avg(unsure, seconds) AS unsure,
        days_worth(share, seconds) AS n
    FROM days
    GROUP BY queue, week, source
), shares AS (
    SELECT over_days.* EXCLUDE (n), calls, least(over_calls.n, over_days.n) AS n
    FROM over_calls
    JOIN over_days ON over_days.queue IS NOT DISTINCT FROM over_calls.queue
        AND over_days.week = over_calls.week AND over_days.source IS NOT DISTINCT FROM over_calls.source
), by_week AS (
    SELECT *, wilson_interval(share, n) AS ends FROM shares WHERE source IS NULL
), by_source AS (
    FROM shares WHERE source IS NOT NULL
), pairs AS (
    SELECT
        later.*,
        former.calls AS calls_before,
        former.share AS share_before,
        later.share / nullif(1 - later.unsure, 0) AS sure,
        former.share / nullif(1 - former.unsure, 0) AS sure_before,
        former.n AS n_before,
        former.ends AS ends_before,
        former.seconds AS seconds_before
    FROM by_week AS later
    JOIN by_week AS former ON former.queue IS NOT DISTINCT FROM later.queue AND former.week = later.week - 7
), within AS (
    SELECT
        later.queue,
        later.week,
        sum(later.seconds) AS seconds,
        sum(former.seconds) AS seconds_before,
        change_within(later.share, later.n, former.share, former.n) AS moved
    FROM by_source AS later
    JOIN by_source AS former ON former.queue IS NOT DISTINCT FROM later.queue AND former.week = later.week - 7 AND former.source = later.source
    GROUP BY later.queue, later.week
), tested AS (
    SELECT
        pairs.*,
        moved.change AS change_within,
        least(coalesce(within.seconds, 0) / pairs.seconds, coalesce(within.seconds_before, 0) / pairs.seconds_before) AS comparable,
        CASE WHEN moved.error > 0 THEN two_sided_p(moved.change / moved.error) WHEN moved.change = 0 THEN 1 END AS p_value,
        (share * n + share_before * n_before) / (n + n_before) AS pooled,
        two_sided_p((share - share_before) / nullif(sqrt(pooled * (1 - pooled) * (1 / n + 1 / n_before)), 0)) AS p_plain
    FROM pairs
    LEFT JOIN within ON within.queue IS NOT DISTINCT FROM pairs.queue AND within.week = pairs.week
), ranked AS (
    SELECT *, count(p_value) OVER (PARTITION BY week ORDER BY p_value) AS place, count(p_value) OVER (PARTITION BY week) AS tests FROM tested
), adjusted AS (
    SELECT *, least(1, min(p_value * tests / place) OVER (PARTITION BY week ORDER BY p_value DESC)) AS p_adjusted FROM ranked
)
SELECT
    week, -- Monday of the week
    queue,
    calls, -- scored calls of the week
    calls_before, -- scored calls of the week before
    share AS share_anger,
    ends.low AS share_anger_low,
    ends.high AS share_anger_high,
    share_before AS share_anger_before, -- share of scored speech labelled anger in the week before, 0 to 1
    sure AS share_anger_of_sure, -- share of the speech that the model is sure about labelled anger, 0 to 1
    sure_before AS share_anger_of_sure_before, -- the same in the week before, 0 to 1
    share - share_before AS change, -- share_anger less share_anger_before
    change - sqrt((share - ends.low) ^ 2 + (ends_before.high - share_before) ^ 2) AS change_low,
    change + sqrt((ends.high - share) ^ 2 + (share_before - ends_before.low) ^ 2) AS change_high,
    comparable AS share_comparable, -- share of the scored speech of codecs, sampling rates and languages that both weeks have (the smaller of the two weeks'), 0 to 1
    change_within AS change_within_source, -- change within each codec, sampling rate and language that both weeks have; null where they have none in common
    p_value, -- how often chance alone makes so large a change_within_source, 0 to 1
    CASE WHEN p_value IS NOT NULL THEN p_adjusted END AS p_adjusted, -- p_value after Benjamini and Hochberg, over the queues of the week
    CASE
        WHEN least(calls, calls_before) < 5 THEN 'too few calls'
        WHEN p_value IS NOT NULL AND p_adjusted < 0.05 AND comparable >= 0.5 AND change_within * (sure - sure_before) <= 0 THEN 'not among what is sure'
        WHEN p_value IS NOT NULL AND p_adjusted < 0.05 AND comparable >= 0.5 THEN if(change_within > 0, 'rose', 'fell')
        WHEN p_plain < 0.05 AND comparable < 0.5 THEN 'other codec, cannot tell'
        WHEN p_plain < 0.05 AND abs(change_within) < abs(change) / 2 THEN 'not within a codec'
        ELSE 'no clear change'
    END AS verdict -- rose, fell, no clear change, too few calls, not among what is sure (unsure changed), not within a codec (it goes with the mix of codecs), or other codec, cannot tell
FROM adjusted
ORDER BY week DESC, p_adjusted, queue
