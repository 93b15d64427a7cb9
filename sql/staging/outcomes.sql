-- How did each recording end?
-- Grain: one row per recording_id: its newest version, see newest. All versions: outcomes_all.
-- Units: in the columns' names.
SELECT * EXCLUDE (part) FROM newest
