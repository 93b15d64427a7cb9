"""The query behind each figure, over views of sql/ only. The page, its CSV and its SQL page use the same text."""

import re
from dataclasses import dataclass
from typing import Any

from ser_tasks import schemas
from ser_tasks.dashboard.filters import OF_QUEUES
from ser_tasks.lake import sql_views
from ser_tasks.lake.sql_text import literal

_IN_PERIOD = f"call_date BETWEEN $first AND $last AND {OF_QUEUES}"

_CALLS = f"""WITH calls AS (
    SELECT
        *,
        CASE WHEN emotion_role = 'customer' THEN nullif(scored_speech_s, 0) END AS seconds,
        share_negative(share_anger, share_disgust, share_fear, share_sadness) AS share_negative,
        mirror_of_escalated(deescalated, escalated, negativity_change, negativity_q1) AS got_better
    FROM call_emotions
    WHERE {_IN_PERIOD}
)"""

_SHARED = ("anger", "negative", "unsure")
_SHARES = ", ".join(
    f"weighted_avg(share_{each}, seconds) AS share_{each}, share_interval(share_{each}, seconds) AS {each}" for each in _SHARED
)
_OF_SURE = "share_anger / nullif(1 - share_unsure, 0) AS share_anger_of_sure"
"""Of the speech about which the model is sure: where unsure rises, share_anger falls and this does not."""
_ENDS = ", ".join(f"{each}.low AS share_{each}_low, {each}.high AS share_{each}_high" for each in _SHARED)

OPEN_ALERTS = """WITH latest AS ( -- the newest word on each alert
    SELECT * EXCLUDE (acknowledged_by)
    FROM alerts
    WHERE event <> 'acknowledged'
    QUALIFY row_number() OVER (PARTITION BY rule, subject ORDER BY found_at DESC, event = 'ended' DESC) = 1
), seen AS (
    SELECT rule, subject, acknowledged_by, found_at AS acknowledged_at, since AS acknowledged_since
    FROM alerts
    WHERE event = 'acknowledged'
    QUALIFY row_number() OVER (PARTITION BY rule, subject ORDER BY since DESC, found_at) = 1
)
SELECT
    rule,
    subject,
    severity,
    message,
    since,
    CASE WHEN acknowledged_since >= since THEN acknowledged_by END AS acknowledged_by,
    CASE WHEN acknowledged_since >= since THEN acknowledged_at END AS acknowledged_at
FROM latest
LEFT JOIN seen USING (rule, subject)
WHERE event <> 'ended'
ORDER BY acknowledged_by IS NOT NULL, since DESC, rule, subject"""
"""Each open alert that the viewer may see, and who acknowledged it since it fires; those that nobody did come first."""


@dataclass(frozen=True)
class Query:
    title: str
    sql: str
    """One statement. Its parameters are those of ``Filters``, and newest, latest, week and unit (``overview.values_of``)."""

    @property
    def parameters(self) -> set[str]:
        return set(re.findall(r"\$(\w+)", self.sql))

    def views(self) -> list[sql_views.View]:
        """The views that the statement reads."""
        return [view for view in sql_views.all_views() if re.search(rf"\b(FROM|JOIN) {view.name}\b", self.sql)]

    def with_values(self, values: dict[str, Any]) -> str:
        """The statement with literal values, as ``ser sql`` can run it."""
        return re.sub(r"\$(\w+)", lambda match: literal(values[match[1]]), self.sql)


