-- The band in which a value lies, 1 to 5, given the inner edges between bands in order; null where the value is unknown.
CREATE MACRO band_of(value, edge2, edge3, edge4, edge5) AS
    CASE
        WHEN value IS NULL THEN NULL
        WHEN value >= edge4 THEN CASE WHEN value >= edge5 THEN 5 ELSE 4 END
        WHEN value >= edge3 THEN 3
        WHEN value >= edge2 THEN 2
        ELSE 1
    END
