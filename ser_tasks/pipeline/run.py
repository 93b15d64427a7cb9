"""One run: plans, hands chunks to their handler, and writes what it counted. The flow decides order, retries and concurrency limits."""

import contextlib
import dataclasses
import secrets
import shutil
from collections.abc import Callable
from datetime import date
from typing import Any

import duckdb
from pydantic import SecretStr

from ser_tasks.calls.policy import REMEDIES
from ser_tasks.inference.line_profile import ALL, LineProfile
from ser_tasks.lake import catalog, key_chain, parts, profiles, views_apart
from ser_tasks.licences import forbidden_use
from ser_tasks.memory import release_freed_memory
from ser_tasks.pipeline import ingest, opt_out
from ser_tasks.pipeline.adapt import DEFAULT_HOURS, SAMPLE_DAYS, make_profile
from ser_tasks.pipeline.extract import Batch
from ser_tasks.pipeline.fork_server import cores
from ser_tasks.pipeline.handler import ChunkHandler, ExtractedChunk
from ser_tasks.pipeline.lines import profile_rows
from ser_tasks.pipeline.planning import Planning, list_and_plan
from ser_tasks.pipeline.progress import SampleProgress
from ser_tasks.pipeline.publish import ChunkReport, Machine
from ser_tasks.pipeline.record import RunRecord
from ser_tasks.pipeline.spec import RunSpec
from ser_tasks.pipeline.worker_pool import WorkerPool
from ser_tasks.scratch import scratch_folder
from ser_tasks.settings import code_version
from ser_tasks.storage import open_store

ASKED_HERE = 1_000
"""Recordings listed up to which a night's queries run in this process: another one takes a second to start."""


