"""Compaction under readers, kills and nights: no row is seen twice or not at all, and what comes later works as before."""

import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ser_tasks.lake import catalog, parts, read_only
from ser_tasks.maintenance import doctor, retention
from ser_tasks.maintenance.compaction import compact
from ser_tasks.pipeline import listing
from ser_tasks.pipeline.worker_pool import WorkerPool
from ser_tasks.settings import Settings
from ser_tasks.storage import LocalStore, open_store
from tests.factories.calls import TWO_SIDED, run_night, tiny_bundle, two_sided, write_call
from tests.factories.lakes import DAY, Call, angry, segment, worse, write_calls
from tests.factories.nights import VOLATILE

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
    return read_only.query(connection, " UNION ALL ".join(each) + " ORDER BY view").to_pylist()


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
    monkeypatch.setattr("ser_tasks.maintenance.compaction.MERGED_BYTES", 10)
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


@pytest.mark.parametrize("stops", [range(1, 21, 5), pytest.param(range(21), marks=pytest.mark.faults)], ids=["some", "all"])
def test_wherever_it_is_killed_readers_see_the_same_and_a_rerun_completes(tmp_path, stops):
    made, lake = tmp_path / "made", str(tmp_path / "lake")
    small_parts(str(made), days=2, chunks=2)
    shutil.copytree(made, lake)
    with catalog.connect(lake) as connection:
        before = seen(connection)
        for stop in stops:  # two days: 6 writes, 15 deletions
            shutil.rmtree(lake)
            shutil.copytree(made, lake)
            with pytest.MonkeyPatch.context() as patch:
                stopped_at(patch, stop)
                with pytest.raises(Stop):
                    compact(open_store(lake), Settings(), ANY_DAY, 0, 0)
            assert seen(connection) == before, stop
            compact(open_store(lake), Settings(), ANY_DAY, 0, 0)
            assert seen(connection) == before, stop
            for table in ("outcomes", "segments", "call_emotions"):
                assert len(names(lake, table)) == 2, (stop, table)


class Reader(threading.Thread):
    """Asks for every view over and over, and remembers an answer that differs from the first."""

    def __init__(self, lake: str):
        super().__init__()
        self.connection = catalog.connect(lake)
        self.first = seen(self.connection)
        self.answers, self.fault, self.ended = 0, None, threading.Event()

    def run(self) -> None:
        while not self.ended.is_set() and self.fault is None:
            try:
                if (found := seen(self.connection)) != self.first:
                    self.fault = f"{self.first} became {found}"
            except Exception as error:
                self.fault = repr(error)
            self.answers += 1


def test_readers_see_every_row_once_while_parts_are_merged(tmp_path, monkeypatch):
    """Compactions one after the other, each of one more day; each waits for the queries that began before, however long they take."""
    lake, days = str(tmp_path), 3
    small_parts(lake, days, chunks=3)
    readers = [Reader(lake) for _ in range(2)]

    def until_their_queries_end(_):
        for reader, answers in [(reader, reader.answers) for reader in readers]:
            while reader.answers == answers and reader.fault is None:
                time.sleep(0.005)

    for reader in readers:
        reader.start()
    try:
        with monkeypatch.context() as patch:
            patch.setattr("ser_tasks.maintenance.compaction.time", type("Clock", (), {"sleep": staticmethod(until_their_queries_end)}))
            for day in range(days):
                older_than_days = (datetime.now(UTC).date() - DAY - timedelta(days=day + 1)).days
                assert compact(open_store(lake), Settings(), older_than_days, 0, 0).into == 1
    finally:
        for reader in readers:
            reader.ended.set()
            reader.join()
            reader.connection.close()
    assert [reader.fault for reader in readers] == [None, None]
    assert min(reader.answers for reader in readers) >= 2 * days
    assert len(names(lake, "outcomes")) == days


READER = """
import sys
from pathlib import Path
from ser_tasks.lake import catalog
from tests.maintenance.test_compaction import seen
connection = catalog.connect(sys.argv[1])
first = seen(connection)
print("ready", flush=True)
number = 0
while not Path(sys.argv[2]).exists():
    found = seen(connection)
    if found != first:
        sys.exit(f"query {number}: {first} became {found}")
    number += 1
"""


