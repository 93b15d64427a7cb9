-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
{% macro create_macros() %}
-- What anger is compared within: codec, sampling rate and language, as of two calls that differ in them neither is the angrier for certain.
CREATE OR REPLACE MACRO audio_kind(codec, sampling_rate_hz, language) AS
    concat_ws(' ', codec, sampling_rate_hz, lower(language))
;
-- The band in which a value lies, 1 to 5, given the inner edges between bands in order; null where the value is unknown.
CREATE OR REPLACE MACRO band_of(value, edge2, edge3, edge4, edge5) AS
    CASE
        WHEN value IS NULL THEN NULL
        WHEN value >= edge4 THEN CASE WHEN value >= edge5 THEN 5 ELSE 4 END
        WHEN value >= edge3 THEN 3
        WHEN value >= edge2 THEN 2
        ELSE 1
    END
;
-- The change of a share within strata, {change, error}: an aggregate over strata (later share and independent cases, former share and
-- cases). Weighted as by Cochran, Mantel and Haenszel; error is the change's standard error where nothing changed.
CREATE OR REPLACE MACRO change_within(later, later_n, former, former_n) AS
    {
        change: weighted_avg(later - former, later_n * former_n / (later_n + former_n)),
        error: sqrt(sum(
            (later * later_n + former * former_n) / (later_n + former_n) * (1 - (later * later_n + former * former_n) / (later_n + former_n))
            * later_n * former_n / (later_n + former_n)
        )) / sum(later_n * former_n / (later_n + former_n))
    }
;
-- Fewest calls of an agent about whom figures are shown. `ser_tasks/lake/catalog.py` replaces it by SER_MIN_CALLS_BY_AGENT.
CREATE OR REPLACE MACRO min_calls_by_agent() AS 10
;
-- Seconds from the start of a recording as a player shows them, minutes:seconds.
CREATE OR REPLACE MACRO minutes_seconds(at_s) AS
    format('{:02d}:{:02d}', floor(at_s / 60)::INT, floor(at_s % 60)::INT)
;
-- Whether a call did the opposite of escalating: deescalated, and in older parts, which lack it, the old rule of escalated turned around.
-- So many calls escalate by chance as do this: read the one less the other.
CREATE OR REPLACE MACRO mirror_of_escalated(deescalated, escalated, negativity_change, negativity_q1) AS
    CASE WHEN escalated IS NOT NULL THEN coalesce(deescalated, negativity_change <= -0.2 AND negativity_q1 >= 0.5) END
;
-- First day of a period that is written in ISO 8601: 2026-11-03, 2026-11, 2026-W47 or two of these with a slash between; null for other text.
CREATE OR REPLACE MACRO period_from(period) AS
    CASE
        WHEN NOT regexp_full_match(period::VARCHAR, '\d{4}-(W\d\d|\d\d(-\d\d)?)(/\d{4}-(W\d\d|\d\d(-\d\d)?))?') THEN NULL
        WHEN split_part(period::VARCHAR, '/', 1)[6] = 'W' THEN strptime(split_part(period::VARCHAR, '/', 1) || '-1', '%G-W%V-%u')::DATE
        WHEN length(split_part(period::VARCHAR, '/', 1)) = 7 THEN (split_part(period::VARCHAR, '/', 1) || '-01')::DATE
        ELSE split_part(period::VARCHAR, '/', 1)::DATE
    END
;
-- Rank of a call by the lower end of its call_anger (sure_anger) within its line and day, 1 the highest, ties alike; null where there is none.
CREATE OR REPLACE MACRO rank_by_anger(day, line, anger) AS
    CASE WHEN anger IS NOT NULL THEN rank() OVER (PARTITION BY day, line, anger IS NULL ORDER BY anger DESC) END
;
-- Address of a recording in its store, with a moment as a media fragment; null where the key holds masked ids or the store is unknown.
CREATE OR REPLACE MACRO recording_link(recordings_uri, key, at_s) AS
    CASE WHEN NOT contains(key, '~') THEN rtrim(recordings_uri, '/') || '/' || key || coalesce('#t=' || round(at_s, 1), '') END
