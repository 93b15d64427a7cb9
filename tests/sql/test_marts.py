"""Every mart over a small lake, against figures worked out by hand or written out once more from their formulas.

A mart's own test is named test_<mart>, with or without more words. Planted stories over a year: test_planted_year.py.
"""

import json
import math
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import scipy.special
import scipy.stats

from ser_tasks.inference.scores import strongest
from ser_tasks.lake import read_only, sql_views
from ser_tasks.pipeline import aggregate
from ser_tasks.settings import Settings
from tests.factories import lakes
from tests.factories.lakes import (
    DAY,
    MODEL,
    NEWER_MODEL,
    NIGHT,
    Call,
    angry,
    good_calls,
    run_row,
    segment,
    views_over,
    write,
    write_calls,
)

MARTS = [view.name for view in sql_views.all_views() if view.folder == "marts"]
OF_REVIEWS = ("measured_precision", "review_calibration", "reviewer_agreement", "suggested_base_rates", "suggested_threshold")
TESTS_OF_REVIEWS = Path(__file__).parent.parent / "lake" / "test_reviews.py"
MONDAY = date(2026, 11, 16)


def rows(connection, sql):
    return read_only.query(connection, sql).to_pylist()


@pytest.fixture
def over(lake):
    """A function that writes calls into a new lake and returns its views."""

    def write_and_view(calls):
        write_calls(lake, calls)
        return views_over(lake)

    return write_and_view


_names = iter(range(10**9))


def call(name: str = "", day: date = DAY, *, anger: float = 0.0, seconds: float = 10.0, unsure: float = 0.0, **facts) -> Call:
    """A scored call of 100 s that is given by its summary; what is neither anger nor unsure is neutral. ``facts`` are its other columns."""
    of_call = {name: facts.pop(name) for name in ("model", "chunk", "scored_at", "queue") if name in facts}
    made = Call(name or f"call-{next(_names):06}", [], day=day, duration_s=100.0, **of_call)
    made.facts |= {"emotion_role": "customer", "scored_speech_s": seconds, "scored_segments": 1}
    made.facts |= {"share_anger": anger, "share_unsure": unsure, "share_neutral": 1 - anger - unsure}
    made.facts |= {"share_sadness": 0.0, "share_happiness": 0.0}
    made.facts |= {"mean_p_anger": anger, "peak_anger": anger, "peak_anger_at_s": 0.0} | facts
    return made


def test_every_mart_has_a_test_of_its_own():
    tests = [f"{name}_" for name in globals() if name.startswith("test_")] + ["test_calls_by_agent_"]  # in test_agents.py
    tests += [f"test_{mart}_" for mart in OF_REVIEWS if f"FROM {mart}" in TESTS_OF_REVIEWS.read_text(encoding="utf-8")]
    assert [mart for mart in MARTS if not any(name.startswith(f"test_{mart}_") for name in tests)] == []


# Intervals


def interval(shares, seconds):
    """What sql/macros/ should say of calls with these shares: written out once more, from the formulas."""
    shares, seconds = np.array(shares, float), np.array(seconds, float)
    return wilson(float((shares * seconds).sum() / seconds.sum()), effective_calls(shares, seconds))


def effective_calls(shares, seconds):
    calls, total = len(shares), seconds.sum()
    share = float((shares * seconds).sum() / total)
    if not 0 < share < 1:
        return total**2 / (seconds**2).sum()
    t = scipy.stats.t.ppf(0.975, max(1, calls - 1)) / 1.959963985
    variance = calls * (seconds**2 * (shares - share) ** 2).sum() / total**2  # times calls - 1
    most = share * (1 - share) * (seconds**2).sum() / total**2
    return share * (1 - share) * (calls + 1) / (t**2 * variance + 2 * most)


def wilson(share, n, z=1.959963985):
    centre, half = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0, (centre - half) / (1 + z**2 / n)), min(1, (centre + half) / (1 + z**2 / n))


def test_wilson_s_interval_is_that_of_scipy(good):
    for k, n in ((0, 12), (3, 12), (12, 12), (1_200, 12_000)):
        expected = scipy.stats.binomtest(k, n).proportion_ci(method="wilson")
        assert wilson(k / n, n) == pytest.approx((expected.low, expected.high), abs=1e-7)
        (found,) = rows(good, f"SELECT wilson_interval({k} / {n}, {n}) AS ends")
        assert tuple(found["ends"].values()) == pytest.approx((expected.low, expected.high), abs=1e-7)


def test_p_values_and_quantiles_are_those_of_scipy(good):
    for z in (0, 0.3, -1.96, 3, 7):
        assert rows(good, f"SELECT two_sided_p({z}) AS p")[0]["p"] == pytest.approx(2 * scipy.stats.norm.sf(abs(z)), rel=1e-6)
    for degrees in (1, 2, 10, 11, 30, 1000):
        found = rows(good, f"SELECT t_quantile({degrees}) AS t")[0]["t"]
        assert found == pytest.approx(scipy.stats.t.ppf(0.975, degrees), rel=1e-4)


@pytest.mark.parametrize("calls", [1, 2, 12, 300])
def test_an_interval_is_that_of_its_formula(good, calls):
    draw = np.random.default_rng(calls)
    shares, seconds = draw.beta(1, 3, calls).round(3), draw.uniform(5, 200, calls).round(1)
    made = ", ".join(f"({share}, {each})" for share, each in zip(shares, seconds, strict=True))
    (found,) = rows(good, f"SELECT share_interval(share, seconds) AS ends FROM (VALUES {made}, (NULL, 0)) AS calls(share, seconds)")
    assert tuple(found["ends"].values()) == pytest.approx(interval(shares, seconds), rel=1e-4)


@pytest.mark.parametrize("calls", [5, 12, 60])
def test_an_interval_of_95_percent_holds_the_truth_about_so_often(good, calls):
    """Calls of which more than half have no anger at all, the others some: the shares that calls have."""
    draw, groups = np.random.default_rng(calls), 1000
    seconds = draw.uniform(5, 200, groups * calls)
    share = np.where(draw.random(groups * calls) < 0.6, 0, draw.beta(1, 3, groups * calls))
    made = pa.table({"number": np.repeat(np.arange(groups), calls), "share": share, "seconds": seconds})
    good.register("made", made)
    ends = rows(good, "SELECT share_interval(share, seconds) AS ends FROM made GROUP BY number")
    held = np.mean([each["ends"]["low"] <= 0.1 <= each["ends"]["high"] for each in ends])
    assert 0.92 <= held <= 0.995


# Marts


def test_calls_by_day_and_queue(good):
    sales, support = sorted(rows(good, "FROM calls_by_day_and_queue"), key=lambda row: row["queue"])
    counts = {"call_date": DAY, "queue": "sales", "calls": 3, "scored": 2, "no_speech": 1, "withheld": 0}
    assert sales.items() >= {**counts, "escalation_known": 2, "escalated": 1}.items()
    assert sales["audio_h"] == pytest.approx((40 + 20 + 60) / 3600)
    # angry: 10 s scored, of which anger 4, unsure 2, neutral 4; worse: 8 s, of which happiness 4, anger 4.
    assert sales["scored_speech_s"] == 18
    shares = {name: value for name, value in sales.items() if name.startswith("share_") and value is not None}
    expected = {"anger": 8 / 18, "negative": 8 / 18, "happiness": 4 / 18, "neutral": 4 / 18, "sadness": 0, "unsure": 2 / 18}
    expected |= {"anger_of_sure": 8 / 16, "negative_of_sure": 8 / 16, "happiness_of_sure": 4 / 16}
    assert {name: value for name, value in shares.items() if not name.endswith(("_low", "_high"))} == pytest.approx(
        {f"share_{name}": value for name, value in expected.items()}
    )
    assert len(shares) == 3 * 6 + 3  # shares of what is sure have no interval
    assert (sales["share_anger_low"], sales["share_anger_high"]) == pytest.approx(interval([0.4, 0.5], [10, 8]), abs=1e-6)
    assert (sales["share_sadness_low"], sales["share_sadness_high"]) == pytest.approx(interval([0, 0], [10, 8]), abs=1e-6)
    assert support.items() >= {"calls": 1, "scored": 0, "withheld": 1, "scored_speech_s": 0}.items()
    assert support["share_anger"] is support["share_unsure"] is None


def test_worst_calls_come_in_the_order_of_their_anger(good):
    found = rows(good, "FROM worst_calls JOIN call_emotions USING (recording_id) ORDER BY anger_score DESC")
    assert [row["call_id"] for row in found] == ["worse", "angry"]  # half of the scored speech against 4 of 10 s
    assert [row["share_anger"] for row in found] == pytest.approx([0.5, 0.4])
    assert [row["mean_p_anger"] for row in found] == pytest.approx([0.5, 0.44])
    assert [(row["peak_anger"], row["moment_s"]) for row in found] == [(pytest.approx(0.9), 16), (pytest.approx(0.8), 2)]


