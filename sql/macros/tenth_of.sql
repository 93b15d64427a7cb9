-- The tenth in which a value lies, 0 to 9, given the nine edges between tenths in order; null where either is unknown.
CREATE MACRO tenth_of(value, edge) AS
    CASE
        WHEN value IS NULL OR edge IS NULL THEN NULL
        WHEN value > edge[5] THEN
            CASE WHEN value > edge[9] THEN 9 WHEN value > edge[8] THEN 8 WHEN value > edge[7] THEN 7 WHEN value > edge[6] THEN 6 ELSE 5 END
        WHEN value > edge[4] THEN 4
        WHEN value > edge[3] THEN 3
        WHEN value > edge[2] THEN 2
        WHEN value > edge[1] THEN 1
        ELSE 0
    END
