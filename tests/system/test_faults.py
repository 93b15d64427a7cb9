"""The fault suite: a night while something breaks, then an undisturbed one, and the lake row for row as if nothing had been.

Moments and places are drawn from SER_FAULT_SEED (printed where a test fails). ``pytest -m faults`` runs it.
"""

import contextlib
import errno
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ser_tasks import schemas
from ser_tasks.lake import manifest, parts
from ser_tasks.maintenance.doctor import examine, repair
from ser_tasks.pipeline import record, spec
from ser_tasks.pipeline.worker_pool import WorkerLostError, WorkerPool
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from tests.factories.calls import TWO_SIDED, night_of, run_night, tiny_bundle, two_sided, write_call
from tests.factories.nights import ask, rows, same, start_night, ten_calls, workers_of

pytestmark = pytest.mark.faults

SEED = os.environ.get("SER_FAULT_SEED", "4")
HASHES = ("content_hash", "sidecar_hash")
"""Columns that a manifest rebuilt from the outcomes lacks: no other table holds them."""
SMALL = Settings(chunk_recordings=2)
"""Six chunks instead of three."""


@pytest.fixture
def draw(request):
    """Random numbers of this test under the suite's seed."""
    print(f"SER_FAULT_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    return ten_calls(tmp_path_factory.mktemp("calls"))


@pytest.fixture(scope="module")
def workers():
    with WorkerPool(2) as pool:
        pool.start()
        yield pool


@pytest.fixture(scope="module")
def whole(calls, bundle, workers, tmp_path_factory):
    """The lake of an undisturbed night."""
    lake = tmp_path_factory.mktemp("whole") / "lake"
    run_night(calls, lake, bundle, workers, settings=SMALL)
    return lake


def nothing_half_written(lake: Path) -> None:
    assert parts.broken(open_store(str(lake)), deep=True) == {}
    assert list(lake.rglob("*.tmp")) == []


# Processes that are killed


@pytest.mark.parametrize("kills", [4, pytest.param(15, marks=pytest.mark.slow)])
def test_kill_9_of_the_run_at_any_moment_and_a_rerun_completes(kills, draw, calls, bundle, workers, whole, tmp_path):
    lake = tmp_path / "lake"
    for _ in range(kills):
        process = start_night(tmp_path, calls, lake, bundle)
        time.sleep(draw.uniform(2.5, 9))
        process.send_signal(signal.SIGKILL)
        process.wait()
    run = run_night(calls, lake, bundle, workers, settings=SMALL)
    assert set(run["checks"].values()) == {0}
    same(whole, lake)
    deadline = time.monotonic() + 20
    while workers_of(tmp_path) and time.monotonic() < deadline:  # a killed run's workers end by themselves
        time.sleep(0.2)
    assert workers_of(tmp_path) == []
    healthy(lake, calls)


def test_kill_9_of_the_flow_and_a_rerun_completes(draw, calls, bundle, workers, whole, tmp_path):
    """The command itself, Prefect and its temporary server included."""
    lake = tmp_path / "lake"
    command = [sys.executable, "-c", "from flows.cli import app; app()", "nightly", "--recordings", str(calls), "--lake", str(lake)]
    command += ["--model", str(bundle), "--workers", "1", "--device", "cpu"]
    settings = {"SER_CHUNK_RECORDINGS": "2", "PREFECT_HOME": str(tmp_path / "prefect"), "SER_SCRATCH": str(tmp_path / "scratch")}
    for moment in range(2):
        with (tmp_path / "stderr").open("ab") as stderr:
            process = subprocess.Popen(command, env=os.environ | settings, start_new_session=True, stdout=subprocess.DEVNULL, stderr=stderr)
        try:
            deadline = time.monotonic() + 400
            while process.poll() is None and not list(lake.rglob("outcomes/**/*.parquet"))[moment:] and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(draw.uniform(0, 1.5))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its temporary server, too: this machine lost power
            process.wait()
    assert list(lake.rglob("outcomes/**/*.parquet")), (tmp_path / "stderr").read_text()
    run = run_night(calls, lake, bundle, workers, settings=SMALL)
    assert set(run["checks"].values()) == {0}
    same(whole, lake)


def test_kill_9_of_workers_at_random_moments_costs_nothing(draw, calls, bundle, whole, tmp_path):
    lake, killed, over = tmp_path / "lake", [], threading.Event()
    others = multiprocessing.active_children()

    def kill() -> None:
        """The first worker as it is seen, for the whole night may take less than a second."""
        wait_s = 0.01
        while len(killed) < 6 and not over.wait(wait_s):
            if found := [worker for worker in multiprocessing.active_children() if worker not in others]:
                wait_s = draw.uniform(0.1, 1)
                victim = draw.choice(sorted(found, key=lambda process: process.name))
                victim.kill()
                killed.append(victim.pid)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with night_of(calls, lake, bundle, 2, settings=SMALL) as night:
            for chunk in night.list_and_plan().chunks:
                try:
                    night.publish(night.extract(*chunk))
                except (RuntimeError, WorkerLostError) as error:  # no worker lived long enough to start
                    night.give_up(*chunk, error)
    finally:
        over.set()
        killer.join()
    assert killed and night.record.outcomes["quarantined"] <= 2  # the bad sidecar and the empty file, nobody else
    run_night(calls, lake, bundle, 1, settings=SMALL)  # what was killed twice in a row
    same(whole, lake)


def sabotage(tmp_path: Path, monkeypatch, code: str) -> None:
    """Runs ``code``, which may see ``event`` and ``what``, at every audit event of every process that is started from now on."""
    site = tmp_path / "site"
    site.mkdir()
    lines = "".join(f"    {line}\n" for line in code.splitlines())
    (site / "sitecustomize.py").write_text(
        "import ctypes, os, signal, sys\n"
        "def hook(event, arguments):\n"
        "    what = str(arguments[0]) if event == 'open' else ''\n" + lines + "sys.addaudithook(hook)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    spawned = multiprocessing.get_context("spawn")  # the process that workers are forked from was started before
    monkeypatch.setattr("ser_tasks.pipeline.fork_server.context", lambda: spawned)


def test_kill_9_of_the_scoring_worker_costs_nothing(calls, bundle, whole, tmp_path, monkeypatch):
    """The first and the third process that open a chunk's frames to score them are killed at that moment."""
    marks = tmp_path / "marks"
    marks.mkdir()
    sabotage(
        tmp_path,
        monkeypatch,
        "if what.endswith('.f32') and arguments[1] == 'r':\n"
        f"    opened = len(os.listdir({str(marks)!r}))\n"
        f"    os.mkdir({str(marks)!r} + f'/{{opened}}')\n"
        "    if opened in (0, 2):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)",
    )
    run = run_night(calls, tmp_path / "lake", bundle, 1, settings=Settings(chunk_recordings=1))
    assert len(list(marks.iterdir())) == 5  # three recordings to score, and two again
    assert (run["scored"], run["failed"]) == (3, 0) and set(run["checks"].values()) == {0}


# Recordings that take their worker with them

BAD = {
    "crash": ("os.abort()", "quarantined", "decoder_crash"),
    "hang": ("ctypes.PyDLL(None).pause()", "quarantined", "decoder_hang"),  # a native call that holds the interpreter's lock
    "memory": ("ctypes.pythonapi; held = [bytearray(64 << 20) for _ in range(100)]", "failed", "out_of_memory"),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", "failed", "worker_killed"),
}


def test_what_takes_its_worker_down_is_one_outcome_and_the_rest_of_the_chunk_is_scored(draw, bundle, workers, tmp_path, monkeypatch):
    folder, lake = tmp_path / "calls", tmp_path / "lake"
    names = [*BAD, "store", *(f"good-{number}" for number in range(7))]
    draw.shuffle(names)  # into whichever batch
    for number, name in enumerate(names):
        call = two_sided([("customer", 1, 6)], 8, seed=len(name))
        write_call(folder, f"2026-11-20/{number:02}-{name}.wav", call, TWO_SIDED)
    run_night(folder, tmp_path / "whole", bundle, workers)
    with monkeypatch.context() as patch:
        code = "\n".join(f"if '-{name}.wav' in what: {fault}" for name, (fault, *_) in BAD.items())
        code += f"\nif what.endswith('-store.json'): {BAD['hang'][0]}"  # reading this sidecar hangs: the store's fault
        sabotage(tmp_path, patch, code)
        run = run_night(folder, lake, bundle, 2, settings=Settings(recording_limit_s=10, worker_memory_mb=2048))
    found = {key.partition("-")[2].partition("-")[2]: tuple(end) for key, *end in outcomes_of(lake)}
    expected = {f"{name}.wav": (outcome, code) for name, (_, outcome, code) in BAD.items()} | {"store.wav": ("failed", "store_hang")}
    found = {key.rpartition("-")[2] if "good" not in key else key: value for key, value in found.items()}
    assert {key: value for key, value in found.items() if value[0] != "scored"} == expected
    assert (run["scored"], run["quarantined"], run["failed"]) == (7, 2, 3)
    assert all(reason for (reason,) in ask(lake, "SELECT reason FROM outcomes WHERE outcome <> 'scored'"))

    run = run_night(folder, lake, bundle, workers)
    assert (run["scored"], run["failed"]) == (3, 0) and set(run["checks"].values()) == {0}
    good = rows(tmp_path / "whole", "segments")
    bad = ("crash", "hang")
    columns = [name for name in good[0] if name not in ("part", "chunk_id")]
    one = sorted(([row[name] for name in columns[:7]] for row in good if not row["call_id"].endswith(bad)), key=repr)
    other = rows(lake, "segments")
    assert one == sorted(([row[name] for name in columns[:7]] for row in other), key=repr) and one


def outcomes_of(lake: Path) -> list[tuple]:
    return ask(lake, "SELECT key, outcome, reason_code FROM outcomes")


def test_a_worker_s_memory_is_bounded_for_every_library(tmp_path):
    """numpy, torch and Python itself: each says in its own way that there is none left."""
    code = (
        "import numpy as np, torch\nfrom ser_tasks.memory import is_out_of_memory, limit_memory\nlimit_memory(512)\n"
        "for take in (lambda: np.ones(1 << 30, 'u1'), lambda: torch.ones(1 << 30, dtype=torch.uint8), lambda: bytearray(1 << 30)):\n"
        "    try:\n        take()\n        print('taken')\n"
        "    except Exception as error:\n        print(is_out_of_memory(error))\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["True"] * 3


# Disks that are full


@contextlib.contextmanager
def largest_file(size_bytes: int, pid: int = 0):
    """The kernel itself cuts every write off there (EFBIG), in the middle of it."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def test_scratch_is_full(draw, calls, bundle, workers, whole, tmp_path):
    lake, errors = tmp_path / "lake", set()
    with night_of(calls, lake, bundle, workers, settings=SMALL) as night:
        chunks = night.list_and_plan().chunks
        with contextlib.ExitStack() as full:
            for worker in multiprocessing.active_children():
                full.enter_context(largest_file(draw.randrange(1, 20_000), worker.pid))
            for chunk in chunks:
                try:
                    night.publish(night.extract(*chunk))
                except OSError as error:
                    errors.add(error.errno)
                    night.give_up(*chunk, error)
        run = night.write_run(night.check())
    assert errors == {errno.EFBIG}
    assert 0 < run["failed_chunks"] < len(chunks)  # those without anything to score need no scratch
    assert ask(lake, "SELECT DISTINCT reason_code FROM outcomes WHERE outcome = 'failed'") == [("chunk_failed",)]
    nothing_half_written(lake)
    run = run_night(calls, lake, bundle, workers, settings=SMALL)
    assert run["failed"] == 0 and set(run["checks"].values()) == {0}
    same(whole, lake)


def test_the_lake_is_full_in_the_middle_of_a_part(draw, calls, bundle, workers, whole, tmp_path):
    for limit_bytes in (0, 1, *(draw.randrange(2, 25_000) for _ in range(10))):
        lake = tmp_path / f"lake-{limit_bytes}"
        with night_of(calls, lake, bundle, workers, settings=SMALL) as night:
            stopped = 0
            chunks = night.list_and_plan().chunks
            for chunk in chunks:
                extracted = night.extract(*chunk)
                with largest_file(limit_bytes):
                    try:
                        night.publish(extracted)
                    except OSError as error:
                        night.give_up(*chunk, error)
                        stopped += 1
            assert len(night.record.failed_chunks) == stopped
            assert stopped or limit_bytes > 1
        nothing_half_written(lake)
        assert set(run_night(calls, lake, bundle, workers, settings=SMALL)["checks"].values()) == {0}
        same(whole, lake)


@pytest.mark.parametrize("verb", ["mkdir", "fsync", "replace", "link"])
def test_the_lake_is_full_at_any_step_of_a_write(  # noqa: PLR0913, PLR0917 - its fixtures
    verb, draw, calls, bundle, workers, whole, tmp_path, monkeypatch
):
    """The disk is full at the n-th such step, and from then on."""
    owner = Path if verb == "mkdir" else os
    real = getattr(owner, verb)
    steps = 3 if verb == "link" else 18  # a manifest a day; three parts a chunk
    for stop_at in [0, *draw.sample(range(1, steps), min(3, steps - 1))]:
        lake, left = tmp_path / f"lake-{stop_at}", [stop_at]

        def full(first, *rest, lake=lake, left=left, **options):
            if verb == "fsync" or str(lake) in str(first):
                left[0] -= 1
                if left[0] < 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(first))
            return real(first, *rest, **options)

        with monkeypatch.context() as patch:
            patch.setattr(owner, verb, full)
            with pytest.raises(OSError, match="No space left"):
                run_night(calls, lake, bundle, workers, settings=SMALL)
        if lake.exists():
            nothing_half_written(lake)
        assert set(run_night(calls, lake, bundle, workers, settings=SMALL)["checks"].values()) == {0}
        same(whole, lake)


# A clock that goes backwards


class Backwards:
    """A clock that is set back by an hour whenever somebody looks at it."""

    def __init__(self, begin: datetime):
        self.time = begin

    def now(self, zone=None) -> datetime:
        self.time -= timedelta(hours=1)
        return self.time


def test_a_clock_that_is_set_back_within_a_night_changes_no_row(calls, bundle, workers, whole, tmp_path, monkeypatch):
    clock = Backwards(datetime.now(UTC))
    for module in (manifest, spec, record):
        monkeypatch.setattr(module, "datetime", clock)
    run = run_night(calls, tmp_path / "lake", bundle, workers, settings=SMALL)
    assert set(run["checks"].values()) == {0} and run["wall_s"] > 0
    same(whole, tmp_path / "lake")
    monkeypatch.undo()
    again = run_night(calls, tmp_path / "lake", bundle, workers, settings=SMALL)
    assert (again["planned"], again["scored"]) == (0, 0)


def test_what_is_written_later_wins_although_the_clock_was_set_back(bundle, workers, tmp_path, monkeypatch):
    """A recording uploaded again, then scored by another model, each after the clock was set back by a year."""
    folder, lake = tmp_path / "calls", tmp_path / "lake"
    write_call(folder, "2026-11-20/a.wav", two_sided([("customer", 1, 6)], 8), TWO_SIDED)
    run_night(folder, lake, bundle, workers)
    write_call(folder, "2026-11-20/a.wav", two_sided([("customer", 1, 9)], 11), TWO_SIDED)
    clock = Backwards(datetime.now(UTC) - timedelta(days=365))
    monkeypatch.setattr(manifest, "datetime", clock)
    run = run_night(folder, lake, bundle, workers)
    assert (run["planned"], run["scored"], set(run["checks"].values())) == (1, 1, {0})
    assert ask(lake, "SELECT duration_s FROM call_emotions") == [(11.0,)]
    clock.time -= timedelta(days=365)
    other = tiny_bundle(tmp_path, name="other", model="crnn", seed=5)
    assert run_night(folder, lake, other, workers)["scored"] == 2 - 1
    [(model, duration_s)] = ask(lake, "SELECT model, duration_s FROM call_emotions")
    assert model.startswith("other-1") and duration_s == 11.0
    healthy(lake, folder)


# A lake that somebody else damaged


def healthy(lake: Path, calls: Path) -> None:
    assert examine(str(lake), str(calls)).findings == []


def cut(path: Path, draw: random.Random) -> None:
    os.truncate(path, draw.randrange(path.stat().st_size))


@pytest.mark.parametrize("table", ["outcomes", "segments", "call_emotions", "recordings", "runs"])
def test_a_part_that_somebody_truncated_is_named_and_repaired_by_one_command(table, draw, calls, bundle, workers, whole, tmp_path):
    lake = tmp_path / "lake"
    shutil.copytree(whole, lake)
    victim = draw.choice(sorted((lake / table).rglob("*.parquet")))
    cut(victim, draw)
    key = victim.relative_to(lake).as_posix()
    run = run_night(calls, lake, bundle, workers, settings=SMALL)  # survives
    seen_by_checks = table in ("outcomes", "recordings")  # the others are read where the night has something to check
    assert run["planned"] == 0
    assert not seen_by_checks or run["checks"]["broken_parts"] == 1

    report = examine(str(lake), str(calls))
    assert key in [finding.where for finding in report.findings if finding.kind in ("broken_part", "broken_manifest")]
    told = repair(report)
    assert any(key in line for line in told)
    kept = list((lake / "quarantine").rglob(victim.name))
    assert victim.stat().st_size if table == "recordings" else not victim.exists()
    assert any(path.stat().st_size < (whole / key).stat().st_size for path in kept)  # nothing is deleted
    run = run_night(calls, lake, bundle, workers, settings=SMALL)
    assert run["planned"] == 0 and set(run["checks"].values()) == {0}
    healthy(lake, calls)
    if table == "recordings":  # some facts are the store's, and planned_at is the outcome's
        lost = dict.fromkeys(("part", *HASHES))
        assert [row | lost for row in rows(lake, table)] == [row | lost for row in rows(whole, table)]
    same(whole, lake, HASHES if table == "recordings" else ())


def test_the_flow_survives_a_truncated_part_and_says_what_to_run(draw, calls, bundle, whole, tmp_path):
    lake = tmp_path / "lake"
    shutil.copytree(whole, lake)
    victim = draw.choice(sorted((lake / "recordings").rglob("*.parquet")))
    cut(victim, draw)
    key = victim.relative_to(lake).as_posix()
    answer = ser(tmp_path, "nightly", "--recordings", calls, "--lake", lake, "--model", bundle, "--workers", 1, "--device", "cpu")
    assert answer.returncode == 1 and key in answer.stderr and "ser doctor" in answer.stderr
    answer = ser(tmp_path, "doctor", "--lake", lake)
    assert answer.returncode == 1 and f"{key} cannot be read" in answer.stdout
    answer = ser(tmp_path, "doctor", "--lake", lake, "--recordings", calls, "--repair")
    assert answer.returncode == 1 and f"rebuilt {key}" in answer.stdout and "Now run: ser nightly" in answer.stdout
    assert ser(tmp_path, "nightly", "--recordings", calls, "--lake", lake, "--model", bundle, "--workers", 1).returncode == 0
    answer = ser(tmp_path, "doctor", "--lake", lake, "--recordings", calls, "--deep")
    assert answer.returncode == 0 and answer.stdout.startswith("Healthy"), answer.stdout


def ser(tmp_path: Path, *arguments: object) -> subprocess.CompletedProcess:
    """A command in a process of its own, with a Prefect of its own."""
    command = [sys.executable, "-c", "from flows.cli import app; app()", *map(str, arguments)]
    environment = os.environ | {"PREFECT_HOME": str(tmp_path / "prefect"), "SER_CHUNK_RECORDINGS": "2"}
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("table", ["segments", "call_emotions"])
def test_the_night_that_meets_a_truncated_part_publishes_and_names_it(table, draw, calls, bundle, workers, tmp_path):
    lake = tmp_path / "lake"
    run_night(calls, lake, bundle, workers, settings=SMALL)
    late = write_call(tmp_path / "late", "2026-11-20/late.wav", two_sided([("customer", 1, 6)], 8), TWO_SIDED)
    victim = draw.choice(sorted((lake / table / "day=2026-11-20").rglob("*.parquet")))
    cut(victim, draw)
    with night_of(late.parent.parent, lake, bundle, workers, settings=SMALL) as night:
        for chunk in night.list_and_plan().chunks:
            night.publish(night.extract(*chunk))
        checks = night.check()
        run = night.write_run(checks)
    assert run["scored"] == 1 and checks["broken_parts"] == 1 and run["checks_failed"] > 0
    assert list(night.record.broken) == [victim.relative_to(lake).as_posix()]


# A lake that is older, or newer, than the code


def without_columns(path: Path, columns: set[str]) -> None:
    pq.write_table(pq.ParquetFile(path).read().drop_columns(sorted(columns)), path, compression="zstd")


def test_a_half_upgraded_lake_is_read_checked_and_added_to(draw, calls, bundle, workers, whole, tmp_path):
    """Half of the parts lack columns, as older code wrote them; a quarter has one that this code does not know."""
    lake = tmp_path / "lake"
    shutil.copytree(whole, lake)
    newer = {"outcomes": "note", "segments": "snr_db", "call_emotions": "language", "recordings": "day_source", "runs": "ignored_keys"}
    for table, column in newer.items():
        for path in sorted((lake / table).rglob("*.parquet"))[::2]:
            without_columns(path, {column})
        for path in sorted((lake / table).rglob("*.parquet"))[1::4]:
            part = pq.ParquetFile(path).read()
            pq.write_table(part.append_column("of_tomorrow", pa.array([1] * len(part), pa.int64())), path, compression="zstd")
    for table, column in newer.items():
        [(count, nulls)] = ask(lake, f"SELECT count(*), count(*) FILTER ({column} IS NULL) FROM {table}")
        assert count == ask(whole, f"SELECT count(*) FROM {table}")[0][0] and nulls > 0
    healthy(lake, calls)
    folder = tmp_path / "calls"
    shutil.copytree(calls, folder)  # keeps sizes and times, and so the etags
    write_call(folder, "2026-11-20/late.wav", two_sided([("customer", 1, 6)], 8), TWO_SIDED)
    run = run_night(folder, lake, bundle, workers, settings=SMALL)
    assert (run["planned"], run["scored"], set(run["checks"].values())) == (1, 1, {0})
    healthy(lake, folder)


def test_a_chunk_is_retried_over_parts_of_older_code(bundle, workers, tmp_path):
    """The rows that stay are merged with the new ones: columns that they lack are null."""
    folder, lake = tmp_path / "calls", tmp_path / "lake"
    for name in ("a.wav", "b.wav"):
        write_call(folder, f"2026-11-20/{name}", two_sided([("customer", 1, 6)], 8), TWO_SIDED)
    run_night(folder, lake, bundle, workers)
    [outcomes] = (lake / "outcomes").rglob("*.parquet")
    part = pq.ParquetFile(outcomes).read().to_pylist()
    part[0]["outcome"] = "failed"
    pq.write_table(pa.Table.from_pylist(part, schemas.OUTCOME_ROWS).drop_columns(["note"]), outcomes)
    for table, column in (("segments", "snr_db"), ("call_emotions", "queue")):
        [path] = (lake / table).rglob("*.parquet")
        without_columns(path, {column})
    run = run_night(folder, lake, bundle, workers)
    assert (run["scored"], set(run["checks"].values())) == (1, {0})
    assert ask(lake, "SELECT outcome, count(*) FROM outcomes GROUP BY outcome") == [("scored", 2)]
    assert ask(lake, "SELECT count(DISTINCT recording_id) FROM segments WHERE snr_db IS NULL") == [(1,)]
    healthy(lake, folder)


def test_a_write_cut_off_leaves_a_temporary_file_that_the_doctor_removes(calls, whole, tmp_path):
    lake = tmp_path / "lake"
    shutil.copytree(whole, lake)
    left = next((lake / "segments").rglob("*.parquet")).parent / ".part.parquet.0a1b2c3d.tmp"
    left.write_bytes(b"PAR1")
    healthy(lake, calls)  # a night at work has such files
    os.utime(left, (time.time() - 7200,) * 2)
    report = examine(str(lake))
    assert [finding.kind for finding in report.findings] == ["temporary_file"]
    repair(report)
    assert not left.exists()
    healthy(lake, calls)
