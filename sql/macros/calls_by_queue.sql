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
), shared AS (
    SELECT
        * EXCLUDE (unsure, negative, anger, calm, disgust,
            fear, happiness, neutral, sadness, surprise),
        list_transform(
            [unsure, negative, anger, calm, disgust, fear, happiness, neutral, sadness, surprise],
            lambda sums: CASE WHEN sums.shared IS NOT NULL THEN {share: sums.shared / nullif(sums.seconds, 0), ends: sums_interval(sums)} END
        ) AS shares
    FROM grouped
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
    shares[1].share AS share_unsure,
    shares[1].ends.low AS share_unsure_low,
    shares[1].ends.high AS share_unsure_high,
    shares[2].share AS share_negative,
    shares[2].ends.low AS share_negative_low,
    shares[2].ends.high AS share_negative_high,
    shares[3].share AS share_anger,
    shares[3].ends.low AS share_anger_low,
    shares[3].ends.high AS share_anger_high,
    shares[4].share AS share_calm,
    shares[4].ends.low AS share_calm_low,
    shares[4].ends.high AS share_calm_high,
    shares[5].share AS share_disgust,
    shares[5].ends.low AS share_disgust_low,
    shares[5].ends.high AS share_disgust_high,
    shares[6].share AS share_fear,
    shares[6].ends.low AS share_fear_low,
    shares[6].ends.high AS share_fear_high,
    shares[7].share AS share_happiness,
    shares[7].ends.low AS share_happiness_low,
    shares[7].ends.high AS share_happiness_high,
    shares[8].share AS share_neutral,
    shares[8].ends.low AS share_neutral_low,
    shares[8].ends.high AS share_neutral_high,
    shares[9].share AS share_sadness,
    shares[9].ends.low AS share_sadness_low,
    shares[9].ends.high AS share_sadness_high,
    shares[10].share AS share_surprise,
    shares[10].ends.low AS share_surprise_low,
    shares[10].ends.high AS share_surprise_high,
    shares[2].share / nullif(1 - shares[1].share, 0) AS share_negative_of_sure,
    shares[3].share / nullif(1 - shares[1].share, 0) AS share_anger_of_sure,
    shares[7].share / nullif(1 - shares[1].share, 0) AS share_happiness_of_sure
FROM shared