;
-- A call's share of negative speech: anger, disgust, fear and sadness together; null where nothing was scored.
CREATE OR REPLACE MACRO share_negative(share_anger, share_disgust, share_fear, share_sadness) AS
    CASE
        WHEN coalesce(share_anger, share_disgust, share_fear, share_sadness) IS NOT NULL
            THEN coalesce(share_anger, 0) + coalesce(share_disgust, 0) + coalesce(share_fear, 0) + coalesce(share_sadness, 0)
    END
;
-- What effective_calls sums of a share beside speech_sums: an aggregate over calls that all have the share, or all lack it.
CREATE OR REPLACE MACRO share_sums(share, seconds) AS
    {shared: sum(share * seconds), squares: sum((share * seconds) * (share * seconds)), weighted: sum(share * (seconds * seconds))}
;
-- Of calls with scored speech, their number, seconds and squared seconds: an aggregate over calls. See effective_calls.
CREATE OR REPLACE MACRO speech_sums(seconds) AS
    {calls: count(CASE WHEN seconds > 0 THEN 1 END), seconds: sum(seconds), squares: sum(seconds * seconds)}
;
-- The 97.5 % quantile of Student's t: how many standard errors a 95 % interval spans where their size was estimated, too.
-- A table up to 10 degrees of freedom, then the expansion of Abramowitz and Stegun, 26.7.5.
CREATE OR REPLACE MACRO t_quantile(degrees) AS
    CASE
        WHEN degrees <= 10
            THEN [12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.30600, 2.26216, 2.22814][degrees::INT]
        ELSE 1.95996 + 2.37227 / degrees + 2.82250 / degrees ^ 2 + 2.55585 / degrees ^ 3
    END
;
-- The tenth in which a value lies, 0 to 9, given the nine edges between tenths in order; null where either is unknown.
CREATE OR REPLACE MACRO tenth_of(value, edge) AS
    CASE
        WHEN value IS NULL OR edge IS NULL THEN NULL
        WHEN value > edge[5] THEN
            CASE WHEN value > edge[9] THEN 9 WHEN value > edge[8] THEN 8 WHEN value > edge[7] THEN 7 WHEN value > edge[6] THEN 6 ELSE 5 END
        WHEN value > edge[4] THEN 4
        WHEN value > edge[3] THEN 3
        WHEN value > edge[2] THEN 2
        WHEN value > edge[1] THEN 1
        ELSE 0
    END
;
-- The sums of effective_calls over groups of calls: an aggregate over share_sums and speech_sums, of the groups that have the share.
CREATE OR REPLACE MACRO total_sums(sums, speech, known) AS
    {
        calls: sum(CASE WHEN known THEN speech.calls ELSE 0 END),
        seconds: sum(CASE WHEN known THEN coalesce(speech.seconds, 0) END),
        speech_squares: sum(CASE WHEN known THEN speech.squares END),
        shared: sum(sums.shared),
        squares: sum(sums.squares),
        weighted: sum(sums.weighted)
    }
;
-- How often a standard normal variable is as far from 0 as z, 0 to 1: erfc(|z| / sqrt(2)).
-- The fit of Press and others, Numerical Recipes in C, 6.2 (relative error below 1.2e-7).
CREATE OR REPLACE MACRO two_sided_p(z) AS
    CASE
        WHEN z IS NOT NULL
            THEN least(
                1,
                list_reduce(
                    [0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806, 0.09678418, 0.37409196, 1.00002368, -1.26551223],
                    lambda sum, coefficient: sum / (1 + abs(z) / 2.8284271247) + coefficient
                ).exp() * exp(-(z ^ 2) / 2) / (1 + abs(z) / 2.8284271247)
            )
    END
