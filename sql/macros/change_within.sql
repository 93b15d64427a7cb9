-- The change of a share within strata, {change, error}: an aggregate over strata (later share and independent cases, former share and
-- cases). Weighted as by Cochran, Mantel and Haenszel; error is the change's standard error where nothing changed.
CREATE MACRO change_within(later, later_n, former, former_n) AS
    {
        change: weighted_avg(later - former, later_n * former_n / (later_n + former_n)),
        error: sqrt(sum(
            (later * later_n + former * former_n) / (later_n + former_n) * (1 - (later * later_n + former * former_n) / (later_n + former_n))
            * later_n * former_n / (later_n + former_n)
        )) / sum(later_n * former_n / (later_n + former_n))
    }
