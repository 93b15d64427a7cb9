-- The sums of effective_calls over groups of calls: an aggregate over share_sums and speech_sums, of the groups that have the share.
CREATE MACRO total_sums(sums, speech, known) AS
    {
        calls: sum(CASE WHEN known THEN speech.calls ELSE 0 END),
        seconds: sum(CASE WHEN known THEN coalesce(speech.seconds, 0) END),
        speech_squares: sum(CASE WHEN known THEN speech.squares END),
        shared: sum(sums.shared),
        squares: sum(sums.squares),
        weighted: sum(sums.weighted)
    }
