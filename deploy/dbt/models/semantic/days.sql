-- The days of the semantic layer: one row per day.
SELECT unnest(generate_series(DATE '2020-01-01', DATE '2039-12-31', INTERVAL 1 DAY))::DATE AS day
