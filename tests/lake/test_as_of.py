"""As-of queries: every view can be asked for what was known at an earlier moment."""

from datetime import datetime, timedelta, timezone

import duckdb
import pytest

from ser_tasks import schemas
from ser_tasks.lake import catalog
from ser_tasks.maintenance.compaction import compact
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from tests.factories.lakes import DAY, MODEL, NEWER_MODEL, NIGHT, Call, angry, row, run_row, segment, worse, write, write_calls

DAY_1, DAY_3, DAY_4 = NIGHT, NIGHT + timedelta(days=2), NIGHT + timedelta(days=3)
HALF_DAY = timedelta(hours=12)


def made(planned_at: datetime, scored_at: datetime | None = None) -> dict:
    return {"planned_at": planned_at, "scored_at": (scored_at or planned_at) + timedelta(minutes=5)}


@pytest.fixture
def lake(tmp_path):
    """A recording scored by one model on day 1, by another on day 3, uploaded again on day 4; another call of day 1; three runs."""
    lake = str(tmp_path / "lake")
    calmer = [segment(0, 9, (0.1, 0.1, 0.7, 0.1))]
    write_calls(lake, [angry(**made(DAY_1)), worse(chunk="c2", **made(DAY_1))])
    write_calls(lake, [Call("angry", calmer, model=NEWER_MODEL, **made(DAY_1, DAY_3))])
    write_calls(lake, [Call("angry", [segment(0, 1, (0.2, 0.7, 0.1, 0.0))], etag="e2", chunk="c3", **made(DAY_4))])
    for number, moment in enumerate((DAY_1, DAY_3, DAY_4), 1):
        write(lake, "runs", [run_row(run_id=f"r{number}", started_at=moment, ended_at=moment + timedelta(minutes=9))], chunk=f"r{number}")
    deletion = row("deletions", table_name="reports", parts=1, size_bytes=9, deleted_at=DAY_4)
    write(lake, "deletions", [deletion], day=DAY - timedelta(days=400), chunk="d1")
    return lake


BELIEVED = [
    # asked at, model and etag of the call, its share of anger, segments of it, outcomes_all, recordings_all, runs, deletions
    (DAY_1 - HALF_DAY, None, None, None, 0, 0, 0, 0, 0),
    (DAY_1 + HALF_DAY, MODEL, "e1", 0.4, 4, 2, 2, 1, 0),
    (DAY_3 + HALF_DAY, NEWER_MODEL, "e1", 0.0, 1, 3, 2, 2, 0),
    (DAY_4 + HALF_DAY, MODEL, "e2", 0.0, 1, 4, 3, 3, 1),
    (None, MODEL, "e2", 0.0, 1, 4, 3, 3, 1),
]


def believed(connection: duckdb.DuckDBPyConnection) -> tuple:
    one = connection.execute("SELECT model, etag, share_anger FROM call_emotions WHERE call_id = 'angry'").fetchone() or (None, None, None)
    counts = [
        connection.execute(f"SELECT count(*) FROM {rows}").fetchone()[0]
        for rows in ("segments WHERE call_id = 'angry'", "outcomes_all", "recordings_all", "runs", "deletions")
    ]
    return (*one[:2], None if one[2] is None else pytest.approx(one[2]), *counts)


@pytest.mark.parametrize("merged", [False, True], ids=["small parts", "merged"])
def test_each_day_is_asked_for_what_was_believed_then(lake, merged):
    if merged:
        assert compact(open_store(lake), Settings(), -36_500, 0, 0).merged == 3
    for as_of, *expected in BELIEVED:
        assert believed(catalog.connect(lake, as_of=as_of)) == tuple(expected), as_of


def test_the_upload_that_counts_is_the_one_of_then(lake):
    for as_of, etag in ((DAY_3, "e1"), (DAY_4, "e2")):
        assert catalog.connect(lake, as_of=as_of).sql("SELECT etag FROM recordings WHERE recording_id = 'id-angry'").fetchall() == [(etag,)]


def test_marts_and_checks_are_asked_as_of_a_day_too(lake):
    assert catalog.connect(lake, as_of=DAY_1 + HALF_DAY).sql("SELECT call_id FROM worst_calls").fetchall() == [("worse",), ("angry",)]
    then = catalog.connect(lake, as_of=DAY_3 + HALF_DAY)
    assert then.sql("SELECT share_anger FROM worst_calls WHERE call_id = 'angry'").fetchall() == [(0.0,)]
    assert set(catalog.run_checks(then).values()) == {0}


def test_a_moment_without_a_zone_is_utc_and_one_with_a_zone_is_its_own(lake):
    just_scored = (DAY_3 + timedelta(minutes=5)).replace(tzinfo=None)
    elsewhere = just_scored.replace(tzinfo=timezone(timedelta(hours=-3)))
    assert believed(catalog.connect(lake, as_of=just_scored))[0] == NEWER_MODEL
    assert believed(catalog.connect(lake, as_of=just_scored - timedelta(seconds=1)))[0] == MODEL
    assert believed(catalog.connect(lake, as_of=elsewhere - timedelta(hours=3)))[0] == NEWER_MODEL
    assert believed(catalog.connect(lake, as_of=elsewhere - timedelta(hours=3, seconds=1)))[0] == MODEL


@pytest.mark.usefixtures("without_comments")
def test_a_bi_tool_sets_the_variable_in_the_catalogue_file(lake, tmp_path):
    out = catalog.write_catalog(lake, tmp_path / "warehouse.duckdb")
    with duckdb.connect(out, read_only=True) as connection:
        assert believed(connection) == BELIEVED[-1][1:]
        for value in ("'2026-11-23 12:00:00+00'", "TIMESTAMP '2026-11-23 12:00:00'", "DATE '2026-11-24'"):
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"SET VARIABLE as_of = {value}")
            assert believed(connection) == BELIEVED[2][1:], value
        connection.execute("RESET VARIABLE as_of")
        assert believed(connection) == BELIEVED[-1][1:]


def test_each_cursor_has_a_moment_of_its_own(lake):
    connection = catalog.connect(lake)
    then = connection.cursor()
    then.execute("SET VARIABLE as_of = TIMESTAMPTZ '2026-11-21 12:00:00+00'")
    assert (believed(then)[0:2], believed(connection)[0:2]) == ((MODEL, "e1"), (MODEL, "e2"))


def test_every_table_says_when_its_rows_were_made():
    assert catalog.MADE_AT.keys() == schemas.TABLES.keys()
    assert all(column in schemas.TABLES[table].names for table, column in catalog.MADE_AT.items())
