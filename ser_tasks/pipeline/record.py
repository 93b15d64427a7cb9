"""What a run counted: becomes its row in ``runs``."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from ser_tasks import schemas
from ser_tasks.inference.bundle import Bundle
from ser_tasks.lake import parts
from ser_tasks.pipeline.ingest import Plan
from ser_tasks.pipeline.publish import ChunkReport, Machine
from ser_tasks.pipeline.spec import RunSpec
from ser_tasks.settings import code_version
from ser_tasks.storage import Store


class RunRecord:
    """Counts and seconds of one run on all its machines."""

    def __init__(self, spec: RunSpec):
        self.spec = spec
        self._begun = time.perf_counter()
        self.plan = Plan()
        self.seconds: defaultdict[str, float] = defaultdict(float, start_up=spec.preparation_s)
        """By stage (schemas.STAGES), and ``start_up``."""
        self.audio_s = 0.0
        self.written_bytes = 0
        self.outcomes: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        """Withheld recordings of this run by reason code."""
        self.failed_chunks: dict[str, str] = {}
        """Chunks that a broken machine stopped, and the error."""
        self.broken: dict[str, parts.BrokenPartError] = {}
        """Parts of the lake that cannot be read, by key."""
        self.machines: dict[str, Machine] = {}
        """Processes of a cluster that handled chunks, by name."""

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the seconds of a ``with`` block."""
        begun = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - begun

    def add_plan(self, plan: Plan) -> None:
        self.plan = plan
        self.broken |= plan.broken

    def add_chunk(self, report: ChunkReport) -> None:
        for stage, seconds in report.seconds.items():
            self.seconds[stage] += seconds
        self.audio_s += report.audio_s
        self.written_bytes += report.written_bytes
        self.outcomes.update(report.outcomes)
        self.refusals.update(report.refusals)
        if report.machine:
            self.machines[report.machine.name] = report.machine

    def add_failed_chunk(self, chunk_id: str, error: BaseException) -> None:
        self.failed_chunks[chunk_id] = f"{type(error).__name__}: {error}"
        if isinstance(error, parts.BrokenPartError):
            self.broken[error.key] = error

    def write(self, lake: Store, bundle: Bundle, local: Machine, checks: dict[str, int]) -> dict[str, Any]:
        """Writes and returns the run's row."""
        row = self.row(bundle, local, checks)
        key = f"{parts.folder('runs', day=self.spec.started_at.date())}{self.spec.run_id}.parquet"
        lake.write_bytes(key, parts.encode("runs", schemas.table("runs", [row])))
        return row

    def row(self, bundle: Bundle, local: Machine, checks: dict[str, int]) -> dict[str, Any]:
        """What was counted so far. ``local`` is this machine, which handled the chunks unless a cluster did."""
        spec, machines = self.spec, self.machines.values() or [local]
        wall_s = time.perf_counter() - self._begun - (self.seconds["start_up"] - spec.preparation_s)
        return {
            "run_id": spec.run_id,
            "started_at": spec.started_at,
            "ended_at": datetime.now(UTC),
            "recordings_uri": spec.recordings_uri,
            "model": spec.model_id,
            "feature_set": bundle.feature_set_id,
            "policy": spec.policy,
            "code_version": code_version(),
            "device": "+".join(sorted({machine.device for machine in machines})),
            "precision": "+".join(sorted({machine.precision for machine in machines if machine.precision})) or None,
            "workers": sum(machine.processes for machine in machines),
            "listed": self.plan.listed,
            "ignored_keys": self.plan.ignored_keys,
            "lone_sidecars": self.plan.lone_sidecars,
            "lone_sidecar_keys": ", ".join(self.plan.shown_lone_sidecars) or None,
            "ignored_suffixes": self.plan.ignored_suffixes,
            "planned": self.plan.planned,
            **{outcome: self.outcomes[outcome] for outcome in schemas.OUTCOMES},
            "failed_chunks": len(self.failed_chunks),
            "checks_failed": sum(rows > 0 for rows in checks.values()),
            "pseudonyms": spec.key_fingerprint is not None,
            "key_fingerprint": spec.key_fingerprint.split()[-1] if spec.key_fingerprint else None,
            "audio_s": self.audio_s,
            "start_up_s": self.seconds["start_up"],
            **{f"{stage}_s": self.seconds[stage] for stage in schemas.STAGES},
            "wall_s": wall_s,
            "audio_h_per_h": self.audio_s / wall_s,
            "machines": len({machine.host for machine in machines}),
            "written_bytes": self.plan.written_bytes + self.written_bytes,
        }
