"""Compaction under readers, kills and nights: no row is seen twice or not at all, and what comes later works as before."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from making import TWO_SIDED, run_night, tiny_bundle, two_sided, write_call
from making_lake import DAY, Call, angry, segment, worse, write_calls

from ser_tasks import catalog, ingest, parts
from ser_tasks.compact import compact
from ser_tasks.settings import Settings
from ser_tasks.store import LocalStore, open_store

VIEWS = ("outcomes", "outcomes_all", "call_emotions", "call_emotions_all", "segments", "segments_all")
ANY_DAY = -36_500
"""Days younger than which none is, whatever the clock says."""


def small_parts(lake: str, days: int = 3, chunks: int = 6) -> None:
    """Days with a chunk for each call, and one recording uploaded again."""
    for day in range(days):
        on = DAY + timedelta(days=day)
        for number in range(chunks):
            spans = [segment(4 * n, 4 * n + 2, (0.1, 0.2, 0.3, 0.4)) for n in range(5)]
            write_calls(lake, [Call(f"{day}-{number}", spans, chunk=f"{day}{number}", day=on)])
    write_calls(lake, [Call("0-0", [segment(1, 3, (0.7, 0.1, 0.1, 0.1))], chunk="again", etag="e2", **LATER)])


LATER = {"planned_at": angry().recording["planned_at"] + timedelta(days=1), "scored_at": angry().outcome["scored_at"] + timedelta(days=1)}


def seen(connection) -> list[tuple]:
    """What a reader sees: rows and a sum over their content, by view, in one query."""
    each = [f"SELECT '{view}' AS view, count(*) AS n, sum(hash(v)) AS content FROM (FROM {view}) AS v" for view in VIEWS]
    return catalog.query(connection, " UNION ALL ".join(each) + " ORDER BY view").to_pylist()


def names(lake: str, table: str) -> list[str]:
    return sorted(parts.name_of(key) for key in parts.keys(open_store(lake), f"{table}/"))


def test_small_parts_become_one_a_day_and_every_view_reads_the_same(tmp_path):
    lake = str(tmp_path)
    small_parts(lake)
    with catalog.connect(lake) as connection:
        before = seen(connection)
        done = compact(open_store(lake), Settings(), ANY_DAY, 0, 0)
        assert (done.merged, done.into, done.deleted) == (19, 3, 57)
        assert seen(connection) == before
        assert set(catalog.run_checks(connection).values()) == {0}
    for table in ("outcomes", "segments", "call_emotions"):
        assert len(names(lake, table)) == 3 and all(name.startswith("merged-000001-") for name in names(lake, table))
    assert compact(open_store(lake), Settings(), ANY_DAY, 0, 0).merged == 0


def test_young_days_large_parts_and_chunks_that_are_tried_again_are_left_alone(tmp_path, monkeypatch):
    lake = str(tmp_path)
    write_calls(lake, [angry(chunk="c1"), worse(chunk="c2"), Call("lost", [], outcome="failed", reason_code="unreadable", chunk="c3")])
    assert compact(open_store(lake), Settings(), 100_000, 0, 0).merged == 0
    compact(open_store(lake), Settings(), ANY_DAY, 0, 0)
    assert len(names(lake, "outcomes")) == 2 and "c3" in names(lake, "outcomes")
    monkeypatch.setattr("ser_tasks.compact.MERGED_BYTES", 10)
    write_calls(lake, [Call("late", [segment(1, 3, (0.7, 0.1, 0.1, 0.1))], chunk="c4")])
    assert compact(open_store(lake), Settings(), ANY_DAY, 0, 0).merged == 0


def test_late_chunks_are_merged_with_what_was_merged_before(tmp_path):
    lake = str(tmp_path)
    small_parts(lake, days=1)
    compact(open_store(lake), Settings(), ANY_DAY, 0, 0)
    write_calls(lake, [worse(chunk="late")])
    with catalog.connect(lake) as connection:
        before = seen(connection)
        compact(open_store(lake), Settings(), ANY_DAY, 0, 0)
        assert seen(connection) == before
    [name] = names(lake, "outcomes")
    assert name.startswith("merged-000002-") and names(lake, "segments") == [name]


class Stop(BaseException):
    pass


def stopped_at(monkeypatch, count: int):
    """Writes and deletes of a local store, of which the one after ``count`` ends the process, as kill -9 would."""
    left = [count]

    def stopping(real):
        def verb(*arguments):
            if left[0] == 0:
                raise Stop
            left[0] -= 1
            return real(*arguments)

        return verb

    for name in ("write_bytes", "delete"):
        monkeypatch.setattr(LocalStore, name, stopping(getattr(LocalStore, name)))


def test_wherever_it_is_killed_readers_see_the_same_and_a_rerun_completes(tmp_path):
    whole = str(tmp_path / "whole")
    small_parts(whole, days=2, chunks=3)
    with catalog.connect(whole) as connection:
        before = seen(connection)
    compact(open_store(whole), Settings(), ANY_DAY, 0, 0)
    for stop in range(6 + 21):  # two days: 6 writes, 21 deletions
        lake = str(tmp_path / f"lake-{stop}")
        small_parts(lake, days=2, chunks=3)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
            stopped_at(patch, stop)
            compact(open_store(lake), Settings(), ANY_DAY, 0, 0)
        with catalog.connect(lake) as connection:
            assert seen(connection) == before, stop
            compact(open_store(lake), Settings(), ANY_DAY, 0, 0)
            assert seen(connection) == before, stop
        for table in ("outcomes", "segments", "call_emotions"):
            assert len(names(lake, table)) == 2, (stop, table)


READER = """
import sys
from test_compact import seen
from ser_tasks import catalog
connection = catalog.connect(sys.argv[1])
first = seen(connection)
print("ready", flush=True)
for number in range(int(sys.argv[2])):
    found = seen(connection)
    if found != first:
        sys.exit(f"query {number}: {first} became {found}")