;
-- The 95 % interval of a share that was seen in n independent cases: Wilson's score interval, {low, high}.
-- Source: Wilson, Journal of the American Statistical Association 22 (1927).
CREATE OR REPLACE MACRO wilson_interval(share, n) AS
    CASE
        WHEN share IS NOT NULL AND n > 0
            THEN {
                low: greatest(
                    0, (share + 1.920729410 / n - 1.959963985 * sqrt(greatest(0, share * (1 - share)) / n + 0.960364705 / n ^ 2)) / (1 + 3.841458821 / n)
                ),
                high: least(
                    1, (share + 1.920729410 / n + 1.959963985 * sqrt(greatest(0, share * (1 - share)) / n + 0.960364705 / n ^ 2)) / (1 + 3.841458821 / n)
                )
            }
    END
;
-- A call's value as if 30 s of the average call were added to its scored speech: so that one segment of a short call does not rank first.
CREATE OR REPLACE MACRO with_average_speech(value, seconds, average) AS
    (value * seconds + average * 30) / (seconds + 30)
;
-- How often chance alone makes a correlation over n pairs as far from 0, 0 to 1: Student's t with n - 2 degrees of freedom.
-- By Wallace's normal approximation, Biometrika 46 (1959): never too small, at most a third too large up to
-- a correlation of 0.99. A correlation of 1 counts as 1 - 1e-9.
CREATE OR REPLACE MACRO correlation_p(correlation, n) AS
    CASE
        WHEN correlation IS NOT NULL AND n > 2
            THEN two_sided_p((8 * n - 15) / (8 * n - 13) * sqrt(-(n - 2) * ln(1 - least(abs(correlation), 1 - 1e-9) ^ 2)))
    END
;
-- How many independent calls a share is worth by how its days differ: an aggregate over days (a share, its seconds of scored speech). Days
-- differ by more than chance, so a week of many calls is less certain than its number of calls suggests. The ratio estimator's variance
-- over days, widened by Student's t; null for a single day and where all days are alike: see effective_calls.
CREATE OR REPLACE MACRO days_worth(share, seconds) AS
    CASE
        WHEN count(*) > 1 AND weighted_avg(share, seconds) BETWEEN 1e-9 AND 1 - 1e-9
            THEN weighted_avg(share, seconds) * (1 - weighted_avg(share, seconds)) * sum(seconds) ^ 2 * (count(*) - 1)
                / nullif(
                    count(*) * (t_quantile(greatest(1, count(*) - 1)) / 1.95996) ^ 2
                    * greatest(
                        0,
                        sum((share * seconds) ^ 2) - 2 * weighted_avg(share, seconds) * sum(share * seconds ^ 2)
                        + weighted_avg(share, seconds) ^ 2 * sum(seconds ^ 2)
                    ),
                    0
                )
    END
;
-- How many independent calls a group's share of scored speech is worth: an aggregate over calls (a share, its seconds of scored speech).
-- Speech within a call is alike, so calls are the independent units, not seconds. The variance is that of a ratio estimator over calls,
-- widened by Student's t where calls are few; the effective number is the one at which a binomial share would vary as much (Korn and
-- Graubard, Survey Methodology 24, 1998). Two calls' worth of the greatest variance that a share can have keeps a few like calls from
-- looking certain. Where the share is 0 or 1: Kish's number, from the seconds alone.
-- Written for speed: products instead of ^, CASE instead of FILTER, and the same sums as weighted_avg, so that each is made once.
CREATE OR REPLACE MACRO effective_calls(share, seconds) AS
    CASE
        WHEN weighted_avg(share, nullif(seconds, 0)) BETWEEN 1e-9 AND 1 - 1e-9
            THEN (count(CASE WHEN seconds > 0 THEN share END) + 1) * sum(CASE WHEN share IS NOT NULL THEN nullif(seconds, 0) ELSE 0 END) ^ 2
                / (
                    count(CASE WHEN seconds > 0 THEN share END) * (t_quantile(greatest(1, count(CASE WHEN seconds > 0 THEN share END) - 1)) / 1.95996) ^ 2
                    * greatest(
                        0,
                        sum((share * seconds) * (share * seconds)) - 2 * weighted_avg(share, nullif(seconds, 0)) * sum(share * (seconds * seconds))
                        + weighted_avg(share, nullif(seconds, 0)) ^ 2 * sum(CASE WHEN share IS NOT NULL THEN seconds * seconds END)
                    )
                    / (weighted_avg(share, nullif(seconds, 0)) * (1 - weighted_avg(share, nullif(seconds, 0))))
                    + 2 * sum(CASE WHEN share IS NOT NULL THEN seconds * seconds END)
                )
        ELSE sum(CASE WHEN share IS NOT NULL THEN nullif(seconds, 0) ELSE 0 END) ^ 2 / nullif(sum(CASE WHEN share IS NOT NULL THEN seconds * seconds END), 0)
    END
