-- Seconds from the start of a recording as a player shows them, minutes:seconds.
CREATE MACRO minutes_seconds(at_s) AS
    format('{:02d}:{:02d}', floor(at_s / 60)::INT, floor(at_s % 60)::INT)
