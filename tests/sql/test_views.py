"""The SELECTs under sql/: their form, newest versions, checks against planted offences. Marts: test_marts.py."""

from datetime import timedelta

import duckdb
import pytest

from ser_tasks import schemas
from ser_tasks.calls.policy import POLICIES
from ser_tasks.lake import catalog, read_only, sql_views
from ser_tasks.partitions import PARTITIONS
from tests.factories.lakes import (
    DAY,
    MODEL,
    NEWER_MODEL,
    NIGHT,
    Call,
    angry,
    segment,
    views_over,
    worse,
    write,
    write_calls,
    write_good_lake,
)

LATER = {"planned_at": NIGHT + timedelta(days=1), "scored_at": NIGHT + timedelta(days=1, minutes=5)}


def rows(connection, sql):
    return read_only.query(connection, sql).to_pylist()


def test_the_good_lake_passes_every_check(good):
    assert catalog.run_checks(good) == {path.stem: 0 for path in (sql_views.SQL_FOLDER / "checks").glob("*.sql")}


@pytest.mark.parametrize("path", sql_views.sql_files(), ids=lambda path: path.stem)
def test_a_file_is_one_select_that_says_what_it_answers(path):
    sql = path.read_text(encoding="utf-8")
    assert [statement.type for statement in duckdb.extract_statements(sql)] == [duckdb.StatementType.SELECT]
    question, grain, units = sql.splitlines()[:3]
    assert question.startswith("-- ") and question.endswith("?")
    assert grain.startswith("-- Grain: ") and units.startswith("-- Units: ")
    assert not sql.rstrip().endswith(";")


def test_every_file_is_a_view_of_its_own_in_a_known_folder():
    files = list(sql_views.SQL_FOLDER.rglob("*.sql"))
    assert {path.parent.name for path in files} == {*sql_views.FOLDERS, "macros", "alerts"}
    assert len({path.stem for path in files}) == len(files)


def test_staging_has_every_column_of_its_table(good):
    for table, schema in schemas.TABLES.items():
        expected = schema.names + list(PARTITIONS[table])
        expected += ["label"] if table == "segments" else []
        assert good.table(table).columns == expected
        if table not in ("runs", "profiles", "deletions", "alerts", "reviews", "review_samples"):
            assert good.table(f"{table}_all").columns == expected


def test_a_label_is_no_emotion_where_the_model_is_unsure(lake):
    sure, unsure, unscored = (0.9, 0.0, 0.1, 0.0), (0.4, 0.3, 0.2, 0.1), None
    write_calls(lake, [Call("one", [segment(0, 1, sure), segment(2, 3, unsure), segment(4, 5, unscored, role="agent")], queue="billing")])
    connection = views_over(lake)
    for view in ("segments", "segments_all"):
        assert rows(connection, f"SELECT emotion, label, queue, call_date FROM {view} ORDER BY start_s") == [
            {"emotion": "anger", "label": "anger", "queue": "billing", "call_date": DAY},
            {"emotion": "anger", "label": "unsure", "queue": "billing", "call_date": DAY},
            {"emotion": None, "label": None, "queue": "billing", "call_date": DAY},
        ]
    known = sql_views.meanings(next(view for view in sql_views.all_views() if view.name == "segments"))
    assert "unsure" in known["emotion"] and "take label" in known["emotion"] and "else unsure" in known["label"]


# Newest versions


def test_a_new_model_hides_the_old_one_everywhere(lake):
    write_good_lake(lake)
    newer = angry(model=NEWER_MODEL, **LATER)
    newer.segments = newer.segments[:1]
    write_calls(lake, [newer])
    connection = views_over(lake)
    newest = {"call_emotions": 1, "segments": 1, "outcomes": 1}
    both = {"call_emotions": 2, "segments": 5, "outcomes": 2}
    for table, count in newest.items():
        found = rows(connection, f"SELECT model FROM {table} WHERE recording_id = 'id-angry'")
        assert [each["model"] for each in found] == [NEWER_MODEL] * count
        assert len(rows(connection, f"FROM {table}_all WHERE recording_id = 'id-angry'")) == both[table]
        others = rows(connection, f"SELECT DISTINCT model FROM {table} WHERE call_id = 'worse'")
        assert others == [{"model": MODEL}]


def test_a_new_policy_is_a_new_version(lake):
    old, new = angry(), Call("angry", [], outcome="withheld", policy="customers_with_notice", reason_code="notice_unknown", **LATER)
    write_calls(lake, [old, new])
    connection = views_over(lake)
    assert rows(connection, "SELECT outcome, policy FROM call_emotions") == [{"outcome": "withheld", "policy": "customers_with_notice"}]
    assert rows(connection, "FROM segments") == []


def test_a_second_upload_replaces_the_first(lake):
    write_calls(lake, [angry(), Call("angry", [segment(0, 1, (0.7, 0.1, 0.1, 0.1))], etag="e2", chunk="c2", **LATER)])
    connection = views_over(lake)
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
    connection = views_over(lake)
    assert rows(connection, "SELECT etag, model FROM outcomes") == [{"etag": "e2", "model": second_upload.outcome["model"]}]


