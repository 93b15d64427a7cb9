"""Measures what deploy/GROWTH.md plans with. Each command prints its figures; none is a test.

python -m tests.benchmarks.growth views LAKE [FOLDER ...] # every view over a lake, or those of staging, marts, checks
python -m tests.benchmarks.growth planning                # a night's start over five years of recordings, one day new
python -m tests.benchmarks.growth night CALLS [CLUSTER]   # memory and seconds of a whole night over CALLS made-up recordings
python -m tests.benchmarks.growth chunks COUNT [DATABASE] # what Prefect takes for COUNT chunks whose tasks do nothing
python -m tests.benchmarks.growth share COUNT [DATABASE]  # whole nights of COUNT chunks of one recording, with Prefect and without
"""

import contextlib
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from ser_tasks import schemas
from ser_tasks.lake import catalog, parts, read_only, sql_views
from ser_tasks.pipeline import ingest
from ser_tasks.pipeline.listing import Listing
from ser_tasks.settings import Settings
from ser_tasks.storage import StoredObject, open_store
from tests.factories.calls import TWO_SIDED, tiny_bundle, two_sided, write_call


def views(lake: str, *folders: str) -> None:
    """Wall and CPU seconds of each view (counted) and mart (its first 100 rows), the best of three; with the machine's load."""
    with catalog.connect(lake) as connection:
        for view in sql_views.all_views():
            if folders and view.folder not in folders:
                continue
            sql = f"FROM {view.name} LIMIT 100" if view.folder == "marts" else f"SELECT count(*) FROM {view.name}"
            best = []
            for _ in range(3):
                wall_s, cpu_s = time.perf_counter(), time.process_time()
                read_only.query(connection, sql)
                best.append((time.perf_counter() - wall_s, time.process_time() - cpu_s))
            wall_s, cpu_s = min(best)
            print(f"{view.folder:8} {view.name:28} {wall_s:6.2f} s, {cpu_s:6.2f} CPU-seconds, load {os.getloadavg()[0]:.1f}", flush=True)


class YearsOfRecordings:
    """A bucket that lists so many recordings a day, and holds none."""

    uri = "made-up"

    def __init__(self, days: int, a_day: int):
        self.days, self.a_day = days, a_day

    def content(self, key: str) -> None:
        """None, as on S3: the etags are hashes."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        for day in range(self.days):
            folder, changed = date(2021, 11, 20) + timedelta(days=day), datetime(2021, 11, 20, tzinfo=UTC) + timedelta(days=day)
            for number in range(self.a_day):
                yield StoredObject(f"{folder}/call-{number:05}.wav", f"{number:x}", 1_600_000, changed)


def planning(days: str = "1825", a_day: str = "220") -> None:
    """Seconds to list, and to plan: at first, the night after (which reads every day once), and a later night with one new day."""
    settings, version = Settings(chunk_recordings=50), "m-1.customers_only"
    with tempfile.TemporaryDirectory() as folder:
        lake = open_store(str(Path(folder, "lake")))
        reads: Counter[str] = Counter()
        real = lake.read_bytes
        lake.read_bytes = lambda key, *limit: reads.update([key.split("/")[0]]) or real(key, *limit)  # type: ignore[method-assign]
        nights = (("the first night", 0), ("the night after", 0), ("a later night with one new day", 1))
        for name, new in nights:
            begun = time.perf_counter()
            listing = Listing(YearsOfRecordings(int(days) + new, int(a_day)), settings, Path(folder, f"{name}.duckdb"))
            listed_s = time.perf_counter() - begun
            reads.clear()
            begun = time.perf_counter()
            plan = ingest.plan(listing, lake, version, settings, name)
            plan_s = time.perf_counter() - begun
            print(
                f"{name}: {listing.listed:,} recordings listed in {listed_s:.1f} s, planned in {plan_s:.1f} s, "
                f"{len(plan.chunks):,} chunks wait; objects of the lake read: {dict(reads) or 'none'}",
                flush=True,
            )
            _finish(Path(lake.uri), plan, version)


def _finish(lake: Path, plan: ingest.Plan, version: str) -> None:
    """Outcomes of every waiting chunk, as a night would have written them."""
    empty = dict.fromkeys(schemas.OUTCOME_ROWS.names) | {"outcome": "scored", "attempts": 1}
    for day, chunk_id in plan.chunks:
        rows = [empty | {"chunk_id": chunk_id, "recording_id": f"{number}"} for number in range(50)]
        path = lake / f"{parts.folder('outcomes', day=day, version=version)}{chunk_id}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(parts.encode("outcomes", schemas.table("outcomes", rows)))


def made_up_calls(folder: Path, count: int, seconds: float = 3) -> Path:
    """So many recordings with sidecars, links to 20 clips, in one day's folder. Of less than 2 s they hold a turn of the customer alone."""
    turns = [("agent", 0.2, 1.2), ("customer", 1.3, seconds - 0.1)] if seconds >= 2 else [("customer", 0.1, seconds - 0.1)]
    clips = [write_call(folder / "clips", f"{n}.wav", two_sided(turns, seconds, seed=n)) for n in range(20)]
    for clip in clips:
        clip.with_suffix(".json").write_text(json.dumps(TWO_SIDED))
    day = folder / "calls" / "2026-11-20"
    day.mkdir(parents=True)
    for number in range(count):
        clip = clips[number % 20]  # a file has 65,000 names at most on ext4
        os.link(clip, day / f"call-{number:06}.wav")
        os.link(clip.with_suffix(".json"), day / f"call-{number:06}.json")
    return folder / "calls"


