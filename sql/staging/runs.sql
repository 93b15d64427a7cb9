-- What did each run do?
-- Grain: one row per run_id.
-- Units: in the columns' names; audio_h_per_h in audio hours per wall-clock hour.
SELECT * FROM parts.runs QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY ended_at DESC) = 1