QUERIES = {
    "totals": Query(
        "How did callers sound over the whole period?",
        f"""{_CALLS}, grouped AS (
    SELECT
        count(*) AS calls,
        count(*) FILTER (outcome = 'scored') AS scored,
        count(*) FILTER (outcome = 'no_speech') AS no_speech,
        count(*) FILTER (outcome = 'withheld') AS withheld,
        sum(duration_s) / 3600 AS audio_h,
        coalesce(sum(seconds), 0) / 3600 AS scored_speech_h,
        count(*) FILTER (emotion_role = 'mixed') AS mixed,
        count(escalated) AS escalation_known,
        count(*) FILTER (escalated) AS escalated,
        count(*) FILTER (got_better) AS deescalated,
        {", ".join(f"weighted_avg(share_{emotion}, seconds) AS share_{emotion}" for emotion in schemas.EMOTIONS if emotion not in _SHARED)},
        {_SHARES}
    FROM calls
)
SELECT
    * EXCLUDE (anger, negative, unsure),
    {_ENDS},
    {_OF_SURE},
    (escalated - deescalated) / nullif(escalation_known, 0) AS net_escalated,
    -- the standard error of a difference of two shares of the same calls
    sqrt(((escalated + deescalated) / nullif(escalation_known, 0) - net_escalated ^ 2) / escalation_known) AS net_error,
    net_escalated - 1.959964 * net_error AS net_escalated_low,
    net_escalated + 1.959964 * net_error AS net_escalated_high
FROM grouped""",
    ),
    "news": Query(
        "Which queues became angrier or calmer in the last year, or have an open alert?",
        f"""WITH turned AS ( -- the last lasting change of each queue
    SELECT 'change' AS kind, queue, week AS since, verdict, share_anger_after AS share_anger, share_anger_before
    FROM turning_weeks
    WHERE verdict IN ('rose', 'fell') AND week BETWEEN $newest - 364 AND $newest
    QUALIFY row_number() OVER (PARTITION BY queue ORDER BY week DESC) = 1
), moved AS ( -- the newest week: too new to be known to last, so only what is all but certain
    SELECT 'change' AS kind, queue, week AS since, verdict, share_anger, share_anger_before
    FROM week_on_week
    WHERE verdict IN ('rose', 'fell') AND p_adjusted < 0.01 AND week BETWEEN $newest - 13 AND $newest - 6
), open_alerts AS (
    {OPEN_ALERTS}
), open AS ( -- but not those that somebody acknowledged
    SELECT 'alert' AS kind, subject AS queue, min(since)::DATE AS since, arg_max(message, since) AS message
    FROM open_alerts
    WHERE acknowledged_by IS NULL AND subject IN (SELECT queue FROM call_emotions)
    GROUP BY subject
)
SELECT kind, queue, since, verdict, share_anger, share_anger_before, NULL::VARCHAR AS message
FROM (FROM turned UNION ALL (FROM moved WHERE coalesce(queue, '') NOT IN (SELECT coalesce(queue, '') FROM turned)))
WHERE {OF_QUEUES}
UNION ALL BY NAME (FROM open WHERE {OF_QUEUES} AND queue NOT IN (SELECT coalesce(queue, '') FROM turned))
ORDER BY since DESC, queue, kind""",
    ),
    "open_alerts": Query("Which alerts are open, and who has acknowledged them?", OPEN_ALERTS),
    "to_hear": Query(
        "Which calls of the newest seven days should be heard first, and where in them?",
        """SELECT
    w.recording_id, w.call_id, w.call_date, w.queue, w.anger_score, w.call_anger::DOUBLE AS call_anger,
    w.anger_seconds, w.share_anger::DOUBLE AS share_anger, w.moment, w.moment_s, w.escalated, c.onset_s,
    w.share_unsure::DOUBLE AS share_unsure, w.scored_speech_s, w.duration_s, c.emotion_role, c.notice_given,
    c.outcome, c.policy, c.day
FROM worst_calls AS w
JOIN call_emotions AS c USING (recording_id)
WHERE w.call_date BETWEEN $latest - 6 AND $latest AND ($all_queues OR list_contains($queues::VARCHAR[], coalesce(w.queue, '')))
ORDER BY w.anger_score DESC, coalesce(w.call_anger, w.share_anger) DESC, w.peak_anger DESC, w.recording_id
LIMIT 10""",
    ),
    "compared_queues": Query(
        "How angry is each queue in the period, and did it change from the period of the same length before?",
        f"""WITH calls AS (
    SELECT
        queue,
        call_date >= $first AS later,
        audio_kind(codec, sampling_rate_hz, language) AS source,
        share_anger,
        share_unsure,
        scored_speech_s AS seconds
    FROM call_emotions
    WHERE call_date BETWEEN $first - ($last - $first)::INTEGER - 1 AND $last AND {OF_QUEUES}
        AND emotion_role = 'customer' AND scored_speech_s > 0 AND share_anger IS NOT NULL
), sums AS (
    SELECT
        queue,
        later,
        source,
        count(*) AS scored,
        sum(seconds) AS seconds,
        weighted_avg(share_anger, seconds) AS share,
        share_interval(share_anger, seconds) AS ends,
        effective_calls(share_anger, seconds) AS n,
        weighted_avg(share_unsure, seconds) AS unsure
    FROM calls
    GROUP BY GROUPING SETS ((queue, later), (queue, later, source))
), within AS (
    SELECT
        this.queue,
        sum(this.seconds) AS seconds,
        sum(former.seconds) AS seconds_before,
        change_within(this.share, this.n, former.share, former.n) AS moved
    FROM sums AS this
    JOIN sums AS former ON former.queue IS NOT DISTINCT FROM this.queue AND former.source = this.source
    WHERE this.later AND NOT former.later AND this.source IS NOT NULL
    GROUP BY this.queue
), compared AS (
    SELECT
        this.queue,
        this.scored,
        former.scored AS scored_before,
        this.share AS share_anger,
        this.ends.low AS share_anger_low,
        this.ends.high AS share_anger_high,
        this.share / nullif(1 - this.unsure, 0) AS share_anger_of_sure,
        this.unsure AS share_unsure,
        former.share AS share_anger_before,
        former.share / nullif(1 - former.unsure, 0) AS share_anger_of_sure_before,
        within.moved.change AS change_within_source,
        within.moved.change - 1.959964 * within.moved.error AS change_low,
        within.moved.change + 1.959964 * within.moved.error AS change_high,
        abs(within.moved.change) > 2.575829 * within.moved.error AS certain,
        least(coalesce(within.seconds, 0) / this.seconds, coalesce(within.seconds_before, 0) / former.seconds) AS share_comparable
    FROM (FROM sums WHERE later AND source IS NULL) AS this
    LEFT JOIN (FROM sums WHERE NOT later AND source IS NULL) AS former ON former.queue IS NOT DISTINCT FROM this.queue
    LEFT JOIN within ON within.queue IS NOT DISTINCT FROM this.queue
)
SELECT
    * EXCLUDE (certain),
    CASE
        WHEN least(scored, coalesce(scored_before, 0)) < 5 THEN 'too few calls'
        WHEN share_comparable < 0.5 THEN 'other audio, cannot tell'
        WHEN certain AND change_within_source * (share_anger_of_sure - share_anger_of_sure_before) <= 0 THEN 'not among what is sure'
        WHEN certain THEN if(change_within_source > 0, 'angrier', 'calmer')
        ELSE 'no clear change'
    END AS verdict
FROM compared
ORDER BY share_anger DESC, queue""",
    ),
    "queue_weeks": Query(
        "How did each queue's anger develop over the 13 weeks up to the end of the period?",
        f"""SELECT
    queue,
    date_trunc('week', call_date)::DATE AS week,
    count(*) AS scored,
    weighted_avg(share_anger, scored_speech_s) AS share_anger,
    share_interval(share_anger, scored_speech_s).low AS share_anger_low,
    share_interval(share_anger, scored_speech_s).high AS share_anger_high,
    weighted_avg(share_unsure, scored_speech_s) AS share_unsure
FROM call_emotions
WHERE call_date BETWEEN date_trunc('week', $last) - INTERVAL 84 DAYS AND $last AND {OF_QUEUES}
    AND emotion_role = 'customer' AND scored_speech_s > 0 AND share_anger IS NOT NULL
GROUP BY ALL
ORDER BY week, queue""",
    ),
    "latest_day": Query(
        "Which queues lie outside their usual range on the newest day?",
        f"""SELECT call_date, queue, calls, share_anger, usual_low, usual_anger, usual_high, usual_days, share_comparable, outside
FROM queue_days_against_usual
WHERE call_date = $latest AND {OF_QUEUES}
ORDER BY coalesce(outside NOT IN ('above', 'below'), true), outside IS NULL, abs(share_anger - usual_anger) DESC, queue""",
    ),
    "over_time": Query(
        "How did anger and negative emotions develop over time?",
        f"""{_CALLS}, grouped AS (
    SELECT date_trunc($unit, call_date)::DATE AS start, count(*) AS calls, count(seconds) AS scored, {_SHARES}
    FROM calls
    GROUP BY ALL
)
SELECT * EXCLUDE (anger, negative, unsure), {_ENDS}, {_OF_SURE}
FROM grouped
ORDER BY start""",
    ),
    "profiles": Query(
        "From which week on do scores come from another line profile?",
        """SELECT line, week, profile_id, calls
FROM line_weeks
WHERE profile_changed AND week BETWEEN date_trunc('week', $first) AND $latest
ORDER BY week DESC, line""",
    ),
    "turns": Query(
        "Which queues became angrier or calmer during the period, and stayed so?",
        f"""SELECT *
FROM turning_weeks
WHERE verdict IN ('rose', 'fell') AND week BETWEEN date_trunc('week', $first) AND $latest AND {OF_QUEUES}
ORDER BY week DESC, p_value, queue""",
    ),
    "queues": Query(
        "In which queues did anger change from the week before to the newest week, and is it more than chance or a codec change?",
        f"""SELECT *
FROM week_on_week
WHERE week = $week AND {OF_QUEUES}
ORDER BY verdict NOT IN ('rose', 'fell'), verdict = 'no clear change', p_adjusted, queue""",
    ),
    "earlier_changes": Query(
        "In which earlier weeks of the period did a queue's anger change from one week to the next?",
        f"""SELECT *
FROM week_on_week
WHERE verdict IN ('rose', 'fell') AND week BETWEEN date_trunc('week', $first) AND $week - 7 AND {OF_QUEUES}
ORDER BY p_adjusted, week DESC, queue""",
    ),
    "hours": Query(
        "At which hours of the week do callers sound angry?",
        f"""{_CALLS}, grouped AS (
    SELECT isodow(call_date) AS weekday, local_hour AS hour, count(*) AS calls, count(seconds) AS scored, {_SHARES}
    FROM calls WHERE local_hour IS NOT NULL
    GROUP BY ALL
)
SELECT * EXCLUDE (anger, negative, unsure), {_ENDS}, {_OF_SURE}
FROM grouped
ORDER BY weekday, hour""",
    ),
    "not_scored": Query(
        "Which recordings were not scored, and why?",
        f"""WITH ended AS (
    SELECT outcomes.*, coalesce(call_date, outcomes.day) AS call_date, queue
    FROM outcomes
    LEFT JOIN call_emotions USING (recording_id)
)
SELECT outcome, reason_code, count(*) AS recordings, min(reason) AS example, count(*) / sum(count(*)) OVER () AS share_of_recordings
FROM ended
WHERE {_IN_PERIOD}
GROUP BY outcome, reason_code
ORDER BY outcome <> 'scored', recordings DESC, reason_code""",
    ),
    "sources": Query(
        "Which kinds of audio did the calls come in, and how sure is the model about each?",
        f"""{_CALLS}, grouped AS (
    SELECT
        codec, sampling_rate_hz, channels, language, count(*) AS calls, count(seconds) AS scored,
        min(call_date) AS first_day, max(call_date) AS last_day, weighted_avg(scored_snr_db, seconds) AS mean_snr_db,
        {_SHARES}
    FROM calls
    GROUP BY ALL
)
SELECT * EXCLUDE (anger, negative, unsure), {_ENDS}, {_OF_SURE}
FROM grouped
ORDER BY calls DESC, codec, sampling_rate_hz, channels, language""",
    ),
    "nights": Query(
        "Which nights are missing, or did not end well?",
        """WITH by_night AS (
    SELECT
        started_at::DATE AS night,
        count(*) AS runs,
        max(listed) AS listed,
        sum(planned)::BIGINT AS planned,
        sum(failed)::BIGINT AS failed,
        sum(failed_chunks)::BIGINT AS failed_chunks,
        sum(checks_failed)::BIGINT AS checks_failed
    FROM runs_overview
    GROUP BY night
), days AS (
    SELECT unnest(generate_series(greatest($first, min(night)), least($last + 1, max(night)), INTERVAL 1 DAY))::DATE AS night FROM by_night
)
SELECT night, by_night.* EXCLUDE (night)
FROM days
LEFT JOIN by_night USING (night)
ORDER BY night DESC""",
    ),
}
"""The queries by their names in addresses: /sql/<name>, /csv/<name>."""

OF_QUEUES_PAGE = ("compared_queues", "queue_weeks")
"""The queries of the pages of queues; all others but that of open alerts are the overview's and the weekly page's."""
OVERVIEW = tuple(name for name in QUERIES if name not in (*OF_QUEUES_PAGE, "open_alerts"))
