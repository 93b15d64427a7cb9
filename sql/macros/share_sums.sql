-- What effective_calls sums of a share beside speech_sums: an aggregate over calls that all have the share, or all lack it.
CREATE MACRO share_sums(share, seconds) AS
    {shared: sum(share * seconds), squares: sum((share * seconds) * (share * seconds)), weighted: sum(share * (seconds * seconds))}
