-- Rank of a call by the lower end of its call_anger (sure_anger) within its line and day, 1 the highest, ties alike; null where there is none.
CREATE MACRO rank_by_anger(day, line, anger) AS
    CASE WHEN anger IS NOT NULL THEN rank() OVER (PARTITION BY day, line, anger IS NULL ORDER BY anger DESC) END
