-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which recordings say that they were handled, but their rows are not in the lake?
-- Grain: one row per recording and missing table.
-- Units: none.
-- Scored, no_speech and withheld calls have a row of call_emotions; a scored call has a segment with an emotion.
-- Left out: days of a table that the retention deleted.
WITH missing AS (
    SELECT o.*, 'call_emotions' AS missing_table
    FROM {{ ref('outcomes') }} AS o
    ANTI JOIN {{ ref('call_emotions') }} AS call_emotions USING (recording_id)
    WHERE outcome IN ('scored', 'no_speech', 'withheld')
    UNION ALL
    SELECT o.*, 'segments' AS missing_table
    FROM {{ ref('outcomes') }} AS o
    ANTI JOIN (SELECT recording_id FROM {{ ref('segments') }} AS segments WHERE emotion IS NOT NULL) USING (recording_id)
    WHERE outcome = 'scored'
)
SELECT
    'an outcome without its rows in ' || missing_table AS what,
    call_id,
    format('{} is {} (chunk {}, version {}), but {} has nothing of it', key, outcome, chunk_id, version, missing_table) AS detail
FROM missing
WHERE NOT EXISTS (FROM {{ ref('deletions') }} AS d WHERE d.day = missing.day AND d.table_name = missing.missing_table)
