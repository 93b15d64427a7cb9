-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which calls and stretches were drawn for review, and with which probability?
-- Grain: one row per sample and call (channel, start_s and end_s null), and per stretch that was drawn from it.
-- Units: start_s, end_s in seconds, score and inclusion_probability 0 to 1.
-- Calls whose newest version is withheld, quarantined or failed have none, nor have calls that were erased.
SELECT *
FROM {{ source('lake', 'review_samples') }}
SEMI JOIN (SELECT recording_id FROM {{ ref('newest') }} AS newest WHERE outcome IN ('scored', 'no_speech')) USING (recording_id)
