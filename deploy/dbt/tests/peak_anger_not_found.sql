-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- In which calls is the peak of anger not that of their segments?
-- Grain: one row per call.
-- Units: probability 0 to 1, times in seconds.
-- Left out: days whose segments the retention deleted.
WITH peaks AS ( -- one pass over calls and segments
    SELECT
        c.recording_id,
        any_value(c.call_id) AS call_id,
        any_value(c.peak_anger) AS peak_anger,
        any_value(c.peak_anger_at_s) AS peak_anger_at_s,
        max(s.p_anger) AS p_anger,
        coalesce(bool_or(abs(s.start_s - c.peak_anger_at_s) < 0.001 AND abs(s.p_anger - c.peak_anger) <= 0.00001), false) AS is_found
    FROM {{ ref('call_emotions') }} AS c
    LEFT JOIN (SELECT recording_id, role, start_s, p_anger FROM {{ ref('segments') }} AS segments WHERE emotion IS NOT NULL) AS s
        ON s.recording_id = c.recording_id AND s.role = c.emotion_role
    WHERE c.day NOT IN (SELECT day FROM {{ ref('deletions') }} AS deletions WHERE table_name = 'segments')
    GROUP BY c.recording_id
)
SELECT
    'the peak of anger is not in the segments' AS what,
    call_id,
    format(
        'the call says {} at {} s, its segments reach {} in {}',
        coalesce(peak_anger::VARCHAR, 'null'), coalesce(peak_anger_at_s::VARCHAR, 'null'), coalesce(p_anger::VARCHAR, 'null'), recording_id
    ) AS detail
FROM peaks
WHERE (peak_anger IS NULL) <> (p_anger IS NULL) OR abs(peak_anger - p_anger) > 0.00001 OR (peak_anger IS NOT NULL AND NOT is_found)
