-- How angry a call is for certain, 0 to 1: the lower end of the 95 % interval of call_anger. What every list of calls to hear is ordered by.
-- Null with less than 8 s of scored speech, two segments of usual length: too little to judge a call by. Neither call_anger, judged by the
-- strongest eighth of the speech, nor its interval grows with the length of a call: the interval is Wilson's, of ten cases where the model
-- is sure of all speech and of two where it is sure of none. In older parts share_anger stands for call_anger.
CREATE MACRO sure_anger(call_anger, share_anger, share_unsure, scored_speech_s) AS
    CASE
        WHEN scored_speech_s >= 8
            THEN wilson_interval(coalesce(call_anger, share_anger)::DOUBLE, 2 + 8 * (1 - coalesce(share_unsure, 1)::DOUBLE)).low
    END
