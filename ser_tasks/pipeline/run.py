"""One run: its stores, model, workers and counts. The flow decides order, retries and lanes; this does the work."""

import contextlib
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from ser_tasks import schemas
from ser_tasks.calls.policy import policy_named
from ser_tasks.inference.bundle import load_bundle
from ser_tasks.inference.scorer import choose_device, score_file
from ser_tasks.lake import catalog, manifest, parts
from ser_tasks.lake.sql_text import literal
from ser_tasks.monitoring import run_report
from ser_tasks.pipeline import ingest, listing, publish
from ser_tasks.pipeline.extract import Batch, Job
from ser_tasks.pipeline.worker_pool import Workers, cores
from ser_tasks.scratch import scratch_folder
from ser_tasks.settings import Settings, code_version
from ser_tasks.storage import open_store

CHECK_MEMORY = "512MB"
"""What DuckDB may take for the checks at a night's end."""
NIGHTS_LOOKED_AT = 31
"""Days of runs that are read to find the nights before."""


def preflight(recordings: str, lake: str, model: str, device: str, policy: str, priors: dict[str, float]) -> None:
    """Raises the error that a run with these would raise, before anything is started.

    ValueError for an unknown policy, device, model or kind of store; FileNotFoundError where the recordings' folder
    does not exist; StoreAccessError or ConnectionError where S3 can't be listed.
    """
    policy_named(policy)
    choose_device(device)
    open_store(recordings).check()
    with contextlib.suppress(FileNotFoundError):  # the first write makes the lake's folder
        open_store(lake).check()
    load_bundle(model, priors)


class ExtractedChunk:
    """A chunk between its two stages: results in memory, frames in scratch."""

    def __init__(self, chunk: ingest.Chunk, batches: list[Batch], folder: Path):
        self.chunk, self.batches, self.folder = chunk, batches, folder


