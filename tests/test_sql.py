"""The SELECTs under sql/: newest versions, marts against figures worked out by hand, checks against planted offences."""

import math
from datetime import timedelta

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
from making_lake import (
    DAY,
    MODEL,
    NEWER_MODEL,
    NIGHT,
    Call,
    angry,
    good_calls,
    run_row,
    segment,
    worse,
    write,
    write_calls,
    write_good_lake,
)

from ser_tasks import catalog, schemas
from ser_tasks.policy import POLICIES

LATER = {"planned_at": NIGHT + timedelta(days=1), "scored_at": NIGHT + timedelta(days=1, minutes=5)}


@pytest.fixture
def lake(tmp_path):
    return str(tmp_path / "lake")


@pytest.fixture
def good(lake):
    write_good_lake(lake)
    return catalog.connect(lake)


def rows(connection, sql):
    return catalog.query(connection, sql).to_pylist()


def test_the_good_lake_passes_every_check(good):
    assert catalog.run_checks(good) == {path.stem: 0 for path in (catalog.SQL_FOLDER / "checks").glob("*.sql")}


@pytest.mark.parametrize("path", catalog._sql_files(), ids=lambda path: path.stem)
def test_a_file_is_one_select_that_says_what_it_answers(path):
    sql = path.read_text(encoding="utf-8")
    assert [statement.type for statement in duckdb.extract_statements(sql)] == [duckdb.StatementType.SELECT]
    question, grain, units = sql.splitlines()[:3]
    assert question.startswith("-- ") and question.endswith("?")
    assert grain.startswith("-- Grain: ") and units.startswith("-- Units: ")
    assert not sql.rstrip().endswith(";")


def test_every_file_is_a_view_of_its_own_in_a_known_folder():
    files = list(catalog.SQL_FOLDER.rglob("*.sql"))
    assert {path.parent.name for path in files} == {*catalog.FOLDERS, "macros", "alerts"}
    assert len({path.stem for path in files}) == len(files)


def test_staging_has_every_column_of_its_table(good):
    for table, schema in schemas.TABLES.items():
        expected = schema.names + list(schemas.PARTITIONS[table])
        assert good.table(table).columns == expected
        if table not in ("runs", "deletions", "alerts"):
            assert good.table(f"{table}_all").columns == expected


def test_no_mart_names_an_agent(good):
    for view in catalog.views():
        if view.folder == "marts":
            assert not [column for column in good.table(view.name).columns if "agent" in column]


# Newest versions


def test_a_new_model_hides_the_old_one_everywhere(lake):
    write_good_lake(lake)
    newer = angry(model=NEWER_MODEL, **LATER)
    newer.segments = newer.segments[:1]
    write_calls(lake, [newer])
    connection = catalog.connect(lake)
    newest = {"call_emotions": 1, "segments": 1, "outcomes": 1}
    both = {"call_emotions": 2, "segments": 5, "outcomes": 2}
    for table in newest:
        found = rows(connection, f"SELECT model FROM {table} WHERE recording_id = 'id-angry'")
        assert [each["model"] for each in found] == [NEWER_MODEL] * newest[table]
        assert len(rows(connection, f"FROM {table}_all WHERE recording_id = 'id-angry'")) == both[table]
        others = rows(connection, f"SELECT DISTINCT model FROM {table} WHERE call_id = 'worse'")
        assert others == [{"model": MODEL}]


def test_a_new_policy_is_a_new_version(lake):
    old, new = angry(), Call("angry", [], outcome="withheld", policy="customers_with_notice", reason_code="notice_unknown", **LATER)
    write_calls(lake, [old, new])
    connection = catalog.connect(lake)
    assert rows(connection, "SELECT outcome, policy FROM call_emotions") == [{"outcome": "withheld", "policy": "customers_with_notice"}]
    assert rows(connection, "FROM segments") == []


