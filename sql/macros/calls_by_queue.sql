-- Calls, speech and shares of emotion by call_date and queue, and by hour of the day if wanted (else hour is null): what
-- calls_by_day_and_queue and calls_by_hour_and_queue have in common.
-- Written for speed: seconds are summed once for all shares that the same calls have (known says which), and intervals are made last,
-- of the rows that are read.
CREATE MACRO calls_by_queue(by_hour) AS TABLE
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