def test_agents_are_not_among_the_worst_or_the_escalated(lake):
    segments = [segment(0, 4, (0.0, 0.9, 0.1, 0.0), role="agent"), segment(16, 20, (0.9, 0.0, 0.1, 0.0), role="agent")]
    write_calls(lake, [Call("shouting", segments, policy="everyone", emotion_role="agent", duration_s=20.0)])
    connection = views_over(lake)
    assert rows(connection, "SELECT escalated FROM call_emotions") == [{"escalated": True}]
    assert rows(connection, "FROM worst_calls") == rows(connection, "FROM escalations") == []


def test_escalations(good):
    (row,) = rows(good, "FROM escalations")
    assert (row["call_id"], row["peak_anger_at_s"], row["onset_s"]) == ("worse", 16, 16)
    assert [row["negativity_q1"], row["negativity_q4"], row["negativity_change"]] == pytest.approx([0.15, 0.95, 0.8])
    assert row["negativity_q2"] is row["negativity_q3"] is None


def test_anger_through_the_call(good):
    found = {row["tenth"]: row for row in rows(good, "FROM anger_through_the_call")}
    assert {row["queue"] for row in found.values()} == {"sales"}
    # A tenth of angry is 4 s: 2-6 s lie in tenths 1 and 2, 20-22 s in 6, 36-40 s in 10.
    # A tenth of worse is 2 s: 0-4 s lie in tenths 1 and 2, 16-20 s in 9 and 10.
    seconds = {1: 2 + 2, 2: 2 + 2, 6: 2, 9: 2, 10: 4 + 2}
    assert {tenth: row["scored_speech_s"] for tenth, row in found.items()} == pytest.approx(seconds)
    assert {tenth: row["calls"] for tenth, row in found.items()} == {1: 2, 2: 2, 6: 1, 9: 1, 10: 2}
    anger = {1: (2 * 0.8 + 2 * 0.1) / 4, 2: (2 * 0.8 + 2 * 0.1) / 4, 6: 0.4, 9: 0.9, 10: (4 * 0.1 + 2 * 0.9) / 6}
    assert {tenth: row["mean_p_anger"] for tenth, row in found.items()} == pytest.approx(anger)
    assert found[1]["mean_negativity"] == pytest.approx((2 * 0.9 + 2 * 0.15) / 4)


def test_outcomes_and_reasons(good):
    found = {(row["outcome"], row["reason_code"]): row for row in rows(good, "FROM outcomes_and_reasons")}
    counts = {("scored", None): 2, ("no_speech", "no_speech"): 1, ("withheld", "role_mixed"): 1, ("quarantined", "not_audio"): 1}
    assert {key: row["recordings"] for key, row in found.items()} == counts
    assert {row["day"] for row in found.values()} == {DAY}
    assert found["scored", None]["share_of_day"] == pytest.approx(2 / 5)
    assert found["quarantined", "not_audio"]["example_key"] == f"{DAY}/broken.wav"
    assert found["scored", None]["example_reason"] is None


def test_quality_by_source(lake):
    calls = good_calls()
    calls[0].outcome["note"] = "truncated"
    calls[0].facts["codec"] = "GSM610"
    write_calls(lake, calls)
    found = {row["codec"]: row for row in rows(views_over(lake), "FROM quality_by_source")}
    assert found["GSM610"].items() >= {"recordings": 1, "scored": 1, "with_note": 1, "mean_snr_db": 30, "scored_speech_s": 10}.items()
    assert found["GSM610"]["share_unsure"] == pytest.approx(0.2)
    assert found["ULAW"].items() >= {"recordings": 3, "scored": 1, "no_speech": 1, "withheld": 1, "with_note": 0}.items()
    assert found["ULAW"]["mean_snr_db"] == pytest.approx((8 * 30 + 4 * 10) / 12)


def test_runs_overview(lake):
    idle = dict.fromkeys(["fetch_s", "decode_s", "speech_s", "features_s", "score_s", "write_s"], 0.0)
    write(lake, "runs", [run_row()], chunk="r1")
    write(lake, "runs", [run_row(run_id="r2", started_at=NIGHT + timedelta(days=1), **idle)], chunk="r2")
    second, first = rows(views_over(lake), "FROM runs_overview")
    assert (second["run_id"], first["run_id"]) == ("r2", "r1")
    assert first["share_speech"] == pytest.approx(0.4) and first["audio_h"] == pytest.approx(0.05)
    assert second["share_speech"] is None


def test_calls_by_hour_and_queue(over):
    calls = [
        call(anger=0.2, seconds=30, local_hour=9),
        call(anger=0.6, seconds=10, local_hour=9, escalated=True),
        call(anger=0.5, local_hour=23),
        call(anger=0.5, local_hour=None, started_at=None, queue=None),
    ]
    nine, late, unknown = rows(over(calls), "FROM calls_by_hour_and_queue ORDER BY hour NULLS LAST")
    assert nine.items() >= {"call_date": DAY, "hour": 9, "queue": "sales", "calls": 2, "scored": 2, "scored_speech_s": 40}.items()
    assert (nine["escalation_known"], nine["escalated"]) == (1, 1)
    assert nine["share_anger"] == nine["share_negative"] == pytest.approx((0.2 * 30 + 0.6 * 10) / 40)
    assert (nine["share_anger_low"], nine["share_anger_high"]) == pytest.approx(interval([0.2, 0.6], [30, 10]), rel=1e-4)
    assert (late["hour"], late["calls"], unknown["hour"], unknown["queue"], unknown["calls"]) == (23, 1, None, None, 1)


def test_hour_of_week(over):
    friday = DAY
    calls = [
        call(day=friday, anger=0.2, seconds=30),
        call(day=friday, anger=0.6),
        call(day=friday + timedelta(days=7), anger=0.0, unsure=0.5),
        call(day=friday + timedelta(days=2), anger=1.0),
        call(day=friday, started_at=None, local_hour=None),
    ]
    friday_9, sunday_9 = rows(over(calls), "FROM hour_of_week")
    assert (
        friday_9.items() >= {"queue": "sales", "weekday": 5, "hour": 9, "calls": 3, "scored": 3, "days": 2, "scored_speech_s": 50}.items()
    )
    assert friday_9["share_anger"] == friday_9["share_negative"] == pytest.approx((0.2 * 30 + 0.6 * 10) / 50)
    assert friday_9["share_unsure"] == pytest.approx(5 / 50)
    assert (friday_9["share_anger_low"], friday_9["share_anger_high"]) == pytest.approx(interval([0.2, 0.6, 0], [30, 10, 10]), rel=1e-4)
    assert (sunday_9["weekday"], sunday_9["share_anger"]) == (7, 1)


def test_hour_of_week_has_the_hour_that_comes_twice_once(over):
    """The clocks go back on 25 October 2026 in Berlin: 00:30 and 01:30 UTC are both half past two."""
    day = date(2026, 10, 25)
    moments = [datetime(2026, 10, 25, hour, 30, tzinfo=UTC) for hour in (0, 1, 2)]
    berlin = Settings(time_zone="Europe/Berlin")
    calls = [call(day=day, started_at=moment, local_hour=aggregate._local_hour(moment, berlin)) for moment in moments]
    assert rows(over(calls), "SELECT weekday, hour, calls, days FROM hour_of_week") == [
        {"weekday": 7, "hour": 2, "calls": 2, "days": 1},
        {"weekday": 7, "hour": 3, "calls": 1, "days": 1},
    ]


def test_mood_turns(over):
    ann = {"customer_pseudonym": "ann"}
    calls = [
        call("calm", DAY, anger=0.05, codec="GSM610", **ann),
        call("between", DAY + timedelta(days=1), anger=0.2, **ann),
        call("angry", DAY + timedelta(days=3), anger=0.3, queue="support", **ann),
        call("angry still", DAY + timedelta(days=4), anger=0.5, **ann),
        call("calm again", DAY + timedelta(days=9), anger=0.0, **ann),
        call("sad, not calm", DAY + timedelta(days=10), share_neutral=0.4, share_sadness=0.6, **ann),
        call("calm too", customer_pseudonym="bea"),
        call("too short", DAY + timedelta(days=1), anger=0.9, seconds=9, customer_pseudonym="bea"),
        call("mostly unsure", DAY + timedelta(days=2), anger=0.4, unsure=0.6, customer_pseudonym="bea"),
        call(anger=0.0),
        call(day=DAY + timedelta(days=1), anger=0.9),
    ]
    back, there = rows(over(calls), "FROM mood_turns")
    assert [there["turn"], there["from_call_id"], there["to_call_id"]] == ["calm to angry", "calm", "angry"]
    assert [there["days_between"], there["from_queue"], there["to_queue"], there["same_codec"]] == [3, "sales", "support", False]
    assert [there["from_share_anger"], there["to_share_anger"]] == pytest.approx([0.05, 0.3])
    assert [back["turn"], back["from_call_id"], back["to_call_id"]] == ["angry to calm", "angry still", "calm again"]
    assert [back["days_between"], back["same_codec"], back["customer_pseudonym"]] == [5, True, "ann"]
    assert [back["from_date"], back["to_date"]] == [DAY + timedelta(days=4), DAY + timedelta(days=9)]