def test_a_second_upload_replaces_the_first(lake):
    write_calls(lake, [angry(), Call("angry", [segment(0, 1, (0.7, 0.1, 0.1, 0.1))], etag="e2", chunk="c2", **LATER)])
    connection = catalog.connect(lake)
    assert rows(connection, "SELECT etag FROM recordings") == [{"etag": "e2"}]
    assert rows(connection, "SELECT etag, start_s FROM segments") == [{"etag": "e2", "start_s": 0.0}]
    assert rows(connection, "SELECT etag, scored_speech_s FROM call_emotions") == [{"etag": "e2", "scored_speech_s": 1.0}]
    assert len(rows(connection, "FROM call_emotions_all")) == len(rows(connection, "FROM recordings_all")) == 2
    assert sum(catalog.run_checks(connection).values()) == 0


def test_scoring_an_older_upload_again_does_not_make_it_the_newest(lake):
    second_upload = angry(etag="e2", chunk="c2", **LATER)
    backfill = angry(model=NEWER_MODEL, scored_at=NIGHT + timedelta(days=9))
    write_calls(lake, [angry(), second_upload])
    write(lake, "outcomes", [backfill.outcome], version=backfill.version)
    connection = catalog.connect(lake)
    assert rows(connection, "SELECT etag, model FROM outcomes") == [{"etag": "e2", "model": second_upload.outcome["model"]}]


def test_a_broken_second_upload_does_not_bring_the_first_back(lake):
    write_calls(lake, [angry(), Call("angry", [], outcome="quarantined", reason_code="empty", etag="e2", chunk="c2", **LATER)])
    connection = catalog.connect(lake)
    assert rows(connection, "SELECT outcome FROM outcomes") == [{"outcome": "quarantined"}]
    assert rows(connection, "FROM call_emotions") == rows(connection, "FROM segments") == []
    assert sum(catalog.run_checks(connection).values()) == 0


def test_a_planned_upload_does_not_hide_the_first_before_it_is_handled(lake):
    write_calls(lake, [angry()])
    write(lake, "recordings", [angry(etag="e2", chunk="c2", **LATER).recording], chunk="c2")
    connection = catalog.connect(lake)
    assert rows(connection, "SELECT etag FROM call_emotions") == [{"etag": "e1"}]
    assert rows(connection, "SELECT etag FROM recordings") == [{"etag": "e2"}]


# Intervals


def interval(shares, seconds):
    """What sql/macros/ should say of calls with these shares: written out once more, from the formulas."""
    shares, seconds = np.array(shares, float), np.array(seconds, float)
    calls, total = len(shares), seconds.sum()
    share = float((shares * seconds).sum() / total)
    if 0 < share < 1:
        t = scipy.stats.t.ppf(0.975, max(1, calls - 1)) / 1.959963985
        variance = calls * (seconds**2 * (shares - share) ** 2).sum() / total**2  # times calls - 1
        most = share * (1 - share) * (seconds**2).sum() / total**2
        n = share * (1 - share) * (calls + 1) / (t**2 * variance + 2 * most)
    else:
        n = total**2 / (seconds**2).sum()
    return wilson(share, n)


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
    assert {name: value for name, value in shares.items() if not name.endswith(("_low", "_high"))} == pytest.approx(
        {f"share_{name}": value for name, value in expected.items()}
    )
    assert len(shares) == 3 * len(expected)
    assert (sales["share_anger_low"], sales["share_anger_high"]) == pytest.approx(interval([0.4, 0.5], [10, 8]), abs=1e-6)
    assert (sales["share_sadness_low"], sales["share_sadness_high"]) == pytest.approx(interval([0, 0], [10, 8]), abs=1e-6)
    assert support.items() >= {"calls": 1, "scored": 0, "withheld": 1, "scored_speech_s": 0}.items()
    assert support["share_anger"] is support["share_unsure"] is None


