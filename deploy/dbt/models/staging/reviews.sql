-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- What did people hear in calls: do they agree with the model, and what did they note?
-- Grain: one row per review, also of one who changed their mind: the latest of each counts, see review_labels.
-- Units: start_s, end_s in seconds, model_score 0 to 1.
-- Calls whose newest version is withheld, quarantined or failed have none, nor have calls that were erased.
SELECT *
FROM {{ source('lake', 'reviews') }}
SEMI JOIN (SELECT recording_id FROM {{ ref('newest') }} AS newest WHERE outcome IN ('scored', 'no_speech')) USING (recording_id)
QUALIFY row_number() OVER (PARTITION BY review_id ORDER BY day) = 1
