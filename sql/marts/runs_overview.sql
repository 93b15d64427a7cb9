-- What did each run do, how fast was it, and where did its time go?
-- Grain: one row per run, newest first.
-- Units: recordings counted, audio_h in hours, wall_s in seconds, audio_h_per_h in audio hours per wall-clock hour,
-- share_ of busy seconds 0 to 1.
-- Busy seconds: those of all workers in fetch, decode, speech, features, score and write.
WITH busy AS (
    SELECT *, nullif(fetch_s + decode_s + speech_s + features_s + score_s + write_s, 0) AS busy_s FROM runs
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
    fetch_s / busy_s AS share_fetch,
    decode_s / busy_s AS share_decode,
    speech_s / busy_s AS share_speech,
    features_s / busy_s AS share_features,
    score_s / busy_s AS share_score,
    write_s / busy_s AS share_write,
    code_version
FROM busy
ORDER BY started_at DESC, run_id