class Night:
    """The state of one run. Use it in a ``with``: the end removes scratch, and stops the workers unless they were given."""

    def __init__(
        self,
        recordings: str,
        lake: str,
        settings: Settings,
        *,
        day: date | None = None,
        model: str | None = None,
        device: str = "auto",
        workers: int | Workers | None = None,
        policy: str | None = None,
        only_planned: bool = False,
    ):
        self.run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
        self.started_at = datetime.now(UTC)
        self._begun = time.perf_counter()
        self.seconds: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        """Withheld recordings of this run by reason code."""
        self.failed_chunks: dict[str, str] = {}
        """Chunks that a broken machine stopped, and the error."""
        self.broken: dict[str, parts.BrokenPartError] = {}
        """Parts of the lake that cannot be read, by key."""
        self.machines: dict[str, tuple[int, str]] = {}
        """Processes of a cluster that handled chunks, as host:pid: their extraction processes, and the device that scored."""

        self.settings, self.day, self.only_planned = settings, day, only_planned
        self.policy = policy_named(policy or settings.policy)
        self.recordings, self.lake = open_store(recordings), open_store(lake)
        with self._timed("start_up_s"):
            preflight(recordings, lake, model or settings.model, device, self.policy.name, settings.priors)
            self.model = model or settings.model
            self.bundle = load_bundle(self.model, settings.priors)
            self.device = choose_device(device).type
        self.version = manifest.version_of(self.bundle.model_id, self.policy.name)
        self.workers = workers if isinstance(workers, Workers) else Workers(workers or cores(), settings.worker_memory_mb)
        self._own_workers = self.workers is not workers
        self.plan = ingest.Plan()
        self._contexts = contextlib.ExitStack()

    def __enter__(self) -> "Night":
        self.scratch = self._contexts.enter_context(scratch_folder(self.settings.scratch))
        if self._own_workers:
            self._contexts.enter_context(self.workers)
        return self

    def __exit__(self, *error: object) -> None:
        self._contexts.close()

    def list_and_plan(self) -> ingest.Plan:
        """Lists the store, writes the manifest of what is new, and returns the chunks that wait."""
        with self._timed("list_s"):
            path = self.scratch / f"listing-{secrets.token_hex(4)}.duckdb"  # a retry lists anew
            self.listing = listing.Listing(self.recordings, self.settings, path, self.day, manifest.deleted_days(self.lake))
            self.plan = ingest.plan(self.listing, self.lake, self.version, self.settings, self.run_id, not self.only_planned)
            self.broken |= self.plan.broken
        return self.plan

    def start_workers(self) -> None:
        with self._timed("start_up_s"):
            self.workers.start()

    def load(self, day: date, chunk_id: str) -> ingest.Chunk:
        """A waiting chunk's recordings."""
        return ingest.load_chunk(self.listing, self.lake, day, self.version, chunk_id, self.settings)

    def extract(self, day: date, chunk_id: str, progress: Callable[[Batch], None] = lambda batch: None) -> ExtractedChunk:
        """The first stage of a chunk, in the worker processes."""
        return self.extract_chunk(self.load(day, chunk_id), progress)

    def extract_chunk(self, chunk: ingest.Chunk, progress: Callable[[Batch], None] = lambda batch: None) -> ExtractedChunk:
        folder = self.scratch / chunk.chunk_id
        folder.mkdir(exist_ok=True)
        bundle = self.bundle
        job = Job(self.recordings.uri, self.policy.name, bundle.feature_set, bundle.feature_params, folder, self.settings)
        return ExtractedChunk(chunk, self.workers.extract(chunk.recordings, job, progress), folder)

    def score(self, batches: list[Batch]) -> list[np.ndarray]:
        """Each batch's probabilities (its scored segments, labels): on the GPU in this process, on the CPU in the workers."""
        settings, priors = self.settings, tuple(self.settings.priors.items())
        scorer = (self.model, self.bundle.model_id, self.device, settings.frames_per_batch, settings.precision, priors)
        tasks = [(batch.frames_file, batch.lengths, *scorer) for batch in batches if batch.frames_file]
        limits_s = [settings.recording_limit_s + batch.audio_s for batch in batches if batch.frames_file]
        answers = self.workers.map(score_file, tasks, limits_s) if self.device == "cpu" else [score_file(*task) for task in tasks]
        self.seconds["score_s"] += sum(seconds for _, seconds in answers)
        found = iter(answers)
        nothing = np.zeros((0, len(self.bundle.labels)), np.float32)
        return [next(found)[0] if batch.frames_file else nothing for batch in batches]

    def publish(self, extracted: ExtractedChunk) -> dict[str, Any]:
        """The second stage of a chunk: scores it, writes its parts, and forgets its frames."""
        report = publish.publish_chunk(
            self.lake,
            extracted.chunk,
            extracted.batches,
            self.score(extracted.batches),
            self.bundle,
            policy=self.policy.name,
            version=self.version,
            run_id=self.run_id,
            settings=self.settings,
        )
        shutil.rmtree(extracted.folder, ignore_errors=True)
        self.count(report)
        return report

    def count(self, report: dict[str, Any]) -> None:
        """Adds what became of a chunk to this run's row."""
        self.refusals.update(report["refusals"])
        self.seconds.update({name: value for name, value in report.items() if name.endswith("_s")})
        self.counts.update({name: report[name] for name in (*schemas.OUTCOMES, "written_bytes")})
        if "machine" in report:
            self.machines[report["machine"]] = (report["processes"], report["device"])

    def give_up(self, day: date, chunk_id: str, error: BaseException) -> None:
        """Writes down that a broken machine stopped a chunk: its recordings are tried again next night.

        Where not even that can be written, the chunk stays without outcomes, and waits all the same.
        """
        self.failed_chunks[chunk_id] = f"{type(error).__name__}: {error}"
        try:
            chunk = self.load(day, chunk_id)
            self.publish(ExtractedChunk(chunk, [publish.failed_batch(chunk, error)], self.scratch / chunk_id))
        except Exception as another:
            self.failed_chunks[chunk_id] += f" (nor could its outcomes be written: {type(another).__name__}: {another})"
            shutil.rmtree(self.scratch / chunk_id, ignore_errors=True)
        if isinstance(error, parts.BrokenPartError):
            self.broken[error.key] = error

    def check(self) -> dict[str, int]:
        """Offending rows of each check in ``sql/checks``, over the days from the first that this run touched, and the number of
        parts that cannot be read (``broken_parts``): the checks leave those out."""
        try:
            with self._touched() as connection:
                found = catalog.run_checks(connection)
        except (duckdb.Error, UnicodeDecodeError):
            broken = parts.broken(self.lake, self._since())
            if not broken.keys() - self.broken.keys():
                broken = parts.broken(self.lake, self._since(), deep=True)
            if not broken.keys() - self.broken.keys():
                raise
            self.broken |= broken
            with self._touched() as connection:
                found = catalog.run_checks(connection)
        return found | {"broken_parts": len(self.broken)}

    def worst_calls(self, limit: int = 10) -> list[dict[str, Any]]:
        """This run's calls with the highest peak anger."""
        with self._touched() as connection:
            return run_report.worst_calls(connection, self.run_id, limit)

    def throughput(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        """This run's speed by stage beside the nights before it, given its row."""
        with catalog.connect(self.lake.uri, since=self.started_at.date() - timedelta(days=NIGHTS_LOOKED_AT)) as connection:
            return run_report.throughput(connection, run)

    def write_run(self, checks: dict[str, int]) -> dict[str, Any]:
        """Writes and returns the run's row."""
        ended_at = datetime.now(UTC)
        wall_s = time.perf_counter() - self._begun - self.seconds["start_up_s"]
        row: dict[str, Any] = {
            "run_id": self.run_id,
            "started_at": self.started_at,
            "ended_at": ended_at,
            "recordings_uri": self.recordings.uri,
            "model": self.bundle.model_id,
            "feature_set": self.bundle.feature_set_id,
            "policy": self.policy.name,
            "code_version": code_version(),
            "device": "+".join(sorted({device for _, device in self.machines.values()})) or self.device,
            "workers": sum(processes for processes, _ in self.machines.values()) or self.workers.count,
            "listed": self.plan.listed,
            "ignored_keys": self.plan.ignored_keys,
            "planned": self.plan.planned,
            **{outcome: self.counts[outcome] for outcome in schemas.OUTCOMES},
            "failed_chunks": len(self.failed_chunks),
            "checks_failed": sum(rows > 0 for rows in checks.values()),
            "pseudonyms": bool(self.settings.pseudonym_key and self.settings.pseudonym_key.get_secret_value()),
            **{name: float(self.seconds[name]) for name in schemas.RUNS.names if name.endswith("_s")},
            "wall_s": wall_s,
            "audio_h_per_h": self.seconds["audio_s"] / wall_s,
            "machines": len({name.rpartition(":")[0] for name in self.machines}) or 1,
            "written_bytes": self.plan.written_bytes + self.counts["written_bytes"],
        }
        key = f"{parts.folder('runs', day=self.started_at.date())}{self.run_id}.parquet"
        self.lake.write_bytes(key, parts.encode("runs", schemas.table("runs", [row])))
        return row

    def _touched(self) -> duckdb.DuckDBPyConnection:
        """The views over the days that this run may have written: a night does not read years of history.

        What a question needs beyond CHECK_MEMORY goes to scratch: a night of a million calls takes no more memory than one of a hundred.
        """
        connection = catalog.connect(self.lake.uri, since=self._since(), without=self.broken)
        connection.execute(f"SET memory_limit = '{CHECK_MEMORY}'; SET preserve_insertion_order = false")
        connection.execute(f"SET temp_directory = {literal(str(self.scratch))}")
        return connection

    def _since(self) -> date | None:
        return min([day for day, _ in self.plan.chunks] or self.listing.days()[-1:], default=None)

    @contextlib.contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - begun