"""


def hammer(lake: str, queries: int) -> subprocess.Popen:
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, lake, str(queries)],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert any(line == "ready\n" for line in reader.stdout), reader.stderr.read()
    return reader


@pytest.mark.parametrize("queries", [20, pytest.param(2000, marks=pytest.mark.faults)])
def test_readers_see_every_row_once_while_parts_are_merged(tmp_path, queries):
    """Compactions one after the other, each of one more day, under readers in processes of their own."""
    lake, days = str(tmp_path), 6
    small_parts(lake, days, chunks=3)
    readers = [hammer(lake, queries) for _ in range(2)]
    for day in range(days):
        older_than_days = (datetime.now(UTC).date() - DAY - timedelta(days=day + 1)).days
        assert compact(open_store(lake), Settings(), older_than_days, 1, 2).into == 1
    assert [(reader.wait(), reader.stderr.read()) for reader in readers] == [(0, "")] * 2
    assert len(names(lake, "outcomes")) == days


def test_on_s3(s3):
    open_store.cache_clear()
    lake = f"s3://{s3.bucket('lake')}/deep"
    small_parts(lake, days=2)
    with catalog.connect(lake) as connection:
        before = seen(connection)
        assert compact(open_store(lake), Settings(), ANY_DAY, 0, 0).into == 2
        assert seen(connection) == before
    assert len(names(lake, "segments")) == 2


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundles"))


def test_nights_go_on_after_compaction(bundle, tmp_path):
    """Reruns, retries, late recordings, re-uploads and another model, over a lake whose parts are merged."""
    calls, lake = tmp_path / "calls", str(tmp_path / "lake")
    voice = two_sided([("customer", 1, 4)], 5)
    for name in "abcd":
        write_call(calls, f"2026-11-20/{name}.wav", voice, TWO_SIDED)
    one_each = Settings(chunk_recordings=1, max_attempts=1)
    real = ingest.Listing.recordings

    def vanished(self, chunk, attempts):
        return [r if not r.masked_key.endswith("d.wav") else type(r)(**{**vars(r), "key": None}) for r in real(self, chunk, attempts)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest.Listing, "recordings", vanished)
        assert run_night(calls, lake, bundle, settings=one_each)["failed"] == 1
    compact(open_store(lake), one_each, ANY_DAY, 0, 0)
    assert len(names(lake, "outcomes")) == 1
    run = run_night(calls, lake, bundle, settings=one_each)
    assert (run["planned"], run["scored"], run["failed"]) == (0, 0, 0)

    run = run_night(calls, lake, bundle, settings=Settings(chunk_recordings=1))  # d.wav may be tried again now
    assert (run["planned"], run["scored"], set(run["checks"].values())) == (0, 1, {0})
    assert len(names(lake, "outcomes")) == 2 and names(lake, "outcomes")[1].startswith("merged-000002-")
    write_call(calls, "2026-11-20/late.wav", voice, TWO_SIDED)
    write_call(calls, "2026-11-20/a.wav", voice[:20_000], TWO_SIDED)
    run = run_night(calls, lake, bundle)
    assert (run["planned"], run["scored"], set(run["checks"].values())) == (2, 2, {0})
    compact(open_store(lake), Settings(), ANY_DAY, 0, 0)
    assert len(names(lake, "outcomes")) == 1
    run = run_night(calls, lake, tiny_bundle(tmp_path, name="other", seed=3))
    assert (run["planned"], run["scored"], set(run["checks"].values())) == (0, 5, {0})
    with catalog.connect(lake) as connection:
        query = (
            "SELECT count(*) AS n, count(DISTINCT recording_id) AS recordings, sum((outcome = 'scored')::INT)::INT AS scored FROM outcomes"
        )
        assert catalog.query(connection, query).to_pylist() == [{"n": 5, "recordings": 5, "scored": 5}]
