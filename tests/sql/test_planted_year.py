"""A made-up year with planted stories (making_year.py): the marts show what happened and are not fooled by what only looks like it."""

from datetime import date, timedelta

import pytest

from ser_tasks.lake import read_only
from tests.factories import year as making_year
from tests.factories.year import ANGRY_FROM, ANGRY_QUEUE, CODEC_FROM, CODEC_QUEUE, QUEUES

WEEK = timedelta(days=7)


@pytest.fixture(scope="module")
def year(planted_year):
    """Its views, over 30,000 calls without their segments."""
    with making_year.read_once(planted_year) as connection:
        yield connection


def rows(connection, sql, **parameters):
    return read_only.query(connection, sql, parameters).to_pylist()


def days_of(year, queue, first, last):
    sql = "FROM calls_by_day_and_queue WHERE queue = $queue AND call_date BETWEEN $first AND $last ORDER BY call_date"
    return rows(year, sql, queue=queue, first=first, last=last)


def test_the_queue_that_turns_angry_is_shown_in_its_week(year):
    assert ANGRY_FROM.isocalendar().week == 30
    (clearest, *_) = rows(year, "FROM week_on_week ORDER BY p_value LIMIT 1")
    assert (clearest["queue"], clearest["week"], clearest["verdict"]) == (ANGRY_QUEUE, ANGRY_FROM, "rose")
    assert clearest["change_low"] > 0
    (first, *_) = rows(year, "FROM week_on_week WHERE week = $week", week=ANGRY_FROM)
    assert first["queue"] == ANGRY_QUEUE, "the week's clearest change comes first"


def test_the_week_from_which_on_a_queue_is_angrier_is_found(year):
    clearest, *others = rows(year, "FROM turning_weeks")
    assert (clearest["queue"], clearest["week"], clearest["verdict"]) == (ANGRY_QUEUE, ANGRY_FROM, "rose")
    assert {row["verdict"] for row in others} == {"no clear change"}


def test_the_queue_that_turns_angry_is_outside_its_usual_range(year):
    sql = "SELECT call_date FROM queue_days_against_usual WHERE queue = $queue AND outside = 'above' AND call_date BETWEEN $first AND $last"
    found = [row["call_date"] for row in rows(year, sql, queue=ANGRY_QUEUE, first=ANGRY_FROM, last=ANGRY_FROM + 2 * WEEK)]
    assert found and min(found) < ANGRY_FROM + WEEK


def test_the_queue_stays_angry_by_day_and_by_hour(year):
    before = days_of(year, ANGRY_QUEUE, ANGRY_FROM - 4 * WEEK, ANGRY_FROM - timedelta(days=1))
    after = days_of(year, ANGRY_QUEUE, ANGRY_FROM, ANGRY_FROM + 4 * WEEK)

    def mean(days):
        return sum(day["share_anger"] * day["scored_speech_s"] for day in days) / sum(day["scored_speech_s"] for day in days)

    assert mean(after) > 1.8 * mean(before)
    usual = mean(before)
    surely_above = [sum(day["share_anger_low"] > usual for day in days) / len(days) for days in (before, after)]
    assert surely_above[0] < 0.1
    assert surely_above[1] > 0.4


def test_the_codec_change_is_no_rise(year):
    sql = "FROM week_on_week WHERE queue = $queue AND week BETWEEN $first AND $last ORDER BY week"
    weeks = rows(year, sql, queue=CODEC_QUEUE, first=CODEC_FROM, last=CODEC_FROM + 4 * WEEK)
    assert len(weeks) == 5 and weeks[0]["change"] > 0.04, "it looks like a rise"
    assert "rose" not in [week["verdict"] for week in weeks]
    assert weeks[0]["p_value"] > 0.05
    days = "FROM queue_days_against_usual WHERE queue = $queue AND call_date >= $first"
    outside = [row["outside"] for row in rows(year, days, queue=CODEC_QUEUE, first=CODEC_FROM)]
    assert len(outside) > 80 and outside.count("above") <= 2


