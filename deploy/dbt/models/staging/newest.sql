-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which outcome counts for each recording, and which part holds it?
-- Grain: one row per recording_id: its newest version.
-- Units: in the columns' names.
-- The newest upload with an outcome comes first, then the model and policy that handled it last (scored_at). A good
-- older version does not come back where the newest one was quarantined, withheld or failed: the row says so instead,
-- and the views segments and call_emotions follow it. An upload planned but not yet handled does not hide its former one.
-- Older parts do not say planned_at: there scored_at stands for it. Of equal rows in two parts, chunks says which counts.
SELECT *
FROM {{ source('lake', 'outcomes') }}
QUALIFY row_number() OVER (
    PARTITION BY recording_id
    ORDER BY coalesce(planned_at, scored_at) DESC, scored_at DESC, version DESC, etag DESC, chunk_id DESC, part DESC
) = 1