def test_recovery_by_queue(over):
    angry_first = {"peak_anger": 0.9, "peak_anger_at_s": 10.0}
    calls = [
        call(negativity_q1=0.8, negativity_q2=0.5, negativity_q4=0.3, **angry_first),
        call(negativity_q1=None, negativity_q2=0.6, negativity_q4=0.45, **angry_first),  # not 0.2 lower
        call(negativity_q1=0.9, negativity_q2=0.2, negativity_q4=0.5, **angry_first),  # not below 0.5
        call(negativity_q1=0.7, negativity_q2=0.7, negativity_q4=None, **angry_first),
        call(negativity_q1=0.4, negativity_q2=0.4, negativity_q4=0.0, **angry_first),
        call(negativity_q1=0.8, negativity_q4=0.1, peak_anger=0.9, peak_anger_at_s=50.0),  # angriest in the second half
        call(negativity_q1=0.8, negativity_q4=0.1, peak_anger=0.4, peak_anger_at_s=10.0),  # sad rather than angry
        call(negativity_q1=0.7, negativity_q4=None, queue=None, **angry_first),
    ]
    sales, without = rows(over(calls), "FROM recovery_by_queue")
    assert sales.items() >= {"queue": "sales", "angry_first": 4, "end_known": 3, "recovered": 1}.items()
    assert sales["share_recovered"] == pytest.approx(1 / 3)
    assert (sales["share_recovered_low"], sales["share_recovered_high"]) == pytest.approx(wilson(1 / 3, 3))
    assert sales["negativity_first"] == pytest.approx((0.8 + 0.6 + 0.9) / 3)
    assert sales["negativity_end"] == pytest.approx((0.3 + 0.45 + 0.5) / 3)
    assert (
        without.items() >= {"queue": None, "angry_first": 1, "end_known": 0, "share_recovered": None, "share_recovered_low": None}.items()
    )


def test_silence_overlap_and_anger(over):
    calls = [
        call(anger=0.1, silence_s=5.0, overlap_s=0.0, interruptions_by_agent=0, interruptions_by_customer=5),
        call(anger=0.2, silence_s=5.0, overlap_s=2.0, interruptions_by_agent=1, interruptions_by_customer=5),
        call(anger=0.6, silence_s=60.0, overlap_s=20.0, interruptions_by_agent=4, interruptions_by_customer=5, seconds=30),
        call(anger=1.0, silence_s=100.0),  # one channel: no overlap or interruptions are known
    ]
    found = rows(over(calls), "FROM silence_overlap_and_anger")
    bands = {(row["measure"], row["band_from"], row["band_to"]): (row["calls"], pytest.approx(row["share_anger"])) for row in found}
    assert bands == {
        ("silence", 0, 0.1): (2, 0.15),
        ("silence", 0.5, 1): (2, (0.6 * 30 + 10) / 40),
        ("overlap", 0, 0.01): (1, 0.1),
        ("overlap", 0.01, 0.03): (1, 0.2),
        ("overlap", 0.12, 1): (1, 0.6),
        ("interruptions of the customer", 0, 0.25): (1, 0.1),
        ("interruptions of the customer", 0.5, 1): (1, 0.2),  # 1 in 100 s: 0.6 a minute
        ("interruptions of the customer", 2, 1000): (1, 0.6),
        ("interruptions by the customer", 2, 1000): (3, (0.1 * 10 + 0.2 * 10 + 0.6 * 30) / 50),
    }
    correlations = {row["measure"]: row["correlation"] for row in found}
    assert correlations["silence"] == pytest.approx(np.corrcoef([0.05, 0.05, 0.6, 1], [0.1, 0.2, 0.6, 1])[0, 1], rel=1e-5)
    assert correlations["overlap"] == pytest.approx(np.corrcoef([0, 2, 20], [0.1, 0.2, 0.6])[0, 1], rel=1e-5)
    assert correlations["interruptions by the customer"] is None
    (loud,) = [row for row in found if (row["measure"], row["band_from"]) == ("silence", 0.5)]
    assert (loud["share_anger_low"], loud["share_anger_high"]) == pytest.approx(interval([0.6, 1], [30, 10]), rel=1e-4)
    assert loud["scored_speech_s"] == 40


RISING, FALLING, WAVERING = [0.0, 0.2, 0.1, 0.4, 0.5, 0.7], [0.9, 0.5, 0.45, 0.1, 0.1], [0.2, 0.3, 0.1, 0.3, 0.2]


def repeat_calls(shares, customer, **facts):
    return [
        call(day=DAY + timedelta(days=number), anger=share, customer_pseudonym=customer, **facts) for number, share in enumerate(shares)
    ]


def test_repeat_callers(over):
    calls = repeat_calls(RISING, "rising") + repeat_calls(FALLING, "falling") + repeat_calls(WAVERING, "wavering")
    calls += (
        repeat_calls([0.0] * 8, "never angry")
        + repeat_calls([0.1, 0.9], "twice")
        + repeat_calls([0.5], "once")
        + repeat_calls([0.5] * 3, None)
    )
    calls[2].facts |= {"queue": "support", "codec": "GSM610"}
    found = {row["customer_pseudonym"]: row for row in rows(over(calls), "FROM repeat_callers")}
    assert list(found)[0] == "rising" and found.keys() == {"rising", "falling", "wavering", "never angry", "twice"}
    p_values = {}
    for customer, shares in (("rising", RISING), ("falling", FALLING), ("wavering", WAVERING)):
        line, row = scipy.stats.linregress(np.arange(len(shares)), shares), found[customer]
        margin = scipy.stats.t.ppf(0.975, len(shares) - 2) * line.stderr * (len(shares) - 1)
        rise = line.slope * (len(shares) - 1)
        assert [row["calls"], row["scored"]] == [len(shares)] * 2
        assert [row["first_share_anger"], row["last_share_anger"]] == pytest.approx([shares[0], shares[-1]])
        assert row["share_anger"] == pytest.approx(np.mean(shares))
        assert row["anger_per_call"] == pytest.approx(line.slope, abs=1e-6)
        assert [row["rise"], row["rise_low"], row["rise_high"]] == pytest.approx([rise, rise - margin, rise + margin], abs=1e-4)
        assert line.pvalue <= row["p_value"] * 1.001 <= 1.15 * line.pvalue
        p_values[customer] = row["p_value"]
    adjusted = dict(zip(p_values, scipy.stats.false_discovery_control(list(p_values.values())), strict=True))
    assert {customer: found[customer]["p_adjusted"] for customer in p_values} == pytest.approx(adjusted)
    assert [found[customer]["trend"] for customer in ("rising", "falling", "wavering")] == ["rises", "falls", "no clear trend"]
    assert [found["rising"][each] for each in ("first_date", "last_date", "queues", "codecs")] == [DAY, DAY + timedelta(days=5), 2, 2]
    never = found["never angry"]
    assert [never[each] for each in ("calls", "anger_per_call", "p_value", "p_adjusted", "trend", "rise_low")] == [
        8,
        0,
        None,
        None,
        None,
        None,
    ]
    assert [found["twice"][each] for each in ("anger_per_call", "p_value", "rise_low")] == [pytest.approx(0.8), None, None]


def test_repeat_callers_of_whom_many_are_asked_rise_only_by_chance(over):
    """A trend that is clear by itself is none among a hundred customers."""
    draw = np.random.default_rng(3)
    calls = repeat_calls([0.0, 0.1, 0.2, 0.2, 0.3], "likely chance")
    for number in range(40):
        calls += repeat_calls(draw.beta(1, 4, 5), f"other {number:02}")
    found = {row["customer_pseudonym"]: row for row in rows(over(calls), "FROM repeat_callers")}
    assert found["likely chance"]["p_value"] < 0.05 < found["likely chance"]["p_adjusted"]
    assert found["likely chance"]["trend"] == "may rise"
    assert not {row["trend"] for row in found.values()} & {"rises", "falls"}


def test_repeat_caller_calls(over):
    calls = [
        call("second", DAY + timedelta(days=4), anger=0.5, customer_pseudonym="ann", share_sadness=0.25, queue="support"),
        call("first", DAY, anger=0.0, customer_pseudonym="ann"),
        call("third", DAY + timedelta(days=4), customer_pseudonym="ann", started_at=None),
        call("only", DAY, customer_pseudonym="bea"),
        call("nobody's"),
    ]
    found = rows(over(calls), "FROM repeat_caller_calls")
    assert [(row["customer_pseudonym"], row["call_id"], row["call_number"], row["calls"], row["days_since_former"]) for row in found] == [
        ("ann", "first", 1, 3, None),
        ("ann", "second", 2, 3, 4),
        ("ann", "third", 3, 3, 0),
    ]
    assert [found[1]["share_anger"], found[1]["share_negative"], found[1]["queue"]] == [0.5, 0.75, "support"]


