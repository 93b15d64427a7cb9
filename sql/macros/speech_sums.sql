-- Of calls with scored speech, their number, seconds and squared seconds: an aggregate over calls. See effective_calls.
CREATE MACRO speech_sums(seconds) AS
    {calls: count(CASE WHEN seconds > 0 THEN 1 END), seconds: sum(seconds), squares: sum(seconds * seconds)}
