-- The 95 % interval of a share that was seen in n independent cases: Wilson's score interval, {low, high}.
-- Source: Wilson, Journal of the American Statistical Association 22 (1927).
CREATE MACRO wilson_interval(share, n) AS
    CASE
        WHEN share IS NOT NULL AND n > 0
            THEN {
                low: greatest(
                    0, (share + 1.920729410 / n - 1.959963985 * sqrt(greatest(0, share * (1 - share)) / n + 0.960364705 / n ^ 2)) / (1 + 3.841458821 / n)
                ),
                high: least(
                    1, (share + 1.920729410 / n + 1.959963985 * sqrt(greatest(0, share * (1 - share)) / n + 0.960364705 / n ^ 2)) / (1 + 3.841458821 / n)
                )
            }
    END