def test_angriest_calls(good):
    found = rows(good, "FROM angriest_calls")
    assert [row["call_id"] for row in found] == ["worse", "angry"]  # half of the scored speech against 4 of 10 s
    assert [row["share_anger"] for row in found] == pytest.approx([0.5, 0.4])
    assert [row["mean_p_anger"] for row in found] == pytest.approx([0.5, 0.44])
    assert [(row["peak_anger"], row["peak_anger_at_s"]) for row in found] == [(pytest.approx(0.9), 16), (pytest.approx(0.8), 2)]


def test_agents_are_not_among_the_angriest_or_the_escalated(lake):
    segments = [segment(0, 4, (0.0, 0.9, 0.1, 0.0), role="agent"), segment(16, 20, (0.9, 0.0, 0.1, 0.0), role="agent")]
    write_calls(lake, [Call("shouting", segments, policy="everyone", emotion_role="agent", duration_s=20.0)])
    connection = catalog.connect(lake)
    assert rows(connection, "SELECT escalated FROM call_emotions") == [{"escalated": True}]
    assert rows(connection, "FROM angriest_calls") == rows(connection, "FROM escalations") == []


def test_escalations(good):
    (row,) = rows(good, "FROM escalations")
    assert (row["call_id"], row["peak_anger_at_s"]) == ("worse", 16)
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
    found = {row["codec"]: row for row in rows(catalog.connect(lake), "FROM quality_by_source")}
    assert found["GSM610"].items() >= {"recordings": 1, "scored": 1, "with_note": 1, "mean_snr_db": 30, "scored_speech_s": 10}.items()
    assert found["GSM610"]["share_unsure"] == pytest.approx(0.2)
    assert found["ULAW"].items() >= {"recordings": 3, "scored": 1, "no_speech": 1, "withheld": 1, "with_note": 0}.items()
    assert found["ULAW"]["mean_snr_db"] == pytest.approx((8 * 30 + 4 * 10) / 12)


def test_runs_overview(lake):
    idle = dict.fromkeys(["fetch_s", "decode_s", "speech_s", "features_s", "score_s", "write_s"], 0.0)
    write(lake, "runs", [run_row()], chunk="r1")
    write(lake, "runs", [run_row(run_id="r2", started_at=NIGHT + timedelta(days=1), **idle)], chunk="r2")
    second, first = rows(catalog.connect(lake), "FROM runs_overview")
    assert (second["run_id"], first["run_id"]) == ("r2", "r1")
    assert first["share_speech"] == pytest.approx(0.4) and first["audio_h"] == pytest.approx(0.05)
    assert second["share_speech"] is None


# Checks: each offence is planted in an otherwise good call, and only its own checks may speak


def change(**changes):
    def spoil(call, lake):
        call.segments[0] |= changes

    return spoil


def change_facts(**changes):
    def spoil(call, lake):
        call.facts |= changes

    return spoil


def without_facts(call, lake):
    call.facts = None


def without_segments(call, lake):
    call.segments = []


def second_segment(call, lake):
    call.segments.append(call.segments[0] | {"start_s": 5.9, "end_s": 7.0})


def again(table):
    def spoil(call, lake):
        write(lake, table, call.rows[table], chunk="c2")

    return spoil


def planned_only(call, lake):
    write(lake, "recordings", [call.recording | {"etag": "e0", "planned_at": NIGHT - timedelta(days=1)}], chunk="c0")