class Night:
    """A run in progress. Use it in a ``with``: the end removes scratch, and stops the workers unless they were given.

    ``pseudonym_key``, ``old_keys`` (those before it, the oldest first) and ``scratch`` (a folder, the system's temporary one if None)
    are those of this machine.
    """

    def __init__(
        self,
        spec: RunSpec,
        pseudonym_key: SecretStr | None = None,
        workers: WorkerPool | None = None,
        old_keys: tuple[SecretStr, ...] = (),
    ):
        self.spec, self.record = spec, RunRecord(spec)
        self.recordings, self.lake = open_store(spec.recordings_uri), open_store(spec.lake_uri)
        self.workers = workers or WorkerPool(spec.workers or cores(), spec.settings.worker_memory_mb)
        self._owns_workers = workers is None
        secrets_too = spec.settings.model_copy(update={"pseudonym_key": pseudonym_key, "old_pseudonym_keys": old_keys})
        self._keys = key_chain.check(self.lake, secrets_too)
        self._contexts = contextlib.ExitStack()
        self.written_row: dict[str, Any] | None = None
        """The run's row, once it is written."""
        self.withheld = 0
        """Scored calls that the opt-out list withheld."""

    def __enter__(self) -> "Night":
        key_chain.settle(self.lake, self._keys)
        self.scratch = self._contexts.enter_context(scratch_folder(self.spec.settings.scratch))
        if self._owns_workers:
            self._contexts.enter_context(self.workers)
        self.handler = ChunkHandler(self.spec, self._keys, self.workers, self.scratch)
        return self

    def __exit__(self, *error: object) -> None:
        self._contexts.close()

    @property
    def plan(self) -> ingest.Plan:
        return self.record.plan

    def list_and_plan(self) -> ingest.Plan:
        """Lists the store, writes the manifest of what is new, and returns the chunks that wait."""
        spec = self.spec
        with self.record.timed("list"):
            self.withheld = opt_out.withhold_scored(self.lake, spec.opt_out, self.handler.settings)
            database = self.scratch / f"listing-{secrets.token_hex(4)}.duckdb"  # a retry lists anew
            wanted = Planning(
                recordings_uri=spec.recordings_uri,
                lake_uri=spec.lake_uri,
                settings=spec.settings,
                keys=self._keys,
                day=spec.day,
                version=spec.version,
                run_id=spec.run_id,
                plan_new=not spec.only_planned,
                database=database,
            )
            self.listing, plan = list_and_plan(wanted)
            release_freed_memory()
            self.listing.opted_out = opt_out.withheld_before(self.lake, {day for day, _ in plan.chunks})
        self.record.add_plan(plan)
        return plan

    def lacks_profile(self) -> bool:
        """Whether the model can be standardised to the lines of this lake, and the lake has no profile for it yet."""
        return self.handler.bundle.takes_lines and not self.spec.profiles

    def adapt(self, progress: SampleProgress | None = None) -> LineProfile:
        """Makes a line profile of a sample of the recordings that wait, writes it, and scores this run by it.

        Where there is not enough speech of enough callers, nothing is written, and the profile's line ``all`` says why.
        """
        sample = self.listing.sample(DEFAULT_HOURS * 3600, SAMPLE_DAYS, only_kept=True)
        with self.record.timed("adapt"):
            profile = make_profile(sample, self.spec, self.handler.settings, self.workers, self.scratch, None, progress)
            if profile.lines[ALL].refused is None:
                key = profiles.write(self.lake, profile_rows(profile, code_version()))
                self.use(dataclasses.replace(self.spec, profiles=(key,)))
        return profile

    def use(self, spec: RunSpec) -> None:
        """Goes on under another specification: that of the run with the line profiles it is to use."""
        self.spec = self.record.spec = spec
        self.handler = ChunkHandler(spec, self._keys, self.workers, self.scratch)

    def start_workers(self) -> None:
        with self.record.timed("start_up"):
            self.workers.start()

    def load(self, day: date, chunk_id: str) -> ingest.Chunk:
        """A waiting chunk with its recordings."""
        return ingest.load_chunk(self.listing, day, chunk_id)

    def extract(self, day: date, chunk_id: str, progress: Callable[[Batch], None] = lambda batch: None) -> ExtractedChunk:
        """The first stage of a chunk, in the worker processes."""
        return self.handler.extract(self.load(day, chunk_id), progress)

    def publish(self, extracted: ExtractedChunk) -> ChunkReport:
        """The second stage of a chunk: scores it and writes its parts."""
        report = self.handler.publish(extracted)
        self.record.add_chunk(report)
        return report

    def give_up(self, day: date, chunk_id: str, error: BaseException) -> None:
        """Records that a broken machine stopped a chunk: its recordings are tried again next night.

        Where not even that can be written, the chunk stays without outcomes, and waits all the same.
        """
        self.record.add_failed_chunk(chunk_id, error)
        try:
            self.record.add_chunk(self.handler.publish_failed(self.load(day, chunk_id), error))
        except Exception as another:
            self.record.failed_chunks[chunk_id] += f" (nor could its outcomes be written: {type(another).__name__}: {another})"
            shutil.rmtree(self.scratch / chunk_id, ignore_errors=True)

    def check(self) -> dict[str, int]:
        """Offending rows of each check in ``sql/checks``, over the days from the first that this run touched, and the number of
        parts that cannot be read (``broken_parts``): the checks leave those out."""
        broken = self.record.broken
        try:
            offending = self._run_checks()
        except (duckdb.Error, UnicodeDecodeError):
            newly = parts.broken(self.lake, self._since())
            if not newly.keys() - broken.keys():
                newly = parts.broken(self.lake, self._since(), deep=True)
            if not newly.keys() - broken.keys():
                raise
            broken |= newly
            offending = self._run_checks()
        return offending | {"broken_parts": len(broken)}

    def _run_checks(self) -> dict[str, int]:
        offending: dict[str, int] = self.ask(catalog.run_checks)
        return offending

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """``function(connection, *arguments)`` on what ``connect`` gives, for a large night in a process of its own, as ``ask_apart``."""
        if self.plan.listed > ASKED_HERE:
            return views_apart.ask_apart(self.lake.uri, self._since(), self.record.broken, str(self.scratch), function, *arguments)
        with self.connect() as connection:
            return function(connection, *arguments)

    def write_run(self, checks: dict[str, int]) -> dict[str, Any]:
        """Writes and returns the run's row."""
        self.written_row = self.record.write(self.lake, self.handler.bundle, self._machine(), checks)
        return self.written_row

    def row_so_far(self) -> dict[str, Any]:
        """The run's row, of a run that ends before it is written."""
        return self.record.row(self.handler.bundle, self._machine(), {})

    def _machine(self) -> Machine:
        return Machine("", self.workers.count, self.handler.device, self.handler.precision)

    def forbidden_use(self) -> str | None:
        """One line on what the licence of the model forbids; None where a company may use it."""
        return forbidden_use(self.handler.bundle.name, self.handler.bundle.licence)

    def remarks(self) -> list[str]:
        """What a person should know about a run that went well."""
        lines = [f"{self.withheld} calls that were scored are withheld now: their customers opted out"] if self.withheld else []
        if self.spec.opt_out.salt:
            lines.append("SER_OPT_OUT without SER_PSEUDONYM_KEY: calls that were scored before cannot be recognised, and stay")
        lines += [
            f"{count} recordings withheld under the policy {self.spec.policy} ({code}): {REMEDIES[code]}"
            for code, count in sorted(self.record.refusals.items())
        ]
        if self.spec.key_fingerprint is None:
            lines.append("SER_PSEUDONYM_KEY is not set: agent_pseudonym and customer_pseudonym are left null")
        if not self.spec.keyed_recordings:
            lines.append(key_chain.UNKEYED.format(lake=self.spec.lake_uri))
        return lines

    def connect(self) -> duckdb.DuckDBPyConnection:
        """The views over the days that this run may have written: a night does not read years of history.

        What a query needs beyond ``views_apart.MEMORY`` goes to scratch.
        """
        connection = catalog.connect(self.lake.uri, since=self._since(), without=self.record.broken)
        return views_apart.bounded(connection, str(self.scratch))

    def _since(self) -> date | None:
        return min([day for day, _ in self.plan.chunks] or self.listing.days()[-1:], default=None)
