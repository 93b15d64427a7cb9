-- How many independent calls a group's share of scored speech is worth: an aggregate over calls (a share, its seconds of scored speech).
-- Speech within a call is alike, so calls are the independent units, not seconds. The variance is that of a ratio estimator over calls,
-- widened by Student's t where calls are few; the effective number is the one at which a binomial share would vary as much (Korn and
-- Graubard, Survey Methodology 24, 1998). Two calls' worth of the greatest variance that a share can have keeps a few like calls from
-- looking certain. Where the share is 0 or 1: Kish's number, from the seconds alone.
-- Written for speed: products instead of ^, CASE instead of FILTER, and the same sums as weighted_avg, so that each is made once.
CREATE MACRO effective_calls(share, seconds) AS
    CASE
        WHEN weighted_avg(share, nullif(seconds, 0)) BETWEEN 1e-9 AND 1 - 1e-9
            THEN (count(CASE WHEN seconds > 0 THEN share END) + 1) * sum(CASE WHEN share IS NOT NULL THEN nullif(seconds, 0) ELSE 0 END) ^ 2
                / (
                    count(CASE WHEN seconds > 0 THEN share END) * (t_quantile(greatest(1, count(CASE WHEN seconds > 0 THEN share END) - 1)) / 1.95996) ^ 2
                    * greatest(
                        0,
                        sum((share * seconds) * (share * seconds)) - 2 * weighted_avg(share, nullif(seconds, 0)) * sum(share * (seconds * seconds))
                        + weighted_avg(share, nullif(seconds, 0)) ^ 2 * sum(CASE WHEN share IS NOT NULL THEN seconds * seconds END)
                    )
                    / (weighted_avg(share, nullif(seconds, 0)) * (1 - weighted_avg(share, nullif(seconds, 0))))
                    + 2 * sum(CASE WHEN share IS NOT NULL THEN seconds * seconds END)
                )
        ELSE sum(CASE WHEN share IS NOT NULL THEN nullif(seconds, 0) ELSE 0 END) ^ 2 / nullif(sum(CASE WHEN share IS NOT NULL THEN seconds * seconds END), 0)
    END