def _peak_mb(pid: int | str | None) -> float:
    """A process's greatest resident memory so far. (Not ru_maxrss: a child's begins with what its parent had.)"""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def _cpu_s(pid: int) -> float:
    """CPU-seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _postgres_s() -> float:
    """CPU-seconds of every process of Postgres on this machine that is at work or has ended since its server started."""
    seconds = 0.0
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, fields = status.read_text().partition("(")[2].rpartition(")")
            if name == "postgres":
                seconds += sum(map(int, fields.split()[11:15])) / os.sysconf("SC_CLK_TCK")  # with its children that have ended
    return seconds


def _watch_workers(seen: dict[int, tuple[float, float]]) -> None:
    """Keeps the peak memory and the CPU-seconds of every process that multiprocessing started here, by its id."""
    while True:
        for process in multiprocessing.active_children():
            with contextlib.suppress(OSError, ValueError):  # it has ended
                seen[process.pid] = _peak_mb(process.pid), _cpu_s(process.pid)
        time.sleep(0.1)


def night(count: str, cluster: str = "") -> None:
    """One night of the flow over made-up recordings, model with random weights: its peak memory and seconds per recording."""
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    if cluster:
        os.environ["SER_CLUSTER"] = cluster
    from flows.nightly import nightly
    from flows.server import prefect_server

    seen: dict[int, tuple[float, float]] = {}
    threading.Thread(target=_watch_workers, args=(seen,), daemon=True).start()
    with prefect_server() as server, tempfile.TemporaryDirectory() as folder:
        calls = made_up_calls(Path(folder), int(count), float(os.environ.get("SECONDS_EACH", "3")))
        bundle = tiny_bundle(Path(folder))
        flow_s = time.process_time()
        run = nightly(str(calls), str(Path(folder, "lake")), model=str(bundle), device="cpu", workers=int(os.environ.get("WORKERS", "2")))
        cpu_s = {
            "flow": time.process_time() - flow_s,
            "workers": sum(seconds for _, seconds in seen.values()),
            "server": _cpu_s(server.process.pid) if server else 0.0,
        }
    peak_mb = {"flow": _peak_mb("self"), "largest worker": max((mb for mb, _ in seen.values()), default=0.0)}
    busy_s = sum(run[f"{stage}_s"] for stage in ("fetch", "decode", "speech", "features", "score"))
    ms = {
        "in all": run["wall_s"],
        "of the workers": busy_s,
        "listing and planning": run["list_s"],
        "writing": run["write_s"],
    }
    print(
        f"{count} recordings, {run['scored']} scored, {run['workers']} workers: {run['wall_s']:.1f} s after {run['start_up_s']:.1f} s of "
        f"start-up; ms a recording: {', '.join(f'{1000 * seconds / int(count):.2f} {name}' for name, seconds in ms.items())}; "
        f"CPU-seconds: {', '.join(f'{who} {seconds:.1f}' for who, seconds in cpu_s.items())}; "
        f"peak MB: {', '.join(f'{who} {mb:.0f}' for who, mb in peak_mb.items())}; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    print(json.dumps({"scored": run["scored"], "wall_s": run["wall_s"], "busy_s": busy_s, "cpu_s": cpu_s, "peak_mb": peak_mb}))


def chunks(count: str, database: str = "") -> None:
    """A flow of two tasks a chunk, as the nightly one hands out large chunks, that do nothing: CPU-seconds of it, of its temporary server,
    and of Postgres where ``database`` (postgresql+asyncpg://user@host/name) is on this machine; else SQLite in PREFECT_HOME.
    """
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    if database:
        os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = database
    from flows.nightly import AHEAD, EXTRACTION  # first: it sets how Prefect starts
    from flows.server import prefect_server
    from prefect import flow, task  # isort: skip
    from prefect.events.worker import EventsWorker  # isort: skip

    @task
    def extract(number: int) -> int:
        return number

    @task
    def score(number: int) -> int:
        return number

    @flow(task_runner=EXTRACTION, persist_result=False)
    def empty_night() -> int:
        ahead, done = [extract.submit(number) for number in range(AHEAD)], 0
        for number in range(AHEAD, int(count) + AHEAD):
            done += score(ahead.pop(0).result()) >= 0
            if number < int(count):
                ahead.append(extract.submit(number))
        return done

    with prefect_server() as server:
        if server is None:
            sys.exit("PREFECT_API_URL is set: unset it, so that the server can be measured, too.")
        own_s, server_s, postgres_s = time.process_time(), _cpu_s(server.process.pid), _postgres_s()
        wall_s = time.perf_counter()
        assert empty_night() == int(count)
        wall_s, ended = time.perf_counter() - wall_s, time.perf_counter()
        EventsWorker.drain_all()
        drain_s = time.perf_counter() - ended
        seconds = {
            "flow": time.process_time() - own_s,
            "server": _cpu_s(server.process.pid) - server_s,
            "Postgres": _postgres_s() - postgres_s if database else 0.0,
        }
    print(
        f"{count} chunks: CPU-ms a chunk: {', '.join(f'{who} {1000 * each / int(count):.1f}' for who, each in seconds.items())}; "
        f"{sum(seconds.values()):.1f} CPU-seconds in all; {wall_s:.0f} s, then {drain_s:.1f} s to send what events were left",
        end="",
    )
    print(f", load {os.getloadavg()[0]:.1f}", flush=True)


def share(count: str, database: str = "") -> None:
    """Seconds of a night of so many chunks, each of one recording of SECONDS_EACH, by the flow and by its stages alone, in turn.

    ``database`` is as in ``chunks``. The flow's seconds hold its artifacts, and the events that are still to be sent at its end.
    """
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
    os.environ["SER_CHUNK_RECORDINGS"] = "1"
    if database:
        os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = database
    from flows.nightly import nightly  # first: it sets how Prefect starts
    from flows.server import prefect_server
    from prefect.events.worker import EventsWorker  # isort: skip

    def by_the_flow(calls: str, lake: str, bundle: str) -> int:
        scored: int = nightly(calls, lake, model=bundle, device="cpu", workers=2)["scored"]
        EventsWorker.drain_all()
        return scored

    ways: dict[str, Callable[[str, str, str], int]] = {"without Prefect": _stages_alone, "with Prefect": by_the_flow}
    wall_s: dict[str, list[float]] = {way: [] for way in ways}
    with prefect_server(), tempfile.TemporaryDirectory() as folder:
        calls = made_up_calls(Path(folder), int(count), float(os.environ.get("SECONDS_EACH", "3")))
        bundle = str(tiny_bundle(Path(folder)))
        for way in list(ways) * int(os.environ.get("REPEAT", "3")):
            begun, lake = time.perf_counter(), tempfile.mkdtemp(dir=folder)
            assert ways[way](str(calls), lake, bundle) == int(count)
            wall_s[way].append(time.perf_counter() - begun)
            print(f"{count} chunks {way}: {wall_s[way][-1]:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)
    least = {way: min(seconds) for way, seconds in wall_s.items()}
    more_s = least["with Prefect"] - least["without Prefect"]
    print(f"{count} chunks: {more_s:.1f} s more with Prefect, {100 * more_s / least['with Prefect']:.1f} % of the night (least of each)")


def _stages_alone(calls: str, lake: str, bundle: str) -> int:
    """What the nightly flow does, without Prefect: chunks are extracted ahead of the oldest, which is scored."""
    from flows.chunk_groups import grouped
    from flows.nightly import AHEAD, extract, night_for, score
    from ser_tasks.pipeline.progress import NightProgress
    from ser_tasks.pipeline.spec import run_settings

    settings = run_settings(Settings(), bundle, None, lake, None)
    with night_for(calls, lake, settings, "cpu", 2) as night:
        plan = night.list_and_plan()
        night.start_workers()
        waiting, ahead = deque(grouped(plan.chunks, night.listing.sizes())), deque[Any]()
        with ThreadPoolExecutor(AHEAD) as threads, NightProgress(plan.recordings, len(plan.chunks), print) as progress:
            while waiting or ahead:
                while waiting and len(ahead) < AHEAD:
                    group = waiting.popleft()
                    ahead.append((group, threads.submit(extract.fn, night, group, progress)))
                group, extracted = ahead.popleft()
                extracted.result()
                score.fn(night, group, progress)
        scored: int = night.write_run(night.check())["scored"]
        return scored


if __name__ == "__main__":
    commands = {"views": views, "planning": planning, "night": night, "chunks": chunks, "share": share}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](*sys.argv[2:])