def test_worst_calls(over, lake):
    write(lake, "runs", [run_row(recordings_uri="s3://calls/2026/")], chunk="r1")
    calls = [
        call("sure", seconds=90, call_anger=0.6, call_anger_at_s=75.25, anger_seconds=9.0, peak_anger=0.9),
        call("not sure", seconds=90, unsure=1.0, call_anger=0.7, call_anger_at_s=4.0, peak_anger=0.95),
        call("older", anger=0.5, seconds=60, unsure=0.5, peak_anger=0.8, peak_anger_at_s=5.0, key="~/x.wav"),
        call("six seconds", seconds=6, unsure=1.0, call_anger=0.99, peak_anger=0.99),
        call("six sure seconds", anger=1.0, seconds=6, call_anger=0.99, peak_anger=0.99),
        call("agent's", anger=1.0, seconds=500, call_anger=0.99, emotion_role="agent"),
    ]
    found = rows(over(calls), "FROM worst_calls")
    assert [row["call_id"] for row in found] == ["sure", "older", "not sure"]
    assert [row["anger_score"] for row in found] == pytest.approx([wilson(0.6, 10)[0], wilson(0.5, 6)[0], wilson(0.7, 2)[0]], rel=1e-5)
    assert [row["moment"] for row in found] == ["01:15", "00:05", "00:04"]
    assert [row["moment_s"] for row in found] == [75.25, 5, 4]
    links = [f"s3://calls/2026/{DAY}/sure.wav#t=75.3", None, f"s3://calls/2026/{DAY}/not sure.wav#t=4.0"]
    assert [row["recording_link"] for row in found] == links


def test_words_are_a_row_a_turn(over):
    turns = [
        {"start_s": 0.5, "end_s": 2.25, "role": "agent", "said": "How can I help?", "sentiment": None},
        {"start_s": 63.0, "end_s": 64.5, "role": "customer", "said": "Where is invoice #?", "sentiment": -0.3},
    ]
    moments = ("00:00", "01:03")
    connection = over([call("kept", words=json.dumps(turns), words_source="webvtt", queue="billing"), call("not kept")])
    of_call = {"call_id": "kept", "recording_id": "id-kept", "call_date": DAY, "queue": "billing", "words_source": "webvtt"}
    found = rows(connection, "FROM words")
    expected = [of_call | turn | {"moment": moment} for turn, moment in zip(turns, moments, strict=True)]
    assert [{name: value for name, value in row.items() if name != "recording_link"} for row in found] == expected
    assert [row["start_s"] for row in rows(connection, "FROM words WHERE said ILIKE '%invoice%'")] == [63.0]


def test_calls_by_anger_rank(over):
    angry = {"emotion_role": "customer", "peak_anger": 0.5}
    made = [
        call("highest", call_anger=0.9, line="codec=ULAW", call_anger_at_s=65.0, **angry),
        call("tied", call_anger=0.4, line="codec=ULAW", **angry),
        call("tied too", call_anger=0.4, line="codec=ULAW", **angry),
        call("after the tie", call_anger=0.1, line="codec=ULAW", **angry),
        call("agent's", call_anger=0.99, line="codec=ULAW", emotion_role="agent"),
        call("without a score", line="codec=ULAW"),
        call("alone on its line", call_anger=0.01, line="codec=GSM", **angry),
        call("raw", call_anger=0.2, **angry),
        call("another day", DAY + timedelta(days=1), call_anger=0.3, line="codec=ULAW", **angry),
        Call("withheld", [], outcome="withheld", reason_code="notice_unknown"),
    ]
    older = call("tied", call_anger=0.95, line="codec=ULAW", model=NEWER_MODEL, scored_at=NIGHT, **angry)
    connection = over([*made, older])
    found = rows(connection, "FROM calls_by_anger_rank")
    ranks = {row["call_id"]: (row["anger_rank"], row["calls_ranked"]) for row in found}
    assert ranks == {
        "highest": (1, 4),
        "tied": (2, 4),
        "tied too": (2, 4),
        "after the tie": (4, 4),
        "without a score": (None, 4),
        "alone on its line": (1, 1),
        "raw": (1, 1),
        "another day": (1, 1),
        "withheld": (None, 1),
    }
    assert [row["call_id"] for row in found][:5] == ["another day", "alone on its line", "highest", "tied", "tied too"]
    assert next(row["moment"] for row in found if row["call_id"] == "highest") == "01:05"
    worst = rows(connection, "SELECT call_id, anger_rank FROM worst_calls")
    assert {row["call_id"]: row["anger_rank"] for row in worst} == {name: rank for name, (rank, _) in ranks.items() if name != "withheld"}


def test_the_rank_of_a_narrower_question_is_that_of_all_calls(over):
    connection = over([call(f"c{number}", call_anger=number / 10, queue=("sales", "support")[number % 2]) for number in range(5)])
    found = rows(connection, "SELECT call_id, anger_rank FROM calls_by_anger_rank WHERE queue = 'support'")
    assert [(row["call_id"], row["anger_rank"]) for row in found] == [("c3", 2), ("c1", 4)]


def test_worst_calls_do_not_go_by_length(over):
    """Equal speech, 10 to 300 s of it: the mean of what calls are ranked by differs between fifths of length by less than 0.03."""
    draw = np.random.default_rng(3)
    calls = []
    for number, seconds in enumerate(np.linspace(10, 300, 1000)):
        # segments of 4 s about the call's own anger, of the same calls in every fifth; a call is judged as the pipeline does
        logits = scipy.stats.norm.ppf((number % 25 + 0.5) / 25, -3, 1.5) + draw.normal(0, 1, max(3, round(seconds / 4)))
        strength, at_s = strongest(logits, np.full(len(logits), 4.0), 4.0 * np.arange(len(logits)))
        p = float(scipy.special.expit(strength))
        calls.append(call(f"c{number}", seconds=4 * len(logits), unsure=number % 8 / 7, call_anger=p, call_anger_at_s=at_s))
        calls[-1].facts["duration_s"] = float(seconds)
    found = rows(
        over(calls),
        "SELECT avg(anger_score) AS score FROM (SELECT *, ntile(5) OVER (ORDER BY duration_s) AS fifth FROM worst_calls) GROUP BY fifth",
    )
    scores = [row["score"] for row in found]
    assert len(scores) == 5 and max(scores) - min(scores) < 0.03 < min(scores), scores


def test_queue_days_against_usual_say_nothing_of_one_call(over):
    """A range of 0 to 100 % is no usual range: of one call on a day it is left out, of many it is stated."""
    before = [call(day=DAY - timedelta(days=n), anger=0.1, seconds=60, queue=name) for n in range(1, 15) for name in ("one", "many")]
    today = [call(anger=0.1, seconds=60, queue="one"), *(call(anger=0.1, seconds=60, queue="many") for _ in range(40))]
    found = {row["queue"]: row for row in rows(over(before + today), f"FROM queue_days_against_usual WHERE call_date = '{DAY}'")}
    assert (found["one"]["outside"], found["one"]["usual_low"]) == (None, None) and found["one"]["usual_days"] >= 7
    assert found["many"]["outside"] == "usual" and found["many"]["usual_high"] < 0.2


def test_week_on_week_says_too_few_calls_and_does_not_go_by_unsure(over):
    weeks = {"few": (4, 4), "unsure": (60, 60), "languages": (60, 60)}
    calls = []
    for queue, numbers in weeks.items():
        for later, number in enumerate(numbers):
            for place in range(number):
                day = MONDAY + timedelta(days=7 * later + place % 7)
                facts = {"few": {"anger": 0.9 * later}, "unsure": {"anger": 0.3 - 0.2 * later, "unsure": 0.7 * later}}.get(queue, {})
                if queue == "languages":  # each language is as angry as before; the second is spoken more
                    other = place % 10 < (1, 9)[later]
                    facts = {"anger": 0.5 if other else 0.05, "language": "fr" if other else "de"}
                calls.append(call(day=day, seconds=60, queue=queue, **facts))
    found = {row["queue"]: row for row in rows(over(calls), "FROM week_on_week")}
    assert found["few"]["verdict"] == "too few calls"
    assert found["unsure"]["verdict"] == "not among what is sure" and found["unsure"]["change"] < 0
    sure = [found["unsure"][f"share_anger_of_sure{when}"] for when in ("_before", "")]
    assert sure == pytest.approx([0.3, 1 / 3])
    assert found["languages"]["change"] > 0.3 and found["languages"]["verdict"] == "not within a codec"


def test_best_calls(over, lake):
    write(lake, "runs", [run_row(recordings_uri="s3://calls")], chunk="r1")
    calls = [
        call("happy", seconds=60, share_happiness=0.5, peak_happiness=0.9, peak_happiness_at_s=60.0),
        call("happy and angry", anger=0.4, seconds=60, share_happiness=0.5, peak_happiness=0.9, peak_happiness_at_s=3.0),
        call("short", seconds=2, share_happiness=1.0),  # of an older part: it does not say where
        call("not scored for happiness", share_happiness=None),
    ]
    found = rows(over(calls), "FROM best_calls")
    assert [row["call_id"] for row in found] == ["happy", "short", "happy and angry"]
    average = (0.5 * 60 + 0.1 * 60 + 1.0 * 2) / 122
    scores = [(30 + 30 * average) / 90, (2 + 30 * average) / 32, (6 + 30 * average) / 90]
    assert [row["happiness_score"] for row in found] == pytest.approx(scores, rel=1e-5)
    assert [row["moment"] for row in found] == ["01:00", None, "00:03"]
    assert [row["share_negative"] for row in found] == pytest.approx([0, 0, 0.4])
    assert [row["recording_link"] for row in found] == [
        f"s3://calls/{DAY}/happy.wav#t=60.0",
        f"s3://calls/{DAY}/short.wav",
        f"s3://calls/{DAY}/happy and angry.wav#t=3.0",
    ]