;
-- Last day of a period that is written as for period_from; null for other text.
CREATE OR REPLACE MACRO period_until(period) AS
    CASE
        WHEN period_from(period) IS NULL THEN NULL
        WHEN split_part(period::VARCHAR, '/', -1)[6] = 'W' THEN strptime(split_part(period::VARCHAR, '/', -1) || '-7', '%G-W%V-%u')::DATE
        WHEN length(split_part(period::VARCHAR, '/', -1)) = 7 THEN last_day((split_part(period::VARCHAR, '/', -1) || '-01')::DATE)
        ELSE split_part(period::VARCHAR, '/', -1)::DATE
    END
;
-- How many independent calls a group's share of scored speech is worth, from its total_sums. What it means: effective_calls, the same as an
-- aggregate.
CREATE OR REPLACE MACRO sums_effective(share, sums) AS
    CASE
        WHEN share BETWEEN 1e-9 AND 1 - 1e-9
            THEN (sums.calls + 1) * sums.seconds ^ 2
                / (
                    sums.calls * (t_quantile(greatest(1, sums.calls - 1)) / 1.95996) ^ 2
                    * greatest(0, sums.squares - 2 * share * sums.weighted + share ^ 2 * sums.speech_squares)
                    / (share * (1 - share))
                    + 2 * sums.speech_squares
                )
        ELSE sums.seconds ^ 2 / nullif(sums.speech_squares, 0)
    END
;
-- How angry a call is for certain, 0 to 1: the lower end of the 95 % interval of call_anger. What every list of calls to hear is ordered by.
-- Null with less than 8 s of scored speech, two segments of usual length: too little to judge a call by. Neither call_anger, judged by the
-- strongest eighth of the speech, nor its interval grows with the length of a call: the interval is Wilson's, of ten cases where the model
-- is sure of all speech and of two where it is sure of none. In older parts share_anger stands for call_anger.
CREATE OR REPLACE MACRO sure_anger(call_anger, share_anger, share_unsure, scored_speech_s) AS
    CASE
        WHEN scored_speech_s >= 8
            THEN wilson_interval(coalesce(call_anger, share_anger)::DOUBLE, 2 + 8 * (1 - coalesce(share_unsure, 1)::DOUBLE)).low
    END
;
-- The 95 % interval of a group's share of scored speech, {low, high}: an aggregate over calls (a share, its seconds of scored speech).
CREATE OR REPLACE MACRO share_interval(share, seconds) AS
    wilson_interval(weighted_avg(share, nullif(seconds, 0)), effective_calls(share, seconds))
;
{% endmacro %}

