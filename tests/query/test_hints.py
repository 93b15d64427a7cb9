"""Hints of ``ser sql``: the names that people try, and text and dates without quotes."""

import re

import pytest

from ser_tasks.lake import catalog
from ser_tasks.query import hints
from ser_tasks.query.sql_error import SqlError, sql_errors
from tests.factories.lakes import write_good_lake

DATE, TEXT = "A date stands in single quotes", "Text stands in single quotes: '{}'"
HINTS = {
    "SELECT agent_id FROM calls": "agent_pseudonym",
    "SELECT c.agent_id FROM calls AS c": "agent_pseudonym",
    "SELECT Customer_ID FROM calls": "customer_pseudonym",
    "SELECT caller FROM call_emotions": "customer_pseudonym",
    "SELECT anger FROM calls": "share_anger (FROM calls)",
    "SELECT avg(happiness) FROM segments": "p_happiness",
    "SELECT s.sad FROM segments AS s": "share_sadness",
    "SELECT mood FROM calls": "dominant_emotion",
    "SELECT emotion FROM calls": "dominant_emotion",
    "SELECT sentiment, count(*) FROM calls GROUP BY ALL": "label (FROM segments)",
    "SELECT date FROM calls": "call_date",
    "SELECT duration FROM calls": "duration_s",
    "SELECT id FROM calls": "call_id",
    "SELECT month, avg(share_anger) FROM calls GROUP BY month": "date_trunc('month', call_date)",
    "SELECT week, queue, share_anger FROM calls_by_day_and_queue": "week_on_week",
    "SELECT call_id, silence FROM calls ORDER BY silence DESC": "longest_silence_s",
    "SELECT overlap_s FROM calls": "overlap_s is a column of call_emotions.",
    "SELECT reason, count(*) FROM calls GROUP BY reason": "reason is a column of outcomes.",
    "SELECT snr_db FROM calls": "snr_db is a column of segments.",
    "SELECT count(*) FROM calls WHERE status = 'scored'": "outcome says how a call ended",
    "SELECT avg(confidence) FROM calls": "confidence (FROM segments)",
    "FROM calls WHERE call_date = yesterday": "current_date - 1 is yesterday",
    "FROM calls WHERE call_date > now() - 7": "current_date - 7",
    "SELECT TOP 10 * FROM worst_calls": "LIMIT 10 stands at the end",
    "SELECT year(call_date), avg(share_anger) FROM calls": "GROUP BY ALL",
    "FROM compare('billing')": "compare('billing', 'returns')",
    "FROM agents": "calls_by_agent",
    "FROM customers": "repeat_caller_calls",
    "FROM emotions": "FROM calls",
    "FROM mood": "FROM segments",
    "FROM anger": "worst_calls",
    "FROM call_emotion": "call_emotions",
    "FROM calls WHERE queue = billing": TEXT.format("billing"),
    'FROM calls WHERE queue = "billing"': TEXT.format("billing"),
    "FROM calls WHERE queue IN (sales, returns)": TEXT.format("sales"),
    "FROM calls WHERE queue <> billing AND duration_s > 3": TEXT.format("billing"),
    "FROM calls WHERE queue LIKE bill%": TEXT.format("bill%"),
    "FROM segments WHERE label = anger": TEXT.format("anger"),
    "FROM compare(billing, returns)": TEXT.format("billing"),
    "FROM calls WHERE call_date > 2026-11-03": DATE,
    "FROM calls WHERE call_date = 20261103": DATE,
    "FROM calls WHERE call_date BETWEEN 2026-11-01 AND 2026-11-30": DATE,
    "FROM calls WHERE started_at >= 2026-11-03": DATE,
    "FROM calls WHERE started_at >= 2026-11-03 09:00": DATE,
    'FROM calls WHERE call_date >= "2026-11-03"': DATE,
}
NO_HINTS = ("FROM calls WHERE", "SELECT nonsense FROM calls", "SELECT nonsense(call_date) FROM calls")


@pytest.fixture(scope="module")
def connection(tmp_path_factory):
    lake = str(tmp_path_factory.mktemp("lake"))
    write_good_lake(lake)
    with catalog.connect(lake) as connection:
        connection.execute("SET errors_as_json = true")
        yield connection


def message(connection, sql):
    with pytest.raises(SqlError) as error, sql_errors(sql):
        connection.execute(sql).fetchall()
    return str(error.value)


@pytest.mark.parametrize("sql", HINTS)
def test_a_hint_says_what_to_write(connection, sql):
    assert HINTS[sql] in message(connection, sql)


@pytest.mark.parametrize("sql", NO_HINTS)
def test_other_errors_get_no_hint(connection, sql):
    assert "single quotes" not in message(connection, sql) and "pseudonym" not in message(connection, sql)


ASKED = {
    "How many calls came in each queue?": "SELECT queue, count(*) FROM calls GROUP BY queue",
    "Which are the angriest calls of a queue?": "FROM calls WHERE queue = 'sales' ORDER BY share_anger DESC LIMIT 10",
    "Where do I listen?": "SELECT call_id, moment, recording_link FROM calls WHERE share_anger > 0.3",
    "How angry is each week?": "SELECT date_trunc('week', call_date) AS week, avg(share_anger) FROM calls GROUP BY week ORDER BY week",
    "Which emotion is most frequent?": "SELECT label, count(*) FROM segments GROUP BY label",
    "Which emotion in which queue?": "SELECT queue, label, sum(end_s - start_s) FROM segments GROUP BY ALL",
    "Did this month differ from last?": "FROM compare('2026-11', '2026-10')",
    "Which queue is angrier?": "SELECT measure, verdict, difference FROM compare('sales', 'support')",
    "At which hour do angry calls come?": "SELECT local_hour, count(*) FILTER (share_anger > 0.3) FROM calls GROUP BY local_hour",
    "Emotions by queue, side by side?": "PIVOT (SELECT queue, label FROM segments) ON label IN ('anger', 'neutral', 'unsure') USING count(*)",  # noqa: E501
    "Who calls again?": "SELECT customer_pseudonym, count(*) FROM calls GROUP BY ALL HAVING count(*) > 1",
    "How much can the model not tell?": "SELECT queue, sum(share_unsure * scored_speech_s) / sum(scored_speech_s) FROM calls GROUP BY queue",  # noqa: E501
}


@pytest.mark.parametrize("question", ASKED)
def test_who_has_only_d_is_answered_at_the_first_try(connection, question):
    assert isinstance(connection.execute(ASKED[question]).fetchall(), list)


def test_hints_name_what_exists(connection):
    for hint in {*hints.NAMES.values(), hints.of_name("anger")}:
        for view in re.findall(r"FROM (\w+)", hint):
            assert connection.table(view).columns
