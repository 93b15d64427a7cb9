-- How often chance alone makes a correlation over n pairs as far from 0, 0 to 1: Student's t with n - 2 degrees of freedom.
-- By Wallace's normal approximation, Biometrika 46 (1959): never too small, at most a third too large up to
-- a correlation of 0.99. A correlation of 1 counts as 1 - 1e-9.
CREATE MACRO correlation_p(correlation, n) AS
    CASE
        WHEN correlation IS NOT NULL AND n > 2
            THEN two_sided_p((8 * n - 15) / (8 * n - 13) * sqrt(-(n - 2) * ln(1 - least(abs(correlation), 1 - 1e-9) ^ 2)))
    END