# One week against the next


def week_of(monday, shares, *, gsm=(), **facts):
    """A call of each share on each day of a week; those whose place is in ``gsm`` have another codec."""
    return [
        call(day=monday + timedelta(days=day), anger=share, codec="GSM610" if place in gsm else "ULAW", **facts)
        for day in range(7)
        for place, share in enumerate(shares)
    ]


def worth(calls):
    """Share of anger and effective number of independent calls, written out once more: of calls or of days, whichever is less."""
    shares, seconds = (np.array([each.facts[name] for each in calls], float) for name in ("share_anger", "scored_speech_s"))
    share, n = days_worth(calls)
    return share, min(n, effective_calls(shares, seconds))


def days_worth(calls):
    """Share of anger and how many independent calls it is worth by how its days differ."""
    shares, seconds = (np.array([each.facts[name] for each in calls], float) for name in ("share_anger", "scored_speech_s"))
    share = float((shares * seconds).sum() / seconds.sum())
    days = sorted({each.day for each in calls})
    inside = [np.array([each.day == day for each in calls]) for day in days]
    off = sum(((shares[one] - share) * seconds[one]).sum() ** 2 for one in inside)
    variance = len(days) / (len(days) - 1) * off / seconds.sum() ** 2
    t = scipy.stats.t.ppf(0.975, len(days) - 1) / 1.959963985
    return share, share * (1 - share) / (t**2 * variance) if variance > 1e-12 else math.inf


def test_week_on_week(over):
    draw = np.random.default_rng(2)
    before, after = [], []
    for monday, of_week, most in ((MONDAY, before, 0.2), (MONDAY + timedelta(days=7), after, 0.6)):
        for day in range(7):
            mood = draw.uniform(0.3, 1) * most
            for number in range(4):
                facts = {"codec": "GSM610" if number == 0 else "ULAW", "seconds": 10.0 + number}
                of_week.append(call(day=monday + timedelta(days=day), anger=round(mood * draw.uniform(0, 1), 3), **facts))
    (row,) = rows(over(before + after), "FROM week_on_week")
    share, n = worth(after)
    share_before, n_before = worth(before)
    assert row.items() >= {"week": MONDAY + timedelta(days=7), "queue": "sales", "calls": 28, "calls_before": 28}.items()
    assert [row["share_anger"], row["share_anger_before"], row["change"]] == pytest.approx([share, share_before, share - share_before])
    low, high = wilson(share, n)
    low_before, high_before = wilson(share_before, n_before)
    assert [row["share_anger_low"], row["share_anger_high"]] == pytest.approx([low, high], rel=1e-3)
    change = share - share_before
    assert row["change_low"] == pytest.approx(change - math.hypot(share - low, high_before - share_before), rel=1e-3)
    assert row["change_high"] == pytest.approx(change + math.hypot(high - share, share_before - low_before), rel=1e-3)
    within = weights = variance = 0.0
    for codec in ("GSM610", "ULAW"):
        (p, m), (q, k) = (worth([each for each in calls if each.facts["codec"] == codec]) for calls in (after, before))
        weight, pooled = m * k / (m + k), (p * m + q * k) / (m + k)
        within, weights, variance = within + weight * (p - q), weights + weight, variance + weight * pooled * (1 - pooled)
    z = within / math.sqrt(variance)
    assert row["change_within_source"] == pytest.approx(within / weights, rel=1e-3)
    assert row["p_value"] == row["p_adjusted"] == pytest.approx(2 * scipy.stats.norm.sf(abs(z)), rel=1e-2)
    assert (row["share_comparable"], row["verdict"]) == (pytest.approx(1), "rose")


def test_week_on_week_tells_callers_from_codecs(over):
    second, fourth = MONDAY + timedelta(days=7), MONDAY + timedelta(days=21)
    calls = [
        *week_of(MONDAY, [0.0, 0.2], queue="calmer"),
        *week_of(second, [0.0, 0.1], queue="calmer"),
        *week_of(MONDAY, [0.8, 0.7, 0.9, 0.6], queue="fell"),
        *week_of(second, [0.1, 0.2, 0.0, 0.3], queue="fell"),
        *week_of(MONDAY, [0.1] * 9 + [0.8], gsm={9}, queue="more of a codec"),
        *week_of(second, [0.1] + [0.8] * 9, gsm=set(range(1, 10)), queue="more of a codec"),
        *week_of(MONDAY, [0.1] * 9, queue="new codec"),
        *week_of(second, [0.8] * 9, gsm=set(range(9)), queue="new codec"),
        *week_of(MONDAY, [0.0] * 4, queue="never angry"),
        *week_of(second, [0.0] * 4, queue="never angry"),
        *week_of(MONDAY, [0.1] * 4, queue="closed for a week"),
        *week_of(fourth, [0.9] * 4, queue="closed for a week"),
        *week_of(MONDAY, [0.0, 0.2], queue=None),
        *week_of(second, [0.0, 0.2], queue=None),
        call(day=MONDAY, anger=0.0, queue="one call"),
        call(day=second, anger=1.0, queue="one call"),
    ]
    found = {row["queue"]: row for row in rows(over(calls), "FROM week_on_week")}
    assert {queue: row["verdict"] for queue, row in found.items()} == {
        "calmer": "no clear change",
        "fell": "fell",
        "more of a codec": "not within a codec",
        "new codec": "other codec, cannot tell",
        "never angry": "no clear change",
        None: "no clear change",
        "one call": "too few calls",
    }
    assert found["more of a codec"]["change"] == pytest.approx(0.8 * 0.7) and abs(found["more of a codec"]["change_within_source"]) < 1e-6
    assert (found["new codec"]["share_comparable"], found["new codec"]["change_within_source"], found["new codec"]["p_value"]) == (
        0,
        None,
        None,
    )
    assert found["fell"]["share_comparable"] == 1 and found["fell"]["change_high"] < 0


def test_turning_weeks(over):
    draw = np.random.default_rng(4)
    turns = MONDAY + timedelta(days=28)
    calls = []
    for week in range(8):
        for day in range(7):
            date_of = MONDAY + timedelta(days=7 * week + day)
            for queue, most in (("turns", 0.6 if week >= 4 else 0.2), ("stays", 0.3), (None, 0.0)):
                calls += [
                    call(day=date_of, anger=round(draw.uniform(0, most), 3), queue=queue, seconds=seconds) for seconds in (10.0, 20.0)
                ]
            calls.append(call(day=date_of, anger=0.5, queue="new codec", codec="GSM610" if week >= 4 else "ULAW"))
    found = rows(over(calls), "FROM turning_weeks")
    first = found[0]
    assert [first["queue"], first["week"], first["verdict"], first["days_before"], first["days_after"]] == ["turns", turns, "rose", 28, 28]
    (share, n), (share_before, n_before) = (
        days_worth([each for each in calls if each.facts["queue"] == "turns" and (each.day >= turns) == after]) for after in (True, False)
    )
    pooled = (share * n + share_before * n_before) / (n + n_before)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / n_before))
    change = share - share_before
    assert [first["share_anger_before"], first["share_anger_after"], first["change"]] == pytest.approx([share_before, share, change])
    assert [first["change_low"], first["change_high"]] == pytest.approx([change - 1.96 * error, change + 1.96 * error], rel=1e-3)
    assert first["p_value"] == pytest.approx(2 * scipy.stats.norm.sf(change / error), rel=0.02)
    judged = 5 * 4  # the Mondays with 14 days on either side, of four queues
    assert first["p_adjusted"] == pytest.approx(judged * first["p_value"])
    assert {row["verdict"] for row in found if row["queue"] == "stays"} == {"no clear change"}
    assert not [row for row in found if row["queue"] is None], "there is no clearest change where there is none"
    assert "new codec" not in [row["queue"] for row in found if row["verdict"] in ("rose", "fell")]


