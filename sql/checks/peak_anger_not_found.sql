-- In which calls is the peak of anger not that of their segments?
-- Grain: one row per call.
-- Units: probability 0 to 1, times in seconds.
-- Left out: days whose segments the retention deleted.
WITH peaks AS (
    SELECT s.recording_id, max(s.p_anger) AS p_anger
    FROM segments AS s
    JOIN call_emotions AS c USING (recording_id)
    WHERE s.role = c.emotion_role AND s.emotion IS NOT NULL
    GROUP BY s.recording_id
)
SELECT
    'the peak of anger is not in the segments' AS what,
    c.call_id,
    format(
        'the call says {} at {} s, its segments reach {} in {}',
        coalesce(c.peak_anger::VARCHAR, 'null'), coalesce(c.peak_anger_at_s::VARCHAR, 'null'),
        coalesce(peaks.p_anger::VARCHAR, 'null'), c.recording_id
    ) AS detail
FROM call_emotions AS c
LEFT JOIN peaks USING (recording_id)
WHERE NOT EXISTS (FROM deletions AS d WHERE d.day = c.day AND d.table_name = 'segments')
    AND (
        (c.peak_anger IS NULL) <> (peaks.p_anger IS NULL)
        OR abs(c.peak_anger - peaks.p_anger) > 0.00001
        OR (c.peak_anger IS NOT NULL AND NOT EXISTS (
            FROM segments AS s
            WHERE s.recording_id = c.recording_id AND s.role = c.emotion_role
                AND abs(s.start_s - c.peak_anger_at_s) < 0.001 AND abs(s.p_anger - c.peak_anger) <= 0.00001
        ))
    )
