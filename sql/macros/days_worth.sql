-- How many independent calls a share is worth by how its days differ: an aggregate over days (a share, its seconds of scored speech). Days
-- differ by more than chance, so a week of many calls is less certain than its number of calls suggests. The ratio estimator's variance
-- over days, widened by Student's t; null for a single day and where all days are alike: see effective_calls.
CREATE MACRO days_worth(share, seconds) AS
    CASE
        WHEN count(*) > 1 AND weighted_avg(share, seconds) BETWEEN 1e-9 AND 1 - 1e-9
            THEN weighted_avg(share, seconds) * (1 - weighted_avg(share, seconds)) * sum(seconds) ^ 2 * (count(*) - 1)
                / nullif(
                    count(*) * (t_quantile(greatest(1, count(*) - 1)) / 1.95996) ^ 2
                    * greatest(
                        0,
                        sum((share * seconds) ^ 2) - 2 * weighted_avg(share, seconds) * sum(share * seconds ^ 2)
                        + weighted_avg(share, seconds) ^ 2 * sum(seconds ^ 2)
                    ),
                    0
                )
    END
