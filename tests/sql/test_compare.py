"""The table macro ``compare``: two periods or two queues, on the same kinds of audio."""

from datetime import date, timedelta

import duckdb
import pytest

from ser_tasks.lake import read_only
from tests.factories.lakes import views_over, write_calls
from tests.sql.test_marts import call

FIRST = date(2026, 9, 1)


def rows(connection, sql):
    return read_only.query(connection, sql).to_pylist()


def calls_of(first, anger, *, n=30, **facts):
    """A call a day, half of them 0.05 below and half 0.05 above the share of anger."""
    return [call(day=first + timedelta(days=i), anger=anger + (0.05 if i % 2 else -0.05), **facts) for i in range(n)]


def compared(lake, calls, asked):
    write_calls(lake, calls)
    return {(row["measure"], row["queue"]): row for row in rows(views_over(lake), f"FROM {asked}")}


def test_two_queues(lake):
    found = compared(lake, calls_of(FIRST, 0.4, queue="billing") + calls_of(FIRST, 0.1, queue="returns"), "compare('billing', 'returns')")
    anger, neutral = found["share_anger", None], found["share_neutral", None]
    assert (anger["verdict"], neutral["verdict"], found["share_unsure", None]["verdict"]) == ("higher", "lower", "no clear difference")
    assert (anger["this_calls"], anger["other_calls"], anger["share_comparable"]) == (30, 30, 1)
    assert [anger[name] for name in ("this_share", "other_share", "difference")] == pytest.approx([0.4, 0.1, 0.3], abs=1e-6)
    assert anger["difference_low"] < 0.3 < anger["difference_high"] and anger["this_share_low"] < 0.4 < anger["this_share_high"]
    assert neutral["difference"] == pytest.approx(-0.3, abs=1e-6)


@pytest.mark.parametrize(
    ("this", "other"),
    [("2026-10", "2026-09"), ("2026-10-01/2026-10-31", "2026-09-01/2026-09-30"), ("2026-W41/2026-W44", "2026-W36/2026-W39")],
)
def test_two_periods_over_all_queues_and_in_each(lake, this, other):
    october = FIRST + timedelta(days=30)
    calls = [
        *(calls_of(FIRST, 0.1, queue="billing") + calls_of(october, 0.4, queue="billing")),
        *(calls_of(FIRST, 0.2, queue="returns") + calls_of(october, 0.2, queue="returns")),
    ]
    pooled = compared(lake, calls, f"compare('{this}', '{other}')")
    assert pooled["share_anger", None]["difference"] == pytest.approx(0.15, abs=0.01)
    connection = views_over(lake)
    each = {
        row["queue"]: row for row in rows(connection, f"FROM compare('{this}', '{other}', by_queue := true) WHERE measure = 'share_anger'")
    }
    assert {queue: row["verdict"] for queue, row in each.items()} == {"billing": "higher", "returns": "no clear difference"}
    [one] = rows(connection, f"SELECT verdict FROM compare('{this}', '{other}', in_queue := 'returns') WHERE measure = 'share_anger'")
    assert one == {"verdict": "no clear difference"}


def test_a_day_and_a_date_are_periods_too(lake):
    write_calls(lake, calls_of(FIRST, 0.3, n=2))
    [found] = rows(
        views_over(lake),
        "SELECT this_calls, other_calls, verdict FROM compare('2026-09-02', DATE '2026-09-01') WHERE measure = 'share_anger'",
    )
    assert found == {"this_calls": 1, "other_calls": 1, "verdict": "too few calls"}


@pytest.mark.parametrize("other_audio", [{"language": "fr"}, {"codec": "MP3"}])
def test_other_kinds_of_audio_are_no_verdict(lake, other_audio):
    before = calls_of(FIRST, 0.1, language="de")
    found = compared(lake, before + calls_of(date(2026, 10, 1), 0.5, **{"language": "de", **other_audio}), "compare('2026-10', '2026-09')")
    row = found["share_anger", None]
    assert (row["verdict"], row["share_comparable"], row["difference"], row["difference_low"]) == (
        "other audio, cannot tell",
        0,
        None,
        None,
    )


def test_a_share_that_falls_because_unsure_rises_is_no_verdict(lake):
    """Anger is 0.4 of what is sure in both months."""
    before, after = calls_of(FIRST, 0.4), calls_of(date(2026, 10, 1), 0.1, unsure=0.75)
    row = compared(lake, before + after, "compare('2026-10', '2026-09')")["share_anger", None]
    assert row["difference"] == pytest.approx(-0.3, abs=1e-6) and row["p_adjusted"] < 0.05
    assert [row["this_share_of_sure"], row["other_share_of_sure"]] == pytest.approx([0.4, 0.4], abs=1e-6)
    assert row["verdict"] == "not among what is sure"


def test_a_filter_a_pivot_and_a_span(lake):
    write_calls(lake, calls_of(FIRST, 0.4, queue="billing") + calls_of(FIRST, 0.1, queue="returns"))
    connection = views_over(lake)
    both = "compare('billing', 'returns')"
    assert rows(connection, f"SELECT count(*) FILTER (verdict = 'higher') AS n FROM {both}") == [{"n": 2}]  # and negative
    sql = f"PIVOT (SELECT measure, verdict FROM {both}) ON measure IN ('share_anger', 'share_unsure') USING first(verdict)"
    assert rows(connection, sql) == [{"share_anger": "higher", "share_unsure": "no clear difference"}]
    part = "compare('billing', 'returns', since := '2026-09-05', until := '2026-09-08')"
    assert rows(connection, f"SELECT DISTINCT this_calls, verdict FROM {part}") == [{"this_calls": 4, "verdict": "too few calls"}]
    assert rows(connection, "SELECT DISTINCT other_calls, verdict FROM compare('billing', 'no such')") == [
        {"other_calls": 0, "verdict": "too few calls"}
    ]


def test_a_queue_against_a_period_is_refused(lake):
    write_calls(lake, calls_of(FIRST, 0.4, n=1))
    with pytest.raises(duckdb.Error, match="two periods, such as 2026-11 and 2026-10, or two queues"):
        rows(views_over(lake), "FROM compare('sales', '2026-09')")