def test_quality_by_week_and_source(over):
    gsm = {"codec": "GSM610", "scored_snr_db": 15.0, "customer_loudness_dbfs": -30.0}
    calls = [
        call(day=MONDAY, anger=0.1, seconds=30, scored_snr_db=30.0, customer_loudness_dbfs=-20.0),
        call(day=MONDAY + timedelta(days=6), anger=0.3, scored_snr_db=20.0, customer_loudness_dbfs=-24.0, unsure=0.2),
        call(day=MONDAY, anger=0.5, unsure=0.3, **gsm),
        call(day=MONDAY + timedelta(days=7), anger=0.5, **gsm),
        Call("quiet", [], outcome="no_speech", day=MONDAY),
    ]
    found = {(row["week"], row["codec"]): row for row in rows(over(calls), "FROM quality_by_week_and_source")}
    assert {key: (row["calls"], row["scored"], row["share_of_week"]) for key, row in found.items()} == {
        (MONDAY, "ULAW"): (3, 2, 0.75),
        (MONDAY, "GSM610"): (1, 1, 0.25),
        (MONDAY + timedelta(days=7), "GSM610"): (1, 1, 1.0),
    }
    ulaw = found[MONDAY, "ULAW"]
    assert ulaw.items() >= {"queue": "sales", "sampling_rate_hz": 8000, "channels": 2, "scored_speech_s": 40}.items()
    assert [ulaw["share_anger"], ulaw["share_unsure"]] == pytest.approx([(0.1 * 30 + 0.3 * 10) / 40, 2 / 40])
    assert [ulaw["mean_snr_db"], ulaw["mean_loudness_dbfs"]] == pytest.approx([(30 * 30 + 20 * 10) / 40, (-20 * 30 - 24 * 10) / 40])
    assert [ulaw["share_anger_low"], ulaw["share_anger_high"]] == pytest.approx(interval([0.1, 0.3], [30, 10]), rel=1e-4)
    assert [ulaw["share_unsure_low"], ulaw["share_unsure_high"]] == pytest.approx(interval([0, 0.2], [30, 10]), rel=1e-4)
    assert found[MONDAY, "GSM610"]["mean_snr_db"] == 15


# Against what is usual


def test_queue_days_against_usual(over):
    first = DAY - timedelta(days=14)
    draw = np.random.default_rng(5)
    days = [[round(share, 2) for share in draw.uniform(0, 0.2, 4)] for _ in range(14)]
    calls = [
        call(day=first + timedelta(days=number), anger=share, queue=queue)
        for number, day in enumerate(days)
        for share in day
        for queue in ("a", "b")
    ]
    calls += [call(day=DAY, anger=share, queue="a") for share in [0.9] * 10 + [0.1] * 30]
    calls += [call(day=DAY, anger=0.9, queue="b", codec="GSM610") for _ in range(10)]
    found = {(row["queue"], row["call_date"]): row for row in rows(over(calls), "FROM queue_days_against_usual")}
    assert len(found) == 30
    row = found["a", DAY]
    means = [np.mean(day) for day in days]
    off = [means[number] - np.mean(means[:number]) for number in range(7, 14)]  # the first days have no usual share
    usual = np.mean(means)
    margin = max(3 * np.sqrt(np.mean(np.square(off))), 3 * np.sqrt(np.mean(np.square(off) * 4) / 40), 1 / 40)
    assert [row["usual_days"], row["calls"], row["share_comparable"]] == [7, 40, 1]
    assert [row["share_anger"], row["compared_anger"], row["usual_anger"]] == pytest.approx([0.3, 0.3, usual])
    assert [row["usual_low"], row["usual_high"]] == pytest.approx([max(0, usual - margin), usual + margin])
    assert row["outside"] == "above" and usual + margin < 0.3
    other = found["b", DAY]
    assert [other[name] for name in ("share_comparable", "outside", "usual_low", "usual_high")] == [0, None, None, None]
    yesterday, start = found["a", DAY - timedelta(days=1)], found["a", first]
    assert [yesterday["usual_days"], yesterday["outside"], start["usual_days"], start["usual_anger"]] == [6, None, 0, None]


def test_queue_days_against_usual_of_one_call_are_never_outside(over):
    calls = [call(day=DAY - timedelta(days=number), anger=0.0) for number in range(1, 29)]
    (row,) = rows(over([*calls, call(anger=1.0)]), f"FROM queue_days_against_usual WHERE call_date = DATE '{DAY}'")
    assert (row["usual_high"], row["outside"]) == (None, None)


def test_drift(over):
    october, november = date(2026, 10, 1), date(2026, 11, 1)
    before, after = np.arange(10.0, 110, 5), [12.0, 14, 33, 107, 109, 130, 150]
    calls = [call(day=october + timedelta(days=number), duration_s=value, codec="ULAW") for number, value in enumerate(before)]
    calls += [call(day=november, duration_s=value, codec=codec) for value, codec in zip(after, ["ULAW"] * 2 + ["GSM610"] * 5, strict=True)]
    found = {row["measure"]: row for row in rows(over(calls), "FROM drift")}
    assert {(row["month"], row["reference_month"], row["calls"], row["reference_calls"]) for row in found.values()} == {
        (november, october, 7, 20)
    }

    def expected(n, m):
        n, m = np.array(n, float), np.array(m, float)
        p, q = (n + 0.5) / (n.sum() + 0.5 * len(n)), (m + 0.5) / (m.sum() + 0.5 * len(m))
        divergence = scipy.spatial.distance.jensenshannon(n / n.sum(), m / m.sum(), base=2) ** 2
        by_chance = scipy.stats.chi2.ppf(0.95, len(n) - 1) * (1 / n.sum() + 1 / m.sum())
        return [((p - q) * np.log(p / q)).sum(), divergence], by_chance

    edges = np.quantile(before, np.arange(1, 10) / 10)
    tenths = [np.bincount(np.searchsorted(edges, values), minlength=10) for values in (after, before)]
    for measure, counts in (("duration_s", tenths), ("codec", [[2, 5], [20, 0]])):
        row, (exact, by_chance) = found[measure], expected(*counts)
        assert [row["psi"], row["jensen_shannon"]] == pytest.approx(exact), measure
        assert row["psi_by_chance"] == pytest.approx(by_chance, rel=0.05)
    assert [found["duration_s"][name] for name in ("mean", "reference_mean")] == pytest.approx([np.mean(after), np.mean(before)])
    assert [found["codec"][name] for name in ("mean", "drift")] == [None, "much"]
    assert [found["share_unsure"][name] for name in ("psi", "drift")] == [0, "none"]
    assert found["duration_s"]["psi"] > 0.25 and found["duration_s"]["drift"] == "none"  # so few calls differ by so much by chance
    assert "scored_snr_db" not in found  # older parts do not have it


def test_drift_is_measured_against_the_month_that_is_asked_for(over):
    connection = over([call(day=date(2026, month, 3), anger=month / 20) for month in (8, 9, 10)])
    months = "SELECT month, reference_month FROM drift WHERE measure = 'codec' ORDER BY month"
    assert rows(connection, months) == [{"month": date(2026, month, 1), "reference_month": date(2026, 9, 1)} for month in (8, 10)]
    connection.execute("SET VARIABLE reference_month = DATE '2026-08-31'")
    try:
        assert rows(connection, months) == [{"month": date(2026, month, 1), "reference_month": date(2026, 8, 1)} for month in (9, 10)]
    finally:
        connection.execute("RESET VARIABLE reference_month")


def test_model_comparison(over):
    later = NIGHT + timedelta(days=1)
    scored = [  # dominant emotion, share of anger and escalated by each of two models
        ("neutral", 0.1, False, "neutral", 0.2, False),
        ("neutral", 0.0, False, "anger", 0.5, True),
        ("anger", 0.6, True, "anger", 0.7, True),
        (None, 0.2, None, None, 0.1, None),
    ]
    calls = []
    for number, (dominant, anger, escalated, dominant_b, anger_b, escalated_b) in enumerate(scored):
        calls.append(call(f"{number}", anger=anger, dominant_emotion=dominant, escalated=escalated, unsure=0.1))
        new = {"model": NEWER_MODEL, "scored_at": later, "dominant_emotion": dominant_b, "escalated": escalated_b}
        calls.append(call(f"{number}", anger=anger_b, **new))
    calls.append(call("scored by one alone", anger=1.0))
    calls += [call("of an agent", emotion_role="agent", model=model) for model in (MODEL, NEWER_MODEL)]
    (row,) = rows(over(calls), "FROM model_comparison")
    assert [row["model_a"], row["model_b"], row["calls"]] == [MODEL, NEWER_MODEL, 4]
    assert row["agreement"] == 3 / 4
    by_chance = (2 * 1 + 1 * 2 + 1 * 1) / 16  # neutral, anger, unsure
    assert row["kappa"] == pytest.approx((3 / 4 - by_chance) / (1 - by_chance))
    difference = np.array([0.1, 0.5, 0.1, -0.1])
    margin = scipy.stats.t.ppf(0.975, 3) * difference.std(ddof=1) / 2
    assert [row["share_anger_a"], row["share_anger_b"], row["difference"]] == pytest.approx([0.225, 0.375, 0.15])
    assert [row["difference_low"], row["difference_high"]] == pytest.approx([0.15 - margin, 0.15 + margin], rel=1e-4)
    assert row["correlation_p_anger"] == pytest.approx(np.corrcoef([0.1, 0, 0.6, 0.2], [0.2, 0.5, 0.7, 0.1])[0, 1], rel=1e-5)
    assert [row["share_unsure_a"], row["share_unsure_b"]] == pytest.approx([0.1, 0])
    assert [row["escalated_a"], row["escalated_b"], row["escalated_both"]] == [1, 2, 1]