{% macro create_calls_by_queue() %}
-- Calls, speech and shares of emotion by call_date and queue, and by hour of the day if wanted (else hour is null): what
-- calls_by_day_and_queue and calls_by_hour_and_queue have in common.
-- Written for speed: seconds are summed once for all shares that the same calls have (known says which), and intervals are made last,
-- of the rows that are read.
CREATE OR REPLACE MACRO calls_by_queue(by_hour) AS TABLE
WITH calls AS (
    SELECT
        *,
        CASE WHEN emotion_role IS DISTINCT FROM 'agent' THEN nullif(scored_speech_s, 0) END AS seconds,
        share_negative(share_anger, share_disgust, share_fear, share_sadness) AS share_negative,
        (share_unsure IS NOT NULL)::INT + 2 * (share_negative IS NOT NULL)::INT + 4 * (share_anger IS NOT NULL)::INT + 8 * (share_calm IS NOT NULL)::INT
        + 16 * (share_disgust IS NOT NULL)::INT + 32 * (share_fear IS NOT NULL)::INT + 64 * (share_happiness IS NOT NULL)::INT
        + 128 * (share_neutral IS NOT NULL)::INT + 256 * (share_sadness IS NOT NULL)::INT + 512 * (share_surprise IS NOT NULL)::INT AS known
    FROM counted_calls
), by_known AS (
    SELECT
        call_date,
        CASE WHEN by_hour THEN local_hour END AS hour,
        queue,
        known,
        count(*) AS calls,
        count(*) FILTER (outcome = 'scored') AS scored,
        count(*) FILTER (outcome = 'no_speech') AS no_speech,
        count(*) FILTER (outcome = 'withheld') AS withheld,
        sum(duration_s) / 3600 AS audio_h,
        count(escalated) FILTER (seconds > 0) AS escalation_known,
        count(*) FILTER (escalated AND seconds > 0) AS escalated,
        speech_sums(seconds) AS speech,
        share_sums(share_unsure, seconds) AS unsure,
        share_sums(share_negative, seconds) AS negative,
        share_sums(share_anger, seconds) AS anger,
        share_sums(share_calm, seconds) AS calm,
        share_sums(share_disgust, seconds) AS disgust,
        share_sums(share_fear, seconds) AS fear,
        share_sums(share_happiness, seconds) AS happiness,
        share_sums(share_neutral, seconds) AS neutral,
        share_sums(share_sadness, seconds) AS sadness,
        share_sums(share_surprise, seconds) AS surprise
    FROM calls
    GROUP BY call_date, hour, queue, known
), grouped AS (
    SELECT
        call_date,
        hour,
        queue,
        sum(calls)::BIGINT AS calls,
        sum(scored)::BIGINT AS scored,
        sum(no_speech)::BIGINT AS no_speech,
        sum(withheld)::BIGINT AS withheld,
        sum(audio_h) AS audio_h,
        coalesce(sum(speech.seconds), 0) AS scored_speech_s,
        sum(escalation_known)::BIGINT AS escalation_known,
        sum(escalated)::BIGINT AS escalated,
        total_sums(unsure, speech, known & 1 > 0) AS unsure,
        total_sums(negative, speech, known & 2 > 0) AS negative,
        total_sums(anger, speech, known & 4 > 0) AS anger,
        total_sums(calm, speech, known & 8 > 0) AS calm,
        total_sums(disgust, speech, known & 16 > 0) AS disgust,
        total_sums(fear, speech, known & 32 > 0) AS fear,
        total_sums(happiness, speech, known & 64 > 0) AS happiness,
        total_sums(neutral, speech, known & 128 > 0) AS neutral,
        total_sums(sadness, speech, known & 256 > 0) AS sadness,
        total_sums(surprise, speech, known & 512 > 0) AS surprise
    FROM by_known
    GROUP BY call_date, hour, queue
    ORDER BY call_date DESC, hour, queue -- here, so that a LIMIT applies before the intervals are made
), worth AS ( -- what an interval needs, before the intervals: a macro writes its argument out wherever it uses it
    SELECT
        * EXCLUDE (unsure, negative, anger, calm, disgust, fear, happiness, neutral, sadness, surprise),
        unsure.shared / nullif(unsure.seconds, 0) AS share_unsure,
        sums_effective(share_unsure, unsure) AS worth_unsure,
        negative.shared / nullif(negative.seconds, 0) AS share_negative,
        sums_effective(share_negative, negative) AS worth_negative,
        anger.shared / nullif(anger.seconds, 0) AS share_anger,
        sums_effective(share_anger, anger) AS worth_anger,
        calm.shared / nullif(calm.seconds, 0) AS share_calm,
        sums_effective(share_calm, calm) AS worth_calm,
        disgust.shared / nullif(disgust.seconds, 0) AS share_disgust,
        sums_effective(share_disgust, disgust) AS worth_disgust,
        fear.shared / nullif(fear.seconds, 0) AS share_fear,
        sums_effective(share_fear, fear) AS worth_fear,
        happiness.shared / nullif(happiness.seconds, 0) AS share_happiness,
        sums_effective(share_happiness, happiness) AS worth_happiness,
        neutral.shared / nullif(neutral.seconds, 0) AS share_neutral,
        sums_effective(share_neutral, neutral) AS worth_neutral,
        sadness.shared / nullif(sadness.seconds, 0) AS share_sadness,
        sums_effective(share_sadness, sadness) AS worth_sadness,
        surprise.shared / nullif(surprise.seconds, 0) AS share_surprise,
        sums_effective(share_surprise, surprise) AS worth_surprise
    FROM grouped
), shared AS (
    SELECT
        *,
        wilson_interval(share_unsure, worth_unsure) AS ends_unsure,
        wilson_interval(share_negative, worth_negative) AS ends_negative,
        wilson_interval(share_anger, worth_anger) AS ends_anger,
        wilson_interval(share_calm, worth_calm) AS ends_calm,
        wilson_interval(share_disgust, worth_disgust) AS ends_disgust,
        wilson_interval(share_fear, worth_fear) AS ends_fear,
        wilson_interval(share_happiness, worth_happiness) AS ends_happiness,
        wilson_interval(share_neutral, worth_neutral) AS ends_neutral,
        wilson_interval(share_sadness, worth_sadness) AS ends_sadness,
        wilson_interval(share_surprise, worth_surprise) AS ends_surprise
    FROM worth
)
SELECT
    call_date,
    hour,
    queue,
    calls,
    scored,
    no_speech,
    withheld,
    audio_h,
    scored_speech_s,
    escalation_known,
    escalated,
    share_unsure,
    ends_unsure.low AS share_unsure_low,
    ends_unsure.high AS share_unsure_high,
    share_negative,
    ends_negative.low AS share_negative_low,
    ends_negative.high AS share_negative_high,
    share_anger,
    ends_anger.low AS share_anger_low,
    ends_anger.high AS share_anger_high,
    share_calm,
    ends_calm.low AS share_calm_low,
    ends_calm.high AS share_calm_high,
    share_disgust,
    ends_disgust.low AS share_disgust_low,
    ends_disgust.high AS share_disgust_high,
    share_fear,
    ends_fear.low AS share_fear_low,
    ends_fear.high AS share_fear_high,
    share_happiness,
    ends_happiness.low AS share_happiness_low,
    ends_happiness.high AS share_happiness_high,
    share_neutral,
    ends_neutral.low AS share_neutral_low,
    ends_neutral.high AS share_neutral_high,
    share_sadness,
    ends_sadness.low AS share_sadness_low,
    ends_sadness.high AS share_sadness_high,
    share_surprise,
    ends_surprise.low AS share_surprise_low,
    ends_surprise.high AS share_surprise_high,
    share_negative / nullif(1 - share_unsure, 0) AS share_negative_of_sure,
    share_anger / nullif(1 - share_unsure, 0) AS share_anger_of_sure,
    share_happiness / nullif(1 - share_unsure, 0) AS share_happiness_of_sure
FROM shared
{% endmacro %}

{% macro create_compare() %}
-- How do two periods or two queues differ, on the same kinds of audio?
-- Grain: one row per measure, and per queue with by_queue := true.
-- Units: share_ of scored speech and differences of it 0 to 1, calls counted once.
-- compare('2026-11', '2026-10') or compare('billing', 'returns'). A period is a day, month (2026-11), week (2026-W47) or two of these with a
-- slash between; periods are compared over all queues, with in_queue := 'billing' in one, with by_queue := true in each. Two queues are compared
-- from since to until, where given. Intervals are 95 %. _of_sure are shares of the speech of which the model is sure: a share of all speech falls
-- where unsure rises. difference is this less other within each kind of audio (language, codec, sampling rate) that both sides have, weighted
-- as by Cochran, Mantel and Haenszel. p_adjusted is Benjamini and Hochberg's over all rows of the answer.
CREATE OR REPLACE MACRO compare(this, other, in_queue := NULL, since := NULL, until := NULL, by_queue := false) AS TABLE
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
{% endmacro %}
