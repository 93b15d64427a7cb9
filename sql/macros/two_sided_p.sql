-- How often a standard normal variable is as far from 0 as z, 0 to 1: erfc(|z| / sqrt(2)).
-- The fit of Press and others, Numerical Recipes in C, 6.2 (relative error below 1.2e-7).
CREATE MACRO two_sided_p(z) AS
    CASE
        WHEN z IS NOT NULL
            THEN least(
                1,
                list_reduce(
                    [0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806, 0.09678418, 0.37409196, 1.00002368, -1.26551223],
                    lambda sum, coefficient: sum / (1 + abs(z) / 2.8284271247) + coefficient
                ).exp() * exp(-(z ^ 2) / 2) / (1 + abs(z) / 2.8284271247)
            )
    END
