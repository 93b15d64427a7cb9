-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which calls and stretches of the review samples were judged, and how many others does each stand for?
-- Grain: one row per sample, call or stretch (channel not null), and reviewer.
-- Units: weight in calls or stretches, score 0 to 1.
-- The weight of Horvitz and Thompson, 1 / inclusion_probability, times those drawn per judged one of the same stratum: the queue has a
-- random order, so that a half-judged sample is a smaller one. Of several reviewers each has an equal share. Only what was judged from the
-- queue counts: whatever else is judged was chosen by its score.
WITH units AS (
    SELECT *, channel IS NOT NULL AS is_stretch FROM {{ ref('review_samples') }} AS review_samples
), answered AS (
    SELECT DISTINCT sample_id, recording_id, channel, start_s, end_s FROM {{ ref('reviews') }} AS reviews WHERE sample_id IS NOT NULL AND emotion IS NOT NULL
), labelled AS (
    SELECT
        u.*,
        l.reviewer,
        l.emotion,
        l.blind,
        count(*) OVER (PARTITION BY u.sample_id, u.recording_id, u.channel, u.start_s, u.end_s) AS reviewers
    FROM units AS u
    JOIN answered AS a
        ON a.sample_id = u.sample_id AND a.recording_id = u.recording_id AND a.channel IS NOT DISTINCT FROM u.channel
        AND a.start_s IS NOT DISTINCT FROM u.start_s AND a.end_s IS NOT DISTINCT FROM u.end_s
    JOIN {{ ref('review_labels') }} AS l
        ON l.recording_id = u.recording_id AND l.channel IS NOT DISTINCT FROM u.channel
        AND l.start_s IS NOT DISTINCT FROM u.start_s AND l.end_s IS NOT DISTINCT FROM u.end_s
), drawn AS (
    SELECT sample_id, stratum, is_stretch, count(*) AS drawn FROM units GROUP BY ALL
), judged AS (
    SELECT sample_id, stratum, is_stretch, sum(1 / reviewers) AS judged FROM labelled GROUP BY ALL
)
SELECT
    sample_id,
    drawn_at,
    model,
    recording_id,
    call_id,
    channel,
    start_s,
    end_s,
    is_stretch, -- whether it is a stretch, not a whole call
    stratum,
    score,
    reviewer,
    emotion,
    blind,
    inclusion_probability,
    drawn / judged / reviewers / inclusion_probability AS weight -- calls or stretches that this row stands for
FROM labelled
JOIN drawn USING (sample_id, stratum, is_stretch)
JOIN judged USING (sample_id, stratum, is_stretch)
