-- How did every version of every recording end?
-- Grain: one row per upload (recording_id and etag), model and policy.
-- Units: in the columns' names.
SELECT * FROM parts.outcomes
