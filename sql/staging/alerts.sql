-- Which alerts began, stayed and ended, and who was told?
-- Grain: one row per alert (rule and subject), target and telling; one more for each try that failed (told_at is null).
-- Units: none.
SELECT * FROM parts.alerts
