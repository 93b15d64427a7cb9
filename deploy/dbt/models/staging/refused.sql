-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- Which calls may show no emotion, in no version, because the caller refused?
-- Grain: one row per recording whose newest version, as newest names it, is withheld for the caller's refusal, or whose consent is unreadable.
-- Units: none.
-- Not informed, a refusal under a name that is not read, the opt-out list; and a recording in quarantine for its unreadable notice_given.
SELECT
    recording_id,
    if(outcome = 'withheld', reason_code, 'notice_unclear') AS refusal -- no_notice, notice_unclear or opted_out
FROM {{ ref('newest') }} AS newest
WHERE (outcome = 'withheld' AND reason_code IN ('no_notice', 'notice_unclear', 'opted_out'))
    OR (reason_code = 'bad_facts' AND contains(reason, 'notice_given'))
