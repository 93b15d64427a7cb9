-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Does the audio of each kind of source carry emotion well?
-- Grain: one row per codec, container, sampling rate and number of channels.
-- Units: recordings counted, audio_h in hours, mean_ levels in dB weighted by seconds, share_unsure of scored speech 0 to 1.
-- A high share_unsure or a low mean_snr_db means: trust that source's emotions less.
-- Quarantined files have no codec: see outcomes_and_reasons.
WITH level AS (
    SELECT
        recording_id,
        sum(end_s - start_s) AS segments_s,
        weighted_avg(loudness_dbfs, end_s - start_s) AS loudness_dbfs,
        weighted_avg(snr_db, end_s - start_s) AS snr_db
    FROM {{ ref('segments') }} AS segments
    GROUP BY recording_id
)
SELECT
    c.codec,
    c.container,
    c.sampling_rate_hz,
    c.channels,
    count(*) AS recordings, -- recordings of the kind
    count(*) FILTER (c.outcome = 'scored') AS scored, -- recordings that ended as scored
    count(*) FILTER (c.outcome = 'no_speech') AS no_speech, -- recordings that ended as no_speech
    count(*) FILTER (c.outcome = 'withheld') AS withheld, -- recordings that ended as withheld
    count(o.note) AS with_note, -- recordings that were used with a remark, such as a truncated file
    sum(c.duration_s) / 3600 AS audio_h,
    weighted_avg(level.loudness_dbfs, level.segments_s) AS mean_loudness_dbfs, -- mean level of the segments, dB relative to full scale
    weighted_avg(level.snr_db, level.segments_s) AS mean_snr_db, -- mean level of the segments above their channel's noise floor in dB
    coalesce(sum(c.scored_speech_s), 0) AS scored_speech_s,
    weighted_avg(c.share_unsure, nullif(c.scored_speech_s, 0)) AS share_unsure
FROM {{ ref('call_emotions') }} AS c
JOIN {{ ref('outcomes') }} AS o USING (recording_id)
LEFT JOIN level USING (recording_id)
GROUP BY c.codec, c.container, c.sampling_rate_hz, c.channels
ORDER BY recordings DESC, c.codec, c.container, c.sampling_rate_hz, c.channels