OFFENCES = {
    "planned, no outcome": (planned_only, {"recordings_without_outcome"}),
    "planned twice": (again("recordings"), {"recordings_planned_twice"}),
    "two outcomes": (again("outcomes"), {"outcomes_doubled"}),
    "two rows of a call": (again("call_emotions"), {"call_emotions_doubled"}),
    "no row of a call": (without_facts, {"outcomes_without_rows"}),
    "no segments": (without_segments, {"outcomes_without_rows", "peak_anger_not_found"}),
    "probability above 1": (change(p_happiness=1.1, p_sadness=-1.0), {"bad_probabilities"}),
    "probability NaN": (change(p_sadness=float("nan")), {"bad_probabilities"}),
    "sum below 1": (change(p_neutral=0.05), {"bad_probabilities"}),
    "wrong confidence": (change(confidence=0.6), {"bad_probabilities"}),
    "probabilities without an emotion": (change(emotion=None), {"bad_probabilities", "peak_anger_not_found"}),
    "shares above 1": (change_facts(share_sadness=0.3), {"bad_shares"}),
    "negative share": (change_facts(share_sadness=-0.2, share_unsure=0.4), {"bad_shares"}),
    "scored without shares": (change_facts(**{f"share_{each}": None for each in (*schemas.EMOTIONS, "unsure")}), {"bad_shares"}),
    "agent scored": (change(role="agent"), {"emotion_against_policy", "peak_anger_not_found"}),
    "agent's summary": (change_facts(emotion_role="agent"), {"emotion_against_policy", "peak_anger_not_found"}),
    "no notice": (change_facts(notice_given=False), {"emotion_without_notice"}),
    "after the end": (change(end_s=41.0, start_s=40.2), {"segments_outside_the_call", "peak_anger_not_found"}),
    "before the start": (change(start_s=-1.0), {"segments_outside_the_call", "peak_anger_not_found"}),
    "backwards": (change(end_s=1.0), {"segments_outside_the_call"}),
    "overlapping": (second_segment, {"segments_overlapping"}),
    "peak of nowhere": (change_facts(peak_anger=0.95), {"peak_anger_not_found"}),
    "peak at another time": (change_facts(peak_anger_at_s=20.0), {"peak_anger_not_found"}),
    "no peak": (change_facts(peak_anger=None, peak_anger_at_s=None), {"peak_anger_not_found"}),
}


@pytest.mark.parametrize("offence", OFFENCES)
def test_an_offence_is_found_by_its_checks_alone(lake, offence):
    spoil, expected = OFFENCES[offence]
    call = angry()
    spoil(call, lake)
    write_calls(lake, [call, worse()])
    connection = catalog.connect(lake)
    found = catalog.run_checks(connection)
    assert {name for name, count in found.items() if count} == expected
    for name in expected:
        offenders = rows(connection, f"FROM {name}")
        assert list(offenders[0]) == ["what", "call_id", "detail"]
        assert len(offenders) == found[name] and all(row["what"] and row["detail"] for row in offenders)
        assert {row["call_id"] for row in offenders} <= {"angry", None}


def test_every_check_has_an_offence():
    caught = set().union(*(expected for _, expected in OFFENCES.values()))
    assert caught == {view.name for view in catalog.views() if view.folder == "checks"}


@pytest.mark.parametrize("role", schemas.ROLES)
@pytest.mark.parametrize("policy", POLICIES)
def test_the_policy_check_agrees_with_the_policies(lake, policy, role):
    segments = [segment(2, 6, (0.8, 0.0, 0.1, 0.1), role=role)]
    write_calls(lake, [Call("one", segments, policy=policy, emotion_role=role)])
    found = catalog.run_checks(catalog.connect(lake))
    assert found["emotion_against_policy"] == (0 if role in POLICIES[policy].roles else 1)


def test_a_policy_that_nobody_knows_allows_nobody(lake):
    write_calls(lake, [angry(policy="whatever")])
    assert catalog.run_checks(catalog.connect(lake))["emotion_against_policy"] == 1


@pytest.mark.parametrize("notice_given", [True, False, None])
@pytest.mark.parametrize("policy", POLICIES)
def test_the_notice_check_agrees_with_the_policies(lake, policy, notice_given):
    write_calls(lake, [angry(policy=policy, notice_given=notice_given)])
    refused = POLICIES[policy].refusal("customer", notice_given) is not None
    assert catalog.run_checks(catalog.connect(lake))["emotion_without_notice"] == refused
