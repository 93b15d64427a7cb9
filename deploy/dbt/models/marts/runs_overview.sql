-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- What did each run do, how fast was it, and where did its time go?
-- Grain: one row per run, newest first.
-- Units: recordings counted, audio_h in hours, wall_s in seconds, audio_h_per_h in audio hours per wall-clock hour,
-- share_ of busy seconds 0 to 1.
-- Busy seconds: those of all workers in fetch, decode, speech, features, score and write.
WITH busy AS (
    SELECT *, nullif(fetch_s + decode_s + speech_s + features_s + score_s + write_s, 0) AS busy_s FROM {{ ref('runs') }} AS runs
)
SELECT
    run_id,
    started_at,
    model,
    policy,
    device,
    workers,
    listed,
    planned,
    scored,
    no_speech,
    withheld,
    quarantined,
    failed,
    failed_chunks,
    checks_failed,
    pseudonyms,
    audio_s / 3600 AS audio_h,
    start_up_s,
    wall_s,
    audio_h_per_h,
    fetch_s / busy_s AS share_fetch, -- share of the busy seconds in fetching, 0 to 1
    decode_s / busy_s AS share_decode, -- share of the busy seconds in decoding, 0 to 1
    speech_s / busy_s AS share_speech, -- share of the busy seconds in speech detection, 0 to 1
    features_s / busy_s AS share_features, -- share of the busy seconds in features, 0 to 1
    score_s / busy_s AS share_score, -- share of the busy seconds in the model, 0 to 1
    write_s / busy_s AS share_write, -- share of the busy seconds in writing, 0 to 1
    code_version
FROM busy
ORDER BY started_at DESC, run_id