def test_nights(lake):
    write_calls(lake, good_calls())
    day = timedelta(days=1)
    nothing = dict.fromkeys(["planned", "scored", "no_speech", "withheld", "quarantined", "failed"], 0)
    again = nothing | {"planned": 5, "scored": 1, "failed": 1, "listed": 9, "wall_s": 9.0}
    runs = [
        run_row(),
        run_row(run_id="r2", started_at=NIGHT + timedelta(hours=3), **again),
        run_row(run_id="r3", started_at=NIGHT + 2 * day, audio_s=360.0),
        run_row(run_id="r4", started_at=NIGHT + 3 * day, **nothing | {"audio_s": 0.0, "wall_s": 0.0}),
    ]
    for run in runs:
        write(lake, "runs", [run], chunk=run["run_id"])
    idle, third, first = rows(views_over(lake), "FROM nights")
    counts = {"night": NIGHT.date(), "runs": 2, "listed": 9, "planned": 10, "recordings": 7, "scored": 3, "quarantined": 1, "failed": 1}
    assert first.items() >= (counts | {"days_since_former": None, "usual_audio_h_per_h": None}).items()
    assert [first["share_failed"], first["share_not_scored"]] == pytest.approx([1 / 7, 4 / 7])
    assert first["reasons"] == "no_speech 1, not_audio 1, role_mixed 1"
    assert [first["audio_h"], first["wall_s"], first["audio_h_per_h"]] == pytest.approx([0.1, 27, 360 / 27])
    assert [third["days_since_former"], third["reasons"], third["audio_h_per_h"]] == [2, None, 20]
    assert third["usual_audio_h_per_h"] == pytest.approx(360 / 27)
    assert [idle["recordings"], idle["share_failed"], idle["share_not_scored"], idle["audio_h_per_h"]] == [0, None, None, None]
    assert idle["usual_audio_h_per_h"] == pytest.approx((360 / 27 + 20) / 2)


def test_nights_are_those_of_utc_in_whatever_zone_one_asks(good):
    assert good.execute("SELECT night FROM nights").fetchall() == [(NIGHT.date(),)]
    good.execute("SET TimeZone = 'America/New_York'")
    try:
        assert good.execute("SELECT night FROM nights").fetchall() == [(NIGHT.date(),)]
    finally:
        good.execute("SET TimeZone = 'UTC'")


# Every mart, over what lakes can hold


def test_every_mart_of_an_empty_lake_is_empty(lake):
    connection = views_over(lake)
    assert {mart: rows(connection, f"FROM {mart}") for mart in MARTS} == dict.fromkeys(MARTS, [])


def odd_calls() -> list[Call]:
    """What a lake can hold at its edges, two weeks of it with a week of nothing in between."""
    clip = [segment(0, 4, (0.6, 0.1, 0.2, 0.1)), segment(30, 36, (0.1, 0.1, 0.7, 0.1))]
    one_channel = [segment(0, 4, (0.6, 0.1, 0.2, 0.1), role="mixed", channel=0)]
    agent = [segment(0, 4, (0.9, 0.0, 0.1, 0.0), role="agent", channel=0), segment(30, 40, (0.9, 0.0, 0.1, 0.0), role="agent", channel=0)]
    calls = [
        angry(),
        angry(model=NEWER_MODEL, scored_at=NIGHT + timedelta(days=2)),
        Call("without a queue", clip, queue=None),
        Call("without a start", clip),
        Call("without a date", clip),
        Call("the only one", clip, queue="rare"),
        Call("one channel", one_channel, policy="everyone", emotion_role="mixed"),
        Call("agent", agent, policy="everyone", emotion_role="agent", queue="agents"),
        Call("silent", [], outcome="no_speech", reason_code="no_speech"),
        Call("withheld", [segment(1, 5, role="mixed", channel=0)], outcome="withheld", reason_code="role_mixed", queue="withheld"),
        Call("broken", [], outcome="quarantined", reason_code="not_audio", duration_s=0.0),
        Call("later", clip, day=DAY + timedelta(days=14), planned_at=NIGHT + timedelta(days=14), scored_at=NIGHT + timedelta(days=14)),
    ]
    by_name = {each.outcome["call_id"]: each for each in calls}
    by_name["without a start"].facts |= {"started_at": None, "local_hour": None}
    by_name["without a date"].facts |= {"started_at": None, "local_hour": None, "call_date": None}
    for each in calls:
        if each.facts and each.facts["call_id"] in ("without a queue", "without a start", "agent", "later"):
            each.facts["customer_pseudonym"] = "ann"
        if each.facts and each.facts["call_id"] != "one channel":
            each.facts |= {"silence_s": 10.0, "overlap_s": 1.0, "interruptions_by_agent": 1, "interruptions_by_customer": 0}
    return calls


@pytest.fixture
def odd(lake):
    write(lake, "runs", [run_row(recordings_uri="s3://calls")], chunk="r1")
    write_calls(lake, odd_calls())
    return views_over(lake)


def test_every_mart_answers_over_odd_calls(odd):
    answers = {mart: rows(odd, f"FROM {mart}") for mart in MARTS}
    unanswered = {
        "calls_by_agent",
        "escalations",
        "line_weeks",
        "mood_turns",
        "turning_weeks",
        "week_on_week",
        "review_queue",
        "words",
        *OF_REVIEWS,
    }
    assert {mart for mart in MARTS if not answers[mart]} == unanswered
    for mart, found in answers.items():
        for row in found:
            for column, value in row.items():
                assert not (isinstance(value, float) and math.isnan(value)), (mart, column, "is no number")
                if re.match(r"share_|p_|mean_p_|peak_anger$|agreement", column) and isinstance(value, float):
                    assert 0 <= value <= 1, (mart, column, value)
            ends = [name.removesuffix("_low") for name in row if name.endswith("_low") and name.removesuffix("_low") in row]
            for name in ends:
                low, value, high = row[f"{name}_low"], row[name], row[f"{name}_high"]
                assert (low is None and high is None) or low - 1e-9 <= value <= high + 1e-9, (mart, name)


def test_no_mart_tells_of_an_agent_s_emotion(lake):
    calls = [each for each in odd_calls() if each.outcome["call_id"] == "agent"]
    for number in range(20):
        calls.append(
            call(
                day=DAY - timedelta(days=number), anger=0.9, queue="agents", emotion_role="agent", customer_pseudonym="ann", escalated=True
            )
        )
    write_calls(lake, calls)
    connection = views_over(lake)
    for mart in MARTS:
        for row in rows(connection, f"FROM {mart}"):
            told = {column: value for column, value in row.items() if re.search("anger|negativ|happiness|escalated", column) and value}
            assert not told, mart


def test_every_mart_knows_only_what_was_known_then(odd, lake, tmp_path):
    """As of a moment, a mart of the whole lake is that of a lake in which nothing came later."""
    moment = NIGHT + timedelta(days=1)
    early = str(tmp_path / "early")
    write(early, "runs", [run_row(recordings_uri="s3://calls")], chunk="r1")
    write_calls(early, [each for each in odd_calls() if each.outcome["scored_at"] <= moment])
    now = {mart: rows(odd, f"FROM {mart}") for mart in MARTS}
    odd.execute(f"SET VARIABLE as_of = TIMESTAMPTZ '{moment}'")
    then = {mart: rows(odd, f"FROM {mart}") for mart in MARTS}
    views = views_over(early)
    assert then == {mart: rows(views, f"FROM {mart}") for mart in MARTS}
    assert sum(then[mart] != now[mart] for mart in MARTS) > len(MARTS) / 2


def test_a_re_scored_call_counts_once_and_by_its_newer_model(odd):
    assert rows(odd, "SELECT calls, scored FROM calls_by_day_and_queue WHERE queue = 'rare'") == [{"calls": 1, "scored": 1}]
    (sales,) = rows(odd, f"SELECT calls, scored FROM calls_by_day_and_queue WHERE queue = 'sales' AND call_date = DATE '{DAY}'")
    assert sales == {"calls": 4, "scored": 3}  # angry once, without a start, one channel, silent
    assert rows(odd, "SELECT model_a, model_b, calls, agreement FROM model_comparison") == [
        {"model_a": MODEL, "model_b": NEWER_MODEL, "calls": 1, "agreement": 1.0}
    ]


def on_line(profile_id: str, distance: float, day: date) -> Call:
    made = call(day=day, line="language=de", line_distance=distance)
    for each in (made.facts, made.outcome):
        each["line_profile"] = profile_id
    return made


def test_line_weeks(lake):
    """A week like the sample, one in which 11 of 20 calls are far from it, and one under a new profile. Raw calls are in none."""
    weeks = [MONDAY - timedelta(days=14), MONDAY - timedelta(days=7), MONDAY]
    calls = [on_line("old", 1.0, weeks[0]) for _ in range(20)] + [call(day=weeks[0])]
    calls += [on_line("old", 1.5 if number < 11 else 1.0, weeks[1]) for number in range(20)]
    calls += [on_line("new", 1.5, weeks[2]) for _ in range(19)]
    write_calls(lake, calls)
    for profile_id in ("old", "new"):
        facts = {"profile_id": profile_id, "line": "language=de", "usual_distance": 1.0, "high_distance": 1.25, "made_at": NIGHT}
        write(lake, "profiles", [lakes.row("profiles", **facts)], chunk=profile_id)
    columns = "profile_id, week, calls, round(median_distance, 3) AS median, high_distance AS high, drifted, profile_changed"
    found = [tuple(each.values()) for each in rows(views_over(lake), f"SELECT {columns} FROM line_weeks")]
    assert found == [
        ("new", weeks[2], 19, 1.5, 1.25, False, True),  # too few calls to say that it drifted
        ("old", weeks[1], 20, 1.5, 1.25, True, False),
        ("old", weeks[0], 20, 1.0, 1.25, False, False),
    ]


