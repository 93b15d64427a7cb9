-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- From which week on does a queue sound angrier, or calmer, than before?
-- Grain: one row per queue and week (its Monday) whose change is the clearest within eight weeks on either side; the clearest first.
-- Units: days counted, share_ of scored speech 0 to 1, change in share, p_ 0 to 1.
-- Compared are up to eight weeks before and eight from that Monday on, 14 days with scored calls at least on each side: a change that stays
-- is found where week_on_week cannot distinguish it from chance. change is that within each codec, sampling rate and language that both
-- sides have, weighted as by Cochran, Mantel and Haenszel, days being the independent units; _low and _high: 95 % interval. Many weeks of many queues
-- are looked at, and of chance some seem to turn: p_adjusted is p_value times their number (Bonferroni's), and verdict goes by it. The week
-- found may be off by one or two. Where anger among the speech that is sure went the other way, unsure changed, not the callers.
WITH days AS (
    SELECT
        queue,
        audio_kind(codec, sampling_rate_hz, language) AS source,
        call_date,
        sum(scored_speech_s) AS seconds,
        weighted_avg(share_anger, scored_speech_s) AS share,
        weighted_avg(coalesce(share_unsure, 0), scored_speech_s) AS unsure
    FROM {{ ref('call_emotions') }} AS call_emotions
    WHERE share_anger IS NOT NULL AND scored_speech_s > 0 AND call_date IS NOT NULL AND emotion_role = 'customer'
    GROUP BY ALL
), weeks AS (
    SELECT DISTINCT queue, date_trunc('week', call_date)::DATE AS week FROM days
), around AS (
    SELECT weeks.week, days.*, days.call_date >= weeks.week AS after
    FROM weeks
    JOIN days ON days.queue IS NOT DISTINCT FROM weeks.queue AND days.call_date BETWEEN weeks.week - 56 AND weeks.week + 55
), sides AS (
    SELECT
        queue,
        week,
        count(DISTINCT call_date) FILTER (NOT after) AS days_before,
        count(DISTINCT call_date) FILTER (after) AS days_after,
        sum(seconds) FILTER (NOT after) AS seconds_before,
        sum(seconds) FILTER (after) AS seconds_after,
        sum(share * seconds) FILTER (NOT after) / seconds_before AS share_before,
        sum(share * seconds) FILTER (after) / seconds_after AS share_after,
        share_before / nullif(1 - sum(unsure * seconds) FILTER (NOT after) / seconds_before, 0) AS sure_before,
        share_after / nullif(1 - sum(unsure * seconds) FILTER (after) / seconds_after, 0) AS sure_after
    FROM around
    GROUP BY queue, week
    HAVING days_before >= 14 AND days_after >= 14
), by_source AS (
    SELECT
        queue,
        week,
        after,
        source,
        sum(seconds) AS seconds,
        weighted_avg(share, seconds) AS share,
        coalesce(days_worth(share, seconds), sum(seconds) ^ 2 / sum(seconds ^ 2)) AS n
    FROM around
    GROUP BY queue, week, after, source
), within AS (
    SELECT
        later.queue,
        later.week,
        sum(later.seconds) AS seconds_after,
        sum(former.seconds) AS seconds_before,
        change_within(later.share, later.n, former.share, former.n) AS moved
    FROM by_source AS later
    JOIN by_source AS former ON former.queue IS NOT DISTINCT FROM later.queue AND former.week = later.week AND former.source = later.source
    WHERE later.after AND NOT former.after
    GROUP BY later.queue, later.week
), tested AS (
    SELECT
        sides.*,
        moved.change AS change,
        moved.error AS error,
        least(coalesce(within.seconds_after, 0) / sides.seconds_after, coalesce(within.seconds_before, 0) / sides.seconds_before) AS comparable,
        CASE WHEN moved.error > 0 THEN abs(moved.change) / moved.error WHEN moved.change = 0 THEN 0 END AS z,
        count(*) OVER () AS tests
    FROM sides
    LEFT JOIN within ON within.queue IS NOT DISTINCT FROM sides.queue AND within.week = sides.week
), clearest AS (
    SELECT *, two_sided_p(z) AS p_value
    FROM tested
    QUALIFY z = max(z) OVER (PARTITION BY queue ORDER BY week RANGE BETWEEN INTERVAL 56 DAYS PRECEDING AND INTERVAL 56 DAYS FOLLOWING) AND z > 0
)
SELECT
    week, -- Monday of the week from which on it is so
    queue,
    days_before, -- days with scored calls in the eight weeks before
    days_after, -- days with scored calls in the eight weeks from then on
    share_before AS share_anger_before, -- share of scored speech labelled anger before, 0 to 1
    share_after AS share_anger_after, -- share of scored speech labelled anger from then on, 0 to 1
    sure_before AS share_anger_of_sure_before, -- the same of the speech that the model is sure about, 0 to 1
    sure_after AS share_anger_of_sure_after, -- the same of the speech that the model is sure about, 0 to 1
    change, -- change within each codec, sampling rate and language that both sides have, -1 to 1
    change - 1.959964 * error AS change_low,
    change + 1.959964 * error AS change_high,
    comparable AS share_comparable, -- share of the scored speech of codecs, sampling rates and languages that both sides have (the smaller of the two sides'), 0 to 1
    p_value, -- how often chance alone makes so large a change, 0 to 1
    least(1, p_value * tests) AS p_adjusted, -- p_value times the number of weeks and queues that were looked at
    CASE
        WHEN comparable < 0.5 THEN 'other codec, cannot tell'
        WHEN p_adjusted < 0.05 AND change * (sure_after - sure_before) <= 0 THEN 'not among what is sure'
        WHEN p_adjusted < 0.05 THEN if(change > 0, 'rose', 'fell')
        ELSE 'no clear change'
    END AS verdict -- rose, fell, no clear change, not among what is sure, or other codec, cannot tell
FROM clearest
ORDER BY p_value, queue, week
