-- Whether a call did the opposite of escalating: deescalated, and in older parts, which lack it, the old rule of escalated turned around.
-- So many calls escalate by chance as do this: read the one less the other.
CREATE MACRO mirror_of_escalated(deescalated, escalated, negativity_change, negativity_q1) AS
    CASE WHEN escalated IS NOT NULL THEN coalesce(deescalated, negativity_change <= -0.2 AND negativity_q1 >= 0.5) END