def test_the_codec_change_is_plain_in_the_weeks_by_source(year):
    sql = """
        SELECT codec, week >= $first AS after, sum(calls) AS calls, sum(share_of_week) / count(DISTINCT week) AS share_of_weeks,
            weighted_avg(share_anger, nullif(scored_speech_s, 0)) AS share_anger,
            weighted_avg(mean_snr_db, nullif(scored_speech_s, 0)) AS snr_db,
            weighted_avg(share_unsure, nullif(scored_speech_s, 0)) AS unsure
        FROM quality_by_week_and_source WHERE queue = $queue GROUP BY ALL
    """
    found = {(row["codec"], row["after"]): row for row in rows(year, sql, queue=CODEC_QUEUE, first=CODEC_FROM)}
    assert found["GSM610", False]["share_of_weeks"] < 0.1
    assert found["GSM610", True]["share_of_weeks"] > 0.8
    assert found["GSM610", True]["snr_db"] < found["ULAW", False]["snr_db"] - 6
    assert found["GSM610", True]["unsure"] > 1.5 * found["ULAW", False]["unsure"]
    assert abs(found["GSM610", True]["share_anger"] - found["GSM610", False]["share_anger"]) < 0.06
    assert found["GSM610", True]["share_anger"] > found["ULAW", False]["share_anger"] + 0.04
    drifted = rows(year, "SELECT DISTINCT measure FROM drift WHERE month >= $month AND drift <> 'none' ORDER BY 1", month=CODEC_FROM)
    assert [row["measure"] for row in drifted] == ["codec", "scored_snr_db"], "the audio drifted, the scores did not"


def test_the_caller_who_escalates_comes_first(year):
    first, second = rows(year, "FROM repeat_callers LIMIT 2")
    assert first["customer_pseudonym"] == making_year.escalating()
    assert first["rise_low"] > 0.3 and first["trend"] in ("rises", "may rise")
    assert first["rise_low"] > second["rise_low"]
    calls = rows(year, "FROM repeat_caller_calls WHERE customer_pseudonym = $customer", customer=making_year.escalating())
    assert [call["call_number"] for call in calls] == list(range(1, making_year.ESCALATING_CALLS + 1))
    assert calls[-1]["share_anger"] > calls[0]["share_anger"] + 0.3
    turns = rows(year, "FROM mood_turns WHERE customer_pseudonym = $customer", customer=making_year.escalating())
    assert "calm to angry" in [turn["turn"] for turn in turns]


def test_where_nothing_happened_little_is_named(year):
    """False alarms of a year: about 2.6 weeks by the verdict's level, and 1 of 300 queue days."""
    weeks = rows(year, "SELECT queue, week, verdict FROM week_on_week WHERE verdict IN ('rose', 'fell')")
    false = [row for row in weeks if (row["queue"], row["week"]) != (ANGRY_QUEUE, ANGRY_FROM)]
    assert len(rows(year, "FROM week_on_week")) > 51 * len(QUEUES)
    assert len(false) <= 6
    days = rows(year, "SELECT queue, call_date, outside FROM queue_days_against_usual WHERE outside IS NOT NULL")
    other = [row for row in days if row["queue"] != ANGRY_QUEUE or row["call_date"] < ANGRY_FROM]
    assert len(other) > 3000
    assert sum(row["outside"] != "usual" for row in other) <= 0.01 * len(other)
    customers = rows(year, "SELECT trend, count(*) AS customers FROM repeat_callers GROUP BY trend")
    by_trend = {row["trend"]: row["customers"] for row in customers}
    asked = sum(count for trend, count in by_trend.items() if trend is not None)
    assert asked > 400 and by_trend.get("rises", 0) <= 2 and by_trend.get("falls", 0) <= 1
    assert by_trend["may rise"] + by_trend.get("may fall", 0) <= 0.08 * asked


def test_the_missing_night_is_plain(year):
    night = making_year.MISSING_NIGHT
    sql = "SELECT night, days_since_former, recordings, usual_audio_h_per_h FROM nights WHERE days_since_former > 1"
    (gap,) = rows(year, sql)
    assert (gap["night"], gap["days_since_former"]) == (night + timedelta(days=1), 2)
    (usual,) = rows(year, "SELECT median(recordings) AS recordings FROM nights")
    assert gap["recordings"] > 1.4 * usual["recordings"]


def test_the_first_weeks_are_not_judged(year):
    sql = "SELECT DISTINCT outside FROM queue_days_against_usual WHERE call_date < $day"
    assert rows(year, sql, day=date(2025, 1, 14)) == [{"outside": None}]
