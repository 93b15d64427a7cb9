-- A call's value as if 30 s of the average call were added to its scored speech: so that one segment of a short call does not rank first.
CREATE MACRO with_average_speech(value, seconds, average) AS
    (value * seconds + average * 30) / (seconds + 30)