def test_a_broken_second_upload_does_not_bring_the_first_back(lake):
    write_calls(lake, [angry(), Call("angry", [], outcome="quarantined", reason_code="empty", etag="e2", chunk="c2", **LATER)])
    connection = views_over(lake)
    assert rows(connection, "SELECT outcome FROM outcomes") == [{"outcome": "quarantined"}]
    assert rows(connection, "FROM call_emotions") == rows(connection, "FROM segments") == []
    assert sum(catalog.run_checks(connection).values()) == 0


def test_a_planned_upload_does_not_hide_the_first_before_it_is_handled(lake):
    write_calls(lake, [angry()])
    write(lake, "recordings", [angry(etag="e2", chunk="c2", **LATER).recording], chunk="c2")
    connection = views_over(lake)
    assert rows(connection, "SELECT etag FROM call_emotions") == [{"etag": "e1"}]
    assert rows(connection, "SELECT etag FROM recordings") == [{"etag": "e2"}]


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


def copied(call, lake, **changes):
    """Writes a second recording of the call, ``id-copy``."""
    for table, made in call.rows.items():
        own = {"recording_id": "id-copy", "chunk_id": "c3"} | ({"key": "copy.mp3"} if table != "segments" else {})
        write(lake, table, [row | own | (changes if table == "call_emotions" else {}) for row in made], chunk="c3")


OFFENCES = {
    "two formats of a call": (copied, {"calls_recorded_twice"}),
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
    connection = views_over(lake)
    found = catalog.run_checks(connection)
    assert {name for name, count in found.items() if count} == expected
    for name in expected:
        offenders = rows(connection, f"FROM {name}")
        assert list(offenders[0]) == ["what", "call_id", "detail"]
        assert len(offenders) == found[name] and all(row["what"] and row["detail"] for row in offenders)
        assert {row["call_id"] for row in offenders} <= {"angry", None}


@pytest.mark.parametrize(
    ("changes", "counted"),
    [
        ({}, 1),
        ({"started_at": NIGHT.replace(day=20, hour=9, minute=0, second=30)}, 1),  # the second leg starts later
        ({"started_at": NIGHT.replace(day=20, hour=9, minute=0, second=40)}, 2),  # the first one has ended: a call's next part
        ({"started_at": None}, 1),
        ({"started_at": None, "duration_s": 42.0}, 2),
        ({"call_date": NIGHT.date() + timedelta(days=9)}, 2),
        ({"call_id": "other"}, 2),
        ({"call_id_source": "key", "call_id": "x/CUST_~"}, 2),
    ],
)
def test_formats_and_legs_of_one_call_are_counted_once(lake, changes, counted):
    call = angry()
    call.facts |= {"started_at": NIGHT.replace(day=20, hour=9, minute=0, second=0), "duration_s": 40.0}
    if "call_id_source" in changes:  # of keys with masked people, two may be two calls
        call.facts |= changes
    copied(call, lake, **changes, outcome="withheld", emotion_role=None, scored_speech_s=None)
    write_calls(lake, [call])
    connection = views_over(lake)
    assert sum(row["calls"] for row in rows(connection, "FROM calls_by_day_and_queue")) == counted
    assert {row["recording_id"] for row in rows(connection, "FROM counted_calls")} == {"id-angry", "id-copy"} - (
        {"id-copy"} if counted == 1 else set()
    )
    assert rows(connection, "FROM copies") == [{"call_id": "angry", "recording_id": "id-copy", "counted_by": "id-angry"}][: 2 - counted]


def test_every_check_has_an_offence():
    caught = set().union(*(expected for _, expected in OFFENCES.values()))
    assert caught == {view.name for view in sql_views.all_views() if view.folder == "checks"}


def offenders(lake, check: str, calls: dict[str, dict]) -> list[str]:
    """The calls that a check names in a lake of these calls, each with 4 s of anger and these facts, in a part of its own."""
    for number, (name, facts) in enumerate(calls.items()):
        spoken = [segment(2, 6, (0.8, 0.0, 0.1, 0.1), role=facts.get("emotion_role", "customer"))]
        write_calls(lake, [Call(name, spoken, chunk=f"c{number}", **facts)])
    connection = views_over(lake)
    found = [row["call_id"] for row in rows(connection, f"FROM {check}")]
    assert catalog.run_checks(connection)[check] == len(found)
    return sorted(found)


def test_the_policy_check_agrees_with_the_policies(lake):
    calls = {f"{policy} {role}": {"policy": policy, "emotion_role": role} for policy in POLICIES for role in schemas.ROLES}
    forbidden = [name for name, of in calls.items() if of["emotion_role"] not in POLICIES[of["policy"]].roles]
    assert offenders(lake, "emotion_against_policy", calls) == sorted(forbidden)


def test_a_policy_that_nobody_knows_allows_nobody(lake):
    write_calls(lake, [angry(policy="whatever")])
    assert catalog.run_checks(views_over(lake))["emotion_against_policy"] == 1


def test_the_notice_check_agrees_with_the_policies(lake):
    calls = {f"{policy} {given}": {"policy": policy, "notice_given": given} for policy in POLICIES for given in (True, False, None)}
    forbidden = [name for name, of in calls.items() if POLICIES[of["policy"]].refusal("customer", of["notice_given"]) is not None]
    assert offenders(lake, "emotion_without_notice", calls) == sorted(forbidden)
