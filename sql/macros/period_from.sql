-- First day of a period that is written in ISO 8601: 2026-11-03, 2026-11, 2026-W47 or two of these with a slash between; null for other text.
CREATE MACRO period_from(period) AS
    CASE
        WHEN NOT regexp_full_match(period::VARCHAR, '\d{4}-(W\d\d|\d\d(-\d\d)?)(/\d{4}-(W\d\d|\d\d(-\d\d)?))?') THEN NULL
        WHEN split_part(period::VARCHAR, '/', 1)[6] = 'W' THEN strptime(split_part(period::VARCHAR, '/', 1) || '-1', '%G-W%V-%u')::DATE
        WHEN length(split_part(period::VARCHAR, '/', 1)) = 7 THEN (split_part(period::VARCHAR, '/', 1) || '-01')::DATE
        ELSE split_part(period::VARCHAR, '/', 1)::DATE
    END
