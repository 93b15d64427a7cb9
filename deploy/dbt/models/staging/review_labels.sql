-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which emotion does each reviewer hear, by their latest word?
-- Grain: one row per reviewer and stretch, or reviewer and whole call (channel, start_s and end_s null).
-- Units: start_s, end_s in seconds, model_score 0 to 1.
SELECT *
FROM {{ ref('reviews') }} AS reviews
WHERE emotion IS NOT NULL
QUALIFY row_number() OVER (
    PARTITION BY reviewer, recording_id, channel, start_s, end_s
    ORDER BY reviewed_at DESC, review_id DESC
) = 1
