-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- How did each night end, what was not scored and why, and was it as fast as usual?
-- Grain: one row per night: the UTC date on which its runs started.
-- Units: recordings counted, share_ of the night's recordings 0 to 1, audio_h in hours, wall_s in seconds, audio_h_per_h in audio hours per hour.
-- reasons are those of the outcomes that the lake still holds of these runs: a recording that failed and was tried again counts for the
-- later night.
WITH by_reason AS (
    SELECT run_id, reason_code, count(*) AS n FROM {{ ref('outcomes_all') }} AS outcomes_all WHERE outcome <> 'scored' GROUP BY run_id, reason_code
), nights AS (
    SELECT
        (started_at AT TIME ZONE 'UTC')::DATE AS night,
        list(run_id) AS run_ids,
        count(*) AS runs,
        max(listed) AS listed,
        sum(planned)::BIGINT AS planned,
        sum(scored)::BIGINT AS scored,
        sum(no_speech)::BIGINT AS no_speech,
        sum(withheld)::BIGINT AS withheld,
        sum(quarantined)::BIGINT AS quarantined,
        sum(failed)::BIGINT AS failed,
        sum(failed_chunks)::BIGINT AS failed_chunks,
        sum(checks_failed)::BIGINT AS checks_failed,
        sum(audio_s) / 3600 AS audio_h,
        sum(wall_s) AS wall_s
    FROM {{ ref('runs') }} AS runs
    GROUP BY night
), reasons AS (
    SELECT night, string_agg(format('{} {}', reason_code, n), ', ' ORDER BY n DESC, reason_code) AS reasons
    FROM (
        SELECT night, reason_code, sum(n)::BIGINT AS n
        FROM (SELECT night, unnest(run_ids) AS run_id FROM nights)
        JOIN by_reason USING (run_id)
        GROUP BY night, reason_code
    )
    GROUP BY night
), counted AS (
    SELECT *, scored + no_speech + withheld + quarantined + failed AS recordings, audio_h * 3600 / nullif(wall_s, 0) AS audio_h_per_h FROM nights
)
SELECT
    night, -- UTC date on which the night's runs started
    night - lag(night) OVER (ORDER BY night) AS days_since_former, -- days since the night before: more than 1 where nights are missing
    runs, -- runs of the night
    listed, -- recordings listed in the store by its largest run
    planned, -- recordings put into new chunks
    recordings, -- recordings that got an outcome
    scored, -- recordings that ended as scored
    no_speech, -- recordings that ended as no_speech
    withheld, -- recordings that ended as withheld
    quarantined, -- recordings that ended as quarantined
    failed, -- recordings that ended as failed
    failed / nullif(recordings, 0) AS share_failed, -- failed of recordings, 0 to 1
    1 - scored / nullif(recordings, 0) AS share_not_scored, -- share of recordings that no emotion was scored of, 0 to 1
    reasons, -- reason codes of what was not scored with their counts, the most frequent first
    failed_chunks, -- chunks that a broken machine stopped
    checks_failed, -- checks that returned rows
    audio_h, -- hours of audio decoded
    wall_s, -- seconds at work, all runs together
    audio_h_per_h, -- audio hours handled per wall-clock hour
    median(audio_h_per_h) OVER (ORDER BY night ROWS BETWEEN 14 PRECEDING AND 1 PRECEDING) AS usual_audio_h_per_h -- median of the 14 nights before
FROM counted
LEFT JOIN reasons USING (night)
ORDER BY night DESC
