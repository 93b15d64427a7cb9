-- The 95 % interval of a group's share of scored speech, {low, high}: an aggregate over calls (a share, its seconds of scored speech).
CREATE MACRO share_interval(share, seconds) AS
    wilson_interval(weighted_avg(share, nullif(seconds, 0)), effective_calls(share, seconds))
