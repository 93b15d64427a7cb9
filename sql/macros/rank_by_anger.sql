-- Rank of a call by call_anger within its line and day, 1 the highest, ties alike; null where there is no call_anger.
CREATE MACRO rank_by_anger(day, line, call_anger) AS
    CASE WHEN call_anger IS NOT NULL THEN rank() OVER (PARTITION BY day, line, call_anger IS NULL ORDER BY call_anger DESC) END
