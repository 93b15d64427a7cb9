-- Last day of a period that is written as for period_from; null for other text.
CREATE MACRO period_until(period) AS
    CASE
        WHEN period_from(period) IS NULL THEN NULL
        WHEN split_part(period::VARCHAR, '/', -1)[6] = 'W' THEN strptime(split_part(period::VARCHAR, '/', -1) || '-7', '%G-W%V-%u')::DATE
        WHEN length(split_part(period::VARCHAR, '/', -1)) = 7 THEN last_day((split_part(period::VARCHAR, '/', -1) || '-01')::DATE)
        ELSE split_part(period::VARCHAR, '/', -1)::DATE
    END
