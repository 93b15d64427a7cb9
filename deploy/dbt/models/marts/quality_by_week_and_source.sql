-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Is a rise in anger real, or did the audio change?
-- Grain: one row per queue, week (its Monday) and kind of source: codec, sampling rate and number of channels.
-- Units: calls in recordings, share_ 0 to 1, mean_ levels in dB weighted by seconds of scored speech, _s in seconds.
-- Read a queue's weeks down: where anger rises within each source, it is real; where each source stays as it is and share_of_week moves
-- from one to another, the cause is the transmission. A fall of mean_snr_db or a rise of share_unsure says to trust a source less. _low and
-- _high: 95 % interval, calls being the independent units. Calls that older parts hold have no mean_snr_db.
WITH calls AS (
    SELECT *, CASE WHEN emotion_role IS DISTINCT FROM 'agent' THEN nullif(scored_speech_s, 0) END AS seconds
    FROM {{ ref('call_emotions') }} AS call_emotions
    WHERE call_date IS NOT NULL
), grouped AS (
    SELECT
        queue,
        date_trunc('week', call_date)::DATE AS week,
        codec,
        sampling_rate_hz,
        channels,
        count(*) AS calls,
        count(*) FILTER (outcome = 'scored') AS scored,
        coalesce(sum(seconds), 0) AS scored_speech_s,
        weighted_avg(scored_snr_db, seconds) AS mean_snr_db,
        weighted_avg(coalesce(customer_loudness_dbfs, unattributed_loudness_dbfs), seconds) AS mean_loudness_dbfs,
        weighted_avg(share_unsure, seconds) AS share_unsure,
        share_interval(share_unsure, seconds) AS unsure,
        weighted_avg(share_anger, seconds) AS share_anger,
        share_interval(share_anger, seconds) AS anger
    FROM calls
    GROUP BY queue, week, codec, sampling_rate_hz, channels
)
SELECT
    queue,
    week, -- Monday of the week
    codec,
    sampling_rate_hz,
    channels,
    calls, -- calls of the queue, week and source
    calls / sum(calls) OVER (PARTITION BY queue, week) AS share_of_week, -- share of the queue's calls of the week that came so, 0 to 1
    scored, -- scored calls: the units of the intervals
    scored_speech_s, -- seconds of scored speech: the shares' denominator
    mean_snr_db, -- mean signal-to-noise ratio of scored speech in dB
    mean_loudness_dbfs, -- mean level of the customer's speech (else of unattributed speech), dB relative to full scale
    share_unsure,
    unsure.low AS share_unsure_low,
    unsure.high AS share_unsure_high,
    share_anger,
    anger.low AS share_anger_low,
    anger.high AS share_anger_high
FROM grouped
ORDER BY queue, week DESC, calls DESC, codec, sampling_rate_hz, channels
