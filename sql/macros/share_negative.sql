-- A call's share of negative speech: anger, disgust, fear and sadness together; null where nothing was scored.
CREATE MACRO share_negative(share_anger, share_disgust, share_fear, share_sadness) AS
    CASE
        WHEN coalesce(share_anger, share_disgust, share_fear, share_sadness) IS NOT NULL
            THEN coalesce(share_anger, 0) + coalesce(share_disgust, 0) + coalesce(share_fear, 0) + coalesce(share_sadness, 0)
    END
