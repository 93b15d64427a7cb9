-- How do two periods or two queues differ, on the same kinds of audio?
-- Grain: one row per measure, and per queue with by_queue := true.
-- Units: share_ of scored speech and differences of it 0 to 1, calls counted once.
-- compare('2026-11', '2026-10') or compare('billing', 'returns'). A period is a day, month (2026-11), week (2026-W47) or two of these with a
-- slash between; periods are compared over all queues, with in_queue := 'billing' in one, with by_queue := true in each. Two queues are compared
-- from since to until, where given. Intervals are 95 %. _of_sure are shares of the speech of which the model is sure: a share of all speech falls
-- where unsure rises. difference is this less other within each kind of audio (language, codec, sampling rate) that both sides have, weighted
-- as by Cochran, Mantel and Haenszel. p_adjusted is Benjamini and Hochberg's over all rows of the answer.
CREATE MACRO compare(this, other, in_queue := NULL, since := NULL, until := NULL, by_queue := false) AS TABLE
WITH sides AS (
    SELECT
        side,
        side_text,
        period_from(side_text) AS from_date,
        period_until(side_text) AS until_date,
        CASE
            WHEN (period_from(this::VARCHAR) IS NULL) <> (period_from(other::VARCHAR) IS NULL)
                THEN error('compare takes two periods, such as 2026-11 and 2026-10, or two queues: not one of each')
            ELSE true
        END AS alike
    FROM (SELECT unnest([{side: 1, side_text: this::VARCHAR}, {side: 2, side_text: other::VARCHAR}], recursive := true))
), compared_calls AS (
    SELECT
        s.side,
        CASE WHEN by_queue AND s.from_date IS NOT NULL THEN c.queue END AS of_queue,
        audio_kind(c.codec, c.sampling_rate_hz, c.language) AS source,
        c.call_date,
        c.scored_speech_s AS seconds,
        c.scored_speech_s * (1 - c.share_unsure) AS sure_seconds,
        unnest([
            {measure: 'share_unsure', share: c.share_unsure},
            {measure: 'share_negative', share: share_negative(c.share_anger, c.share_disgust, c.share_fear, c.share_sadness)},
            {measure: 'share_anger', share: c.share_anger},
            {measure: 'share_calm', share: c.share_calm},
            {measure: 'share_disgust', share: c.share_disgust},
            {measure: 'share_fear', share: c.share_fear},
            {measure: 'share_happiness', share: c.share_happiness},
            {measure: 'share_neutral', share: c.share_neutral},
            {measure: 'share_sadness', share: c.share_sadness},
            {measure: 'share_surprise', share: c.share_surprise}
        ], recursive := true)
    FROM counted_calls AS c
    JOIN sides AS s ON s.alike AND CASE WHEN s.from_date IS NULL THEN c.queue = s.side_text ELSE c.call_date BETWEEN s.from_date AND s.until_date END
    WHERE c.scored_speech_s > 0 AND c.emotion_role IS DISTINCT FROM 'agent'
        AND (in_queue IS NULL OR c.queue = in_queue)
        AND (since IS NULL OR c.call_date >= since::DATE)
        AND (until IS NULL OR c.call_date <= until::DATE)
), over_calls AS ( -- source is null in the rows of all sources together
    SELECT
        side,
        of_queue,
        measure,
        source,
        count(*) AS calls,
        effective_calls(share, seconds) AS n,
        CASE WHEN measure <> 'share_unsure' THEN sum(share * seconds) / nullif(sum(sure_seconds), 0) END AS of_sure
    FROM compared_calls
    WHERE share IS NOT NULL
    GROUP BY GROUPING SETS ((side, of_queue, measure), (side, of_queue, measure, source))
), days AS (
    SELECT side, of_queue, measure, source, call_date, sum(seconds) AS seconds, weighted_avg(share, seconds) AS share
    FROM compared_calls
    WHERE share IS NOT NULL
    GROUP BY GROUPING SETS ((side, of_queue, measure, call_date), (side, of_queue, measure, source, call_date))
), over_days AS (
    SELECT side, of_queue, measure, source, sum(seconds) AS seconds, weighted_avg(share, seconds) AS share, days_worth(share, seconds) AS n
    FROM days
    GROUP BY side, of_queue, measure, source
), shares AS (
    SELECT d.* EXCLUDE (n), c.calls, c.of_sure, least(c.n, d.n) AS n, wilson_interval(d.share, least(c.n, d.n)) AS ends
    FROM over_days AS d
    JOIN over_calls AS c
        ON c.side = d.side AND c.measure = d.measure AND c.of_queue IS NOT DISTINCT FROM d.of_queue AND c.source IS NOT DISTINCT FROM d.source
), within AS (
    SELECT
        a.of_queue,
        a.measure,
        sum(a.seconds) AS seconds_a,
        sum(b.seconds) AS seconds_b,
        change_within(a.share, a.n, b.share, b.n) AS moved,
        weighted_avg(a.of_sure - b.of_sure, a.n * b.n / (a.n + b.n)) AS moved_of_sure
    FROM shares AS a
    JOIN shares AS b ON b.side = 2 AND b.measure = a.measure AND b.of_queue IS NOT DISTINCT FROM a.of_queue AND b.source = a.source
    WHERE a.side = 1
    GROUP BY a.of_queue, a.measure
), paired AS (
    SELECT
        rows.of_queue,
        rows.measure,
        coalesce(a.calls, 0) AS calls_a,
        coalesce(b.calls, 0) AS calls_b,
        a.share AS share_a,
        a.ends AS ends_a,
        a.of_sure AS of_sure_a,
        b.share AS share_b,
        b.ends AS ends_b,
        b.of_sure AS of_sure_b,
        w.moved.change AS change,
        w.moved.error AS error,
        w.moved_of_sure,
        least(coalesce(w.seconds_a, 0) / a.seconds, coalesce(w.seconds_b, 0) / b.seconds) AS comparable,
        CASE WHEN w.moved.error > 0 THEN two_sided_p(w.moved.change / w.moved.error) WHEN w.moved.change = 0 THEN 1 END AS p
    FROM (SELECT DISTINCT of_queue, measure FROM shares) AS rows
    LEFT JOIN shares AS a ON a.side = 1 AND a.source IS NULL AND a.measure = rows.measure AND a.of_queue IS NOT DISTINCT FROM rows.of_queue
    LEFT JOIN shares AS b ON b.side = 2 AND b.source IS NULL AND b.measure = rows.measure AND b.of_queue IS NOT DISTINCT FROM rows.of_queue
    LEFT JOIN within AS w ON w.measure = rows.measure AND w.of_queue IS NOT DISTINCT FROM rows.of_queue
), ranked AS (
    SELECT *, count(p) OVER (ORDER BY p) AS place, count(p) OVER () AS tests FROM paired
), adjusted AS (
    SELECT *, CASE WHEN p IS NOT NULL THEN least(1, min(p * tests / place) OVER (ORDER BY p DESC)) END AS p_by_rank FROM ranked
)
SELECT
    measure, -- what is compared: a column of call_emotions, or share_negative
    of_queue AS queue, -- the queue, with by_queue := true; null where queues are pooled
    CASE
        WHEN least(calls_a, calls_b) < 10 THEN 'too few calls'
        WHEN comparable < 0.5 THEN 'other audio, cannot tell'
        WHEN p_by_rank < 0.05 AND (moved_of_sure * change <= 0 OR abs(moved_of_sure) < abs(change) / 2) THEN 'not among what is sure'
        WHEN p_by_rank < 0.05 THEN if(change > 0, 'higher', 'lower')
        ELSE 'no clear difference'
    END AS verdict, -- higher, lower, no clear difference, too few calls (under 10 on a side), not among what is sure, or other audio, cannot tell
    change AS difference, -- this less other within each kind of audio that both sides have, -1 to 1; null where they have none in common
    CASE WHEN change IS NOT NULL THEN greatest(-1, change - 1.959964 * error) END AS difference_low,
    CASE WHEN change IS NOT NULL THEN least(1, change + 1.959964 * error) END AS difference_high,
    share_a AS this_share, -- share of the first side's scored speech, 0 to 1
    ends_a.low AS this_share_low,
    ends_a.high AS this_share_high,
    share_b AS other_share, -- share of the second side's scored speech, 0 to 1
    ends_b.low AS other_share_low,
    ends_b.high AS other_share_high,
    of_sure_a AS this_share_of_sure, -- share of the first side's speech of which the model is sure, 0 to 1
    of_sure_b AS other_share_of_sure, -- share of the second side's speech of which the model is sure, 0 to 1
    calls_a AS this_calls, -- scored calls of the first side
    calls_b AS other_calls, -- scored calls of the second side
    comparable AS share_comparable, -- share of the scored speech of kinds of audio that both sides have (the smaller of the two sides'), 0 to 1
    p AS p_value, -- how often chance alone makes so large a difference, 0 to 1
    p_by_rank AS p_adjusted -- p_value after Benjamini and Hochberg, over the rows of the answer
FROM adjusted
ORDER BY of_queue, list_position(['share_unsure', 'share_negative', 'share_anger'], measure), measure