# Calls


def test_calls_are_lean_and_say_where_to_listen(good, lake):
    write(lake, "runs", [run_row(recordings_uri="s3://calls")], chunk="r1")
    found = {row["call_id"]: row for row in rows(good, "FROM calls")}
    assert list(found["angry"])[:3] == ["dominant_emotion", "call_anger", "share_anger"] and len(found["angry"]) <= 24
    angry_one = found["angry"]
    assert (angry_one["queue"], angry_one["call_date"], angry_one["outcome"]) == ("sales", DAY, "scored")
    [row] = rows(good, "SELECT peak_anger_at_s, share_anger, key FROM call_emotions WHERE call_id = 'angry'")
    assert angry_one["share_anger"] == row["share_anger"]
    assert angry_one["moment"] == f"00:{int(row['peak_anger_at_s']):02}"
    assert angry_one["recording_link"] == f"s3://calls/{row['key']}#t={row['peak_anger_at_s']}"
    assert found["silent"]["share_anger"] is None and found["silent"]["moment"] is None


def test_calls_show_no_emotion_of_an_agent(over):
    agent = call("of-agent", anger=0.9, emotion_role="agent", call_anger=0.9, call_anger_at_s=3.0, escalated=True, dominant_emotion="anger")
    [row] = rows(over([agent]), "FROM calls")
    columns = ("dominant_emotion", "call_anger", "share_anger", "share_neutral", "share_negative", "share_unsure", "escalated", "moment")
    assert {row[name] for name in columns} == {None} and row["call_id"] == "of-agent"


LISTS_OF_CALLS = (
    "calls",
    "worst_calls",
    "calls_by_anger_rank",
    "best_calls",
    "escalations",
    "repeat_caller_calls",
    "mood_turns",
    "review_queue",
    "words",
)


def test_every_list_of_calls_has_moment_and_link(good):
    for name in LISTS_OF_CALLS:
        assert {"moment", "recording_link"} <= set(good.table(name).columns), name
    listing = [name for name in MARTS if {"recording_id", "to_recording_id"} & set(good.table(name).columns)]
    assert sorted(listing) == sorted(LISTS_OF_CALLS)


def test_review_queue(over, lake):
    """Every drawn call and stretch in the queue's order, with where to listen; without what would tell a judge what the model thinks."""
    write(lake, "runs", [run_row(recordings_uri="s3://calls")], chunk="r1")
    made = [call("loud", call_anger=0.8, call_anger_at_s=75.25), call("calm", peak_anger_at_s=4.0), Call("gone", [], outcome="withheld")]
    views = over(made)
    drawn = {"sample_id": "s1", "drawn_at": NIGHT, "etag": "e1", "score": 0.5, "inclusion_probability": 1.0, "stratum": "random"}
    samples = [
        lakes.row(
            "review_samples",
            **drawn,
            recording_id=f"id-{name}",
            call_id=name,
            position=position,
            channel=channel,
            start_s=start_s,
            end_s=end_s,
        )
        for name, position, channel, start_s, end_s in (
            ("calm", 1, None, None, None),
            ("loud", 2, None, None, None),
            ("loud", 2, 1, 20.0, 24.0),
            ("gone", 3, None, None, None),
        )
    ]
    write(lake, "review_samples", samples)
    judged = {"verdict": "agree", "emotion": "anger", "reviewed_at": NIGHT, "recording_id": "id-loud", "etag": "e1", "call_id": "loud"}
    of_stretch = {"channel": 1, "start_s": 20.0, "end_s": 24.0}
    reviews = [judged | {"review_id": "r1", "reviewer": "ann"}, judged | {"review_id": "r2", "reviewer": "ben"}]
    reviews.append(judged | of_stretch | {"review_id": "r3", "reviewer": "ann"})
    write(lake, "reviews", [lakes.row("reviews", **each) for each in reviews])
    found = rows(views_over(lake), "FROM review_queue")
    assert [(row["position"], row["call_id"], row["moment"], row["reviewers"]) for row in found] == [
        (1, "calm", "00:04", 0),
        (2, "loud", "01:15", 2),
        (2, "loud", "00:20", 1),
    ]
    assert [row["recording_link"] for row in found[1:]] == [f"s3://calls/{DAY}/loud.wav#t={at}" for at in ("75.3", "20.0")]
    assert not [name for name in found[0] if re.search("score|stratum|anger|emotion|probability", name)]
    views.close()


def test_week_on_week_names_no_change_that_goes_with_unsure(over):
    """Anger is 0.4 of what is sure in both weeks, and unsure rises from none to three quarters."""
    days = [MONDAY + timedelta(days=i % 5) for i in range(60)]
    before = [call(day=day - timedelta(days=7), anger=0.4) for day in days]
    [row] = rows(over(before + [call(day=day, anger=0.1, unsure=0.75) for day in days]), "FROM week_on_week")
    assert row["verdict"] == "not among what is sure" and row["p_adjusted"] < 0.05
    assert [row["share_anger_of_sure"], row["share_anger_of_sure_before"]] == pytest.approx([0.4, 0.4], abs=1e-6)


def test_week_on_week_compares_within_languages(over):
    days = [MONDAY + timedelta(days=i % 5) for i in range(60)]
    before = [call(day=day - timedelta(days=7), anger=0.1, language="de") for day in days]
    [row] = rows(over(before + [call(day=day, anger=0.5, language="fr") for day in days]), "FROM week_on_week")
    assert row["verdict"] == "other codec, cannot tell" and row["share_comparable"] == 0


def test_contact_lens_conversational_analytics_has_the_names_of_amazon_connect(over):
    """In Amazon's order: docs.aws.amazon.com/connect/latest/adminguide/data-lake-contact-analytics-data.html"""
    names = [
        "aws_account_id",
        "version",
        "instance_id",
        "instance_arn",
        "contact_id",
        "channel",
        "language_locale",
        "feature",
        "categories",
        "disconnect_timestamp",
        "greeting_time_agent_ms",
        "non_talk_time_total_ms",
        "talk_time_total_ms",
        "talk_time_agent_ms",
        "talk_time_customer_ms",
        "total_conversation_duration_ms",
        "talk_speed_agent_wpm",
        "talk_speed_customer_wpm",
        "interruptions_time_total_ms",
        "interruptions_time_agent_ms",
        "interruptions_time_customer_ms",
        "interruptions_total_count",
        "interruptions_agent_count",
        "interruptions_customer_count",
        "sentiment_overall_score_agent",
        "sentiment_overall_score_customer",
        "sentiment_interaction_score_customer_with_agent",
        "sentiment_interaction_score_customer_without_agent",
        "sentiment_end_score_agent",
        "sentiment_end_score_customer",
        "response_time_average_agent_ms",
        "response_time_average_customer_ms",
        "response_time_maximum_agent_ms",
        "response_time_maximum_customer_ms",
        "data_lake_last_processed_timestamp",
    ]
    facts = {"silence_s": 30.0, "agent_speech_s": 40.5, "customer_speech_s": 32.0, "overlap_s": 2.5, "language": "de-DE"}
    facts |= {"interruptions_by_agent": 2, "interruptions_by_customer": 1}
    of_customer, of_agent = call("a", anger=0.4, unsure=0.2, **facts), call("b", anger=0.9, emotion_role="agent")
    connection = over([of_customer, of_agent])
    assert connection.table("contact_lens_conversational_analytics").columns == names
    row, agents = rows(connection, "FROM contact_lens_conversational_analytics ORDER BY contact_id")
    assert {name: value for name, value in row.items() if value is not None} == {
        **{"version": "post call", "contact_id": "a", "channel": "VOICE", "language_locale": "de-DE"},
        "feature": "contact_lens_conversational_analytics",
        "disconnect_timestamp": datetime(2026, 11, 20, 9, 1, 40, tzinfo=UTC),
        **{"non_talk_time_total_ms": 30_000, "talk_time_total_ms": 70_000, "talk_time_agent_ms": 40_500, "talk_time_customer_ms": 32_000},
        **{"total_conversation_duration_ms": 100_000, "interruptions_time_total_ms": 2_500, "interruptions_total_count": 3},
        **{"interruptions_agent_count": 2, "interruptions_customer_count": 1},
        "sentiment_overall_score_customer": pytest.approx(-2.0),
        "data_lake_last_processed_timestamp": row["data_lake_last_processed_timestamp"],
    }
    assert agents["sentiment_overall_score_customer"] is None