@pytest.mark.faults
def test_readers_in_processes_of_their_own_see_every_row_once(tmp_path):
    """The same by the clock, as in earnest: fixed waits, and readers that know nothing of the merging."""
    lake, days, end = str(tmp_path / "lake"), 6, tmp_path / "end"
    small_parts(lake, days, chunks=3)
    command, pipe = [sys.executable, "-c", READER, lake, str(end)], subprocess.PIPE
    readers = [subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    try:
        for reader in readers:
            assert any(line == "ready\n" for line in reader.stdout), reader.stderr.read()
        for day in range(days):
            older_than_days = (datetime.now(UTC).date() - DAY - timedelta(days=day + 1)).days
            assert compact(open_store(lake), Settings(), older_than_days, 2, 4).into == 1
        end.touch()
        assert [(reader.wait(60), reader.stderr.read()) for reader in readers] == [(0, "")] * 2
    finally:
        for reader in readers:
            reader.kill()
            reader.communicate()
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


def test_days_of_which_the_retention_deleted_something_are_left_alone(tmp_path):
    """Their segments are gone on purpose: a merged part beside outcomes without rows would only hide which."""
    lake = str(tmp_path)
    small_parts(lake, days=3)
    settings = Settings(keep_segments_days=1)
    gone = retention.expired(open_store(lake), settings, DAY + timedelta(days=3))  # of the three days the first two are older
    retention.delete(open_store(lake), gone)
    kept = {(item.key, item.etag) for item in open_store(lake).list() if f"day={DAY + timedelta(days=2)}" not in item.key}
    with catalog.connect(lake) as connection:
        before = seen(connection)
        assert compact(open_store(lake), Settings(), ANY_DAY, 0, 0).into == 1
        assert seen(connection) == before
        assert set(catalog.run_checks(connection).values()) == {0}
    assert {(item.key, item.etag) for item in open_store(lake).list() if f"day={DAY + timedelta(days=2)}" not in item.key} == kept


def test_nights_go_on_after_compaction(bundle, tmp_path):
    """Reruns, retries, late recordings, re-uploads and another model, over a lake whose parts are merged."""
    calls, lake = tmp_path / "calls", str(tmp_path / "lake")
    voice = two_sided([("customer", 1, 4)], 5)
    for name in "abcd":
        write_call(calls, f"2026-11-20/{name}.wav", voice, TWO_SIDED)
    one_each = Settings(chunk_recordings=1, max_attempts=1)
    real = listing.Listing.recordings

    def vanished(self, chunk_id):
        return [r if not r.masked_key.endswith("d.wav") else type(r)(**{**vars(r), "key": None}) for r in real(self, chunk_id)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing.Listing, "recordings", vanished)
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
        assert read_only.query(connection, query).to_pylist() == [{"n": 5, "recordings": 5, "scored": 5}]


@pytest.fixture(scope="module")
def workers():
    with WorkerPool(1) as workers:
        yield workers


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calls")
    for number in range(4):
        write_call(folder, f"2026-11-20/{number}.wav", two_sided([("customer", 1, 4)], 5, seed=number), TWO_SIDED)
    return folder


def truth(lake) -> dict[str, list[dict]]:
    """Every view's rows without what each run makes anew, whatever parts they lie in; probabilities to four digits."""
    with catalog.connect(str(lake)) as connection:
        rows = {view: read_only.query(connection, f"FROM {view}").to_pylist() for view in VIEWS}

    def told(row: dict) -> dict:
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items() if name not in VOLATILE}

    return {view: sorted(map(told, found), key=repr) for view, found in rows.items()}


def test_a_night_may_be_at_work(bundle, workers, calls, tmp_path, monkeypatch):
    """A night handles late recordings of a day while that day's small parts are merged: the lake is that of a night left alone."""
    one_each, lake, alone = Settings(chunk_recordings=1), str(tmp_path / "lake"), str(tmp_path / "alone")
    late, mine = two_sided([("customer", 0.5, 2)], 3, seed=9), tmp_path / "calls"
    shutil.copytree(calls, mine)
    run_night(mine, lake, bundle, workers, settings=one_each)
    for name in ("late-1", "late-2", "late-3"):
        write_call(mine, f"2026-11-20/{name}.wav", late, TWO_SIDED)
    shutil.copytree(lake, alone)

    merging, writing = threading.Event(), threading.Event()
    write_bytes = LocalStore.write_bytes

    def published(self, key, data):
        """The night goes on when the merged segments lie there, the merging when the night has written its first segments."""
        write_bytes(self, key, data)
        if parts.MERGED not in key and key.startswith("segments/"):
            writing.set()
            assert merging.wait(60)

    def wait_for_the_night(_):
        merging.set()
        assert writing.wait(60)

    with ThreadPoolExecutor(1) as threads, monkeypatch.context() as patch:
        patch.setattr(LocalStore, "write_bytes", published)
        patch.setattr("ser_tasks.maintenance.compaction.time", type("Clock", (), {"sleep": staticmethod(wait_for_the_night)}))
        night = threads.submit(run_night, mine, lake, bundle, workers, settings=one_each)
        assert writing.wait(60)
        done = compact(open_store(lake), one_each, ANY_DAY, 0, 0)
        run = night.result(60)
    assert (done.merged, run["planned"], run["scored"], set(run["checks"].values())) == (4, 3, 3, {0})
    run_night(mine, alone, bundle, workers, settings=one_each)
    assert truth(lake) == truth(alone)
    assert doctor.examine(lake, str(mine)).findings == []


@pytest.mark.parametrize(
    "table", [pytest.param("outcomes", marks=pytest.mark.slow), "segments", pytest.param("call_emotions", marks=pytest.mark.slow)]
)
def test_the_doctor_finds_a_merged_lake_healthy_and_mends_a_broken_merged_part(table, bundle, workers, calls, tmp_path):
    lake, one_each = tmp_path / "lake", Settings(chunk_recordings=1)
    run_night(calls, lake, bundle, workers, settings=one_each)
    before = truth(lake)
    assert compact(open_store(str(lake)), one_each, ANY_DAY, 0, 0).into == 1
    assert doctor.examine(str(lake), str(calls), deep=True).findings == [] and truth(lake) == before

    [part] = (lake / table).rglob("merged-*.parquet")
    part.write_bytes(part.read_bytes()[:-100])
    report = doctor.examine(str(lake), str(calls))
    assert [(finding.kind, Path(finding.where).name) for finding in report.findings] == [("broken_part", part.name)]
    doctor.repair(report)
    assert not list(lake.glob("*/day=*/version=*/merged-*")) and len(list((lake / "quarantine").rglob("merged-*"))) == 3
    run = run_night(calls, lake, bundle, workers, settings=one_each)
    assert (run["planned"], run["scored"], set(run["checks"].values())) == (0, 4, {0})
    assert truth(lake) == before
    assert doctor.examine(str(lake), str(calls), deep=True).findings == []
