-- How many calls came in each day and queue, and how did their callers sound?
-- Grain: one row per call_date (UTC unless the site set a zone) and queue; a null queue is one of its own.
-- Units: calls in recordings, share_ of scored speech seconds 0 to 1, _s in seconds, audio_h in hours.
-- Read a share beside its scored_speech_s: a few seconds say little. Quarantined and failed recordings have no queue
-- and so are not here: see outcomes_and_reasons.
SELECT
    call_date,
    queue,
    count(*) AS calls,
    count(*) FILTER (outcome = 'scored') AS scored,
    count(*) FILTER (outcome = 'no_speech') AS no_speech,
    count(*) FILTER (outcome = 'withheld') AS withheld,
    sum(duration_s) / 3600 AS audio_h,
    coalesce(sum(scored_speech_s), 0) AS scored_speech_s,
    count(escalated) AS escalation_known,
    count(*) FILTER (escalated) AS escalated,
    weighted_avg(share_unsure, nullif(scored_speech_s, 0)) AS share_unsure,
    weighted_avg(share_anger, nullif(scored_speech_s, 0)) AS share_anger,
    weighted_avg(share_calm, nullif(scored_speech_s, 0)) AS share_calm,
    weighted_avg(share_disgust, nullif(scored_speech_s, 0)) AS share_disgust,
    weighted_avg(share_fear, nullif(scored_speech_s, 0)) AS share_fear,
    weighted_avg(share_happiness, nullif(scored_speech_s, 0)) AS share_happiness,
    weighted_avg(share_neutral, nullif(scored_speech_s, 0)) AS share_neutral,
    weighted_avg(share_sadness, nullif(scored_speech_s, 0)) AS share_sadness,
    weighted_avg(share_surprise, nullif(scored_speech_s, 0)) AS share_surprise
FROM call_emotions
GROUP BY call_date, queue
ORDER BY call_date DESC, queue
