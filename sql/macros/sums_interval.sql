-- The 95 % interval of a group's share of scored speech, {low, high}, from its total_sums.
CREATE MACRO sums_interval(sums) AS
    wilson_interval(sums.shared / nullif(sums.seconds, 0), sums_effective(sums.shared / nullif(sums.seconds, 0), sums))
