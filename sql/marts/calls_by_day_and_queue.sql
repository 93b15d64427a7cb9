-- How many calls came in each day and queue, and how did their callers sound?
-- Grain: one row per call_date (UTC unless the site set a zone) and queue; a null queue is one of its own.
-- Units: calls in recordings, share_ of scored speech seconds 0 to 1, _s in seconds, audio_h in hours.
-- _low and _high are the ends of the share's 95 % interval, calls being the independent units: a share over 12 calls is not one over
-- 12,000, and speech of agents is in no share. Where many rows are compared at once, one in 20 intervals misses by chance alone.
-- _of_sure are shares of the speech of which the model is sure: a share of all speech falls where unsure rises.
-- Quarantined and failed recordings have no queue and so are not here: see outcomes_and_reasons.
SELECT
    call_date,
    queue,
    calls, -- calls with a row: scored, without speech or withheld
    scored, -- scored calls: the units of the intervals
    no_speech, -- calls without speech that may be scored
    withheld, -- calls that the policy withholds
    audio_h, -- hours of audio
    scored_speech_s, -- seconds of scored speech: the shares' denominator
    escalation_known, -- calls of which the first and the last quarter have scored speech
    escalated, -- calls of those that escalated
    COLUMNS('^share_') -- each share with the ends of its interval
FROM calls_by_queue(false)
