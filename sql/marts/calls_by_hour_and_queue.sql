-- How many calls came in each hour of each day and queue, and how did their callers sound?
-- Grain: one row per call_date, hour of the day at its start and queue; a null hour where no start time is known.
-- Units: hour 0 to 23 in the zone of call_date, calls in recordings, share_ of scored speech seconds 0 to 1, _s in seconds, audio_h in hours.
-- _low and _high are the ends of the share's 95 % interval, calls being the independent units: a share over 12 calls is not one over
-- 12,000, and speech of agents is in no share. Where many rows are compared at once, one in 20 intervals misses by chance alone. Quarantined and failed recordings have no
-- queue and so are not here: see outcomes_and_reasons.
WITH calls AS (
    SELECT
        *,
        CASE WHEN emotion_role IS DISTINCT FROM 'agent' THEN nullif(scored_speech_s, 0) END AS seconds,
        share_negative(share_anger, share_disgust, share_fear, share_sadness) AS share_negative
    FROM call_emotions
), grouped AS (
    SELECT
        call_date,
        local_hour AS hour,
        queue,
        count(*) AS calls,
        count(*) FILTER (outcome = 'scored') AS scored,
        count(*) FILTER (outcome = 'no_speech') AS no_speech,
        count(*) FILTER (outcome = 'withheld') AS withheld,
        sum(duration_s) / 3600 AS audio_h,
        coalesce(sum(seconds), 0) AS scored_speech_s,
        count(escalated) FILTER (seconds > 0) AS escalation_known,
        count(*) FILTER (escalated AND seconds > 0) AS escalated,
        weighted_avg(share_unsure, seconds) AS share_unsure,
        share_interval(share_unsure, seconds) AS unsure,
        weighted_avg(share_negative, seconds) AS share_negative,
        share_interval(share_negative, seconds) AS negative,
        weighted_avg(share_anger, seconds) AS share_anger,
        share_interval(share_anger, seconds) AS anger,
        weighted_avg(share_calm, seconds) AS share_calm,
        share_interval(share_calm, seconds) AS calm,
        weighted_avg(share_disgust, seconds) AS share_disgust,
        share_interval(share_disgust, seconds) AS disgust,
        weighted_avg(share_fear, seconds) AS share_fear,
        share_interval(share_fear, seconds) AS fear,
        weighted_avg(share_happiness, seconds) AS share_happiness,
        share_interval(share_happiness, seconds) AS happiness,
        weighted_avg(share_neutral, seconds) AS share_neutral,
        share_interval(share_neutral, seconds) AS neutral,
        weighted_avg(share_sadness, seconds) AS share_sadness,
        share_interval(share_sadness, seconds) AS sadness,
        weighted_avg(share_surprise, seconds) AS share_surprise,
        share_interval(share_surprise, seconds) AS surprise
    FROM calls
    GROUP BY call_date, hour, queue
)
SELECT
    call_date,
    hour, -- hour of the call's start, 0 to 23 in the zone of call_date; null in parts that do not say it
    queue,
    calls, -- calls with a row: scored, without speech or withheld
    scored, -- calls in which somebody's emotion was scored: what the intervals count
    no_speech, -- calls without speech that may be scored
    withheld, -- calls that the policy withholds
    audio_h, -- hours of audio
    scored_speech_s, -- seconds of scored speech: the shares' denominator
    escalation_known, -- calls of which the first and the last quarter have scored speech
    escalated, -- calls of those that escalated
    share_unsure,
    unsure.low AS share_unsure_low,
    unsure.high AS share_unsure_high,
    share_negative,
    negative.low AS share_negative_low,
    negative.high AS share_negative_high,
    share_anger,
    anger.low AS share_anger_low,
    anger.high AS share_anger_high,
    share_calm,
    calm.low AS share_calm_low,
    calm.high AS share_calm_high,
    share_disgust,
    disgust.low AS share_disgust_low,
    disgust.high AS share_disgust_high,
    share_fear,
    fear.low AS share_fear_low,
    fear.high AS share_fear_high,
    share_happiness,
    happiness.low AS share_happiness_low,
    happiness.high AS share_happiness_high,
    share_neutral,
    neutral.low AS share_neutral_low,
    neutral.high AS share_neutral_high,
    share_sadness,
    sadness.low AS share_sadness_low,
    sadness.high AS share_sadness_high,
    share_surprise,
    surprise.low AS share_surprise_low,
    surprise.high AS share_surprise_high
FROM grouped
ORDER BY call_date DESC, hour, queue
