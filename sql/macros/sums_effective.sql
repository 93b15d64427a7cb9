-- How many independent calls a group's share of scored speech is worth, from its total_sums. What it means: effective_calls, the same as an
-- aggregate.
CREATE MACRO sums_effective(share, sums) AS
    CASE
        WHEN share BETWEEN 1e-9 AND 1 - 1e-9
            THEN (sums.calls + 1) * sums.seconds ^ 2
                / (
                    sums.calls * (t_quantile(greatest(1, sums.calls - 1)) / 1.95996) ^ 2
                    * greatest(0, sums.squares - 2 * share * sums.weighted + share ^ 2 * sums.speech_squares)
                    / (share * (1 - share))
                    + 2 * sums.speech_squares
                )
        ELSE sums.seconds ^ 2 / nullif(sums.speech_squares, 0)
    END
