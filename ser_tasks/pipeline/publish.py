"""Publish: write a chunk's parts, the outcomes last: their existence says that the chunk is done."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ser_tasks import schemas
from ser_tasks.inference.bundle import Bundle
from ser_tasks.inference.scorer import ScoredFile
from ser_tasks.inference.scores import at_rates, shares_text
from ser_tasks.lake import erased, ledger, manifest, parts
from ser_tasks.lake.erased import Erased
from ser_tasks.pipeline import ingest
from ser_tasks.pipeline.aggregate import Scored, ScoreRules, call_row, outcome_row, segment_rows
from ser_tasks.pipeline.extract import Batch, Extracted
from ser_tasks.pipeline.ingest import Chunk
from ser_tasks.pipeline.lines import RAW, OnLine, ProfileBook
from ser_tasks.pipeline.spec import RunSpec
from ser_tasks.schemas import OUTCOMES, WORKER_STAGES
from ser_tasks.settings import Settings, code_version
from ser_tasks.storage import Store

RECORDINGS_AT_ONCE = 100
"""Recordings whose rows are Python objects at a time."""
ScoredResult = tuple[Extracted, NDArray[np.float32], NDArray[np.float32], str | None]
"""A recording with its own probabilities and distances, and their precision."""


@dataclass(frozen=True)
class Machine:
    """A process that handled chunks: ``name`` as host:pid, its extraction processes, and what scored: the device, and its precision."""

    name: str
    processes: int
    device: str
    precision: str | None = None
    """None where nothing was scored."""

    @property
    def host(self) -> str:
        return self.name.rpartition(":")[0]


@dataclass(frozen=True)
class ChunkReport:
    """What became of a chunk."""

    outcomes: dict[str, int]
    """Recordings by outcome, 0 where there are none."""
    seconds: dict[str, float]
    """By stage (schemas.STAGES)."""
    audio_s: float
    written_bytes: int
    refusals: tuple[str, ...]
    """Reason codes of the withheld recordings."""
    machine: Machine | None = None
    """The machine of a cluster that handled it; None for the one that runs the flow."""


def publish_chunk(
    lake: Store,
    chunk: Chunk,
    scored: list[tuple[Batch, ScoredFile]],
    bundle: Bundle,
    profiles: ProfileBook,
    spec: RunSpec,
    settings: Settings,
) -> ChunkReport:
    """Writes a chunk, given its batches and their scores. ``settings`` hold the keys of the pseudonyms.

    Rows of recordings that were handled before and are not in the batches stay as they are. So do those of recordings that
    another run finished in the meantime. Recordings that were erased in the meantime are left out. Raises BrokenPartError where the
    chunk's outcomes under this version cannot be read.
    """
    started = time.perf_counter()
    before = ledger.read_chunk(lake, chunk.day, spec.version, chunk.chunk_id)
    gone = erased.read(lake, *settings.pseudonym_keys())
    waiting = {recording for recording in ingest.waiting_recordings(chunk, before.outcomes, settings) if recording not in gone}
    results = [each for each in in_order(scored) if each[0].recording.recording_id in waiting]
    of_run = {
        "model": bundle.model_id,
        "feature_set": bundle.feature_set_id,
        "policy": spec.policy,
        "run_id": spec.run_id,
        "code_version": code_version(),
        "scored_at": manifest.after(before.last_scored_at),
    }
    tables = _tables_of(results, chunk.day, bundle, profiles, spec, settings, of_run)
    extracted = [result for result, *_ in results]
    written_bytes = _write(lake, chunk, spec.version, tables, before.held_by, gone) if extracted else 0
    ended = Counter(result.outcome for result in extracted)
    for row in before.outcomes.to_pylist():  # what this run had published before, when its answer was lost
        if row["run_id"] == spec.run_id and row["recording_id"] not in waiting:
            ended[row["outcome"]] += 1
    return ChunkReport(
        outcomes={outcome: ended[outcome] for outcome in OUTCOMES},
        seconds=worker_seconds(extracted) | {"write": time.perf_counter() - started},
        audio_s=sum(result.audio_s for result in extracted),
        written_bytes=written_bytes,
        refusals=tuple(result.reason_code or "" for result in extracted if result.outcome == "withheld"),
    )


def worker_seconds(extracted: list[Extracted]) -> dict[str, float]:
    """The seconds of each stage in the workers, over a chunk's recordings."""
    return {stage: sum(result.seconds.get(stage, 0.0) for result in extracted) for stage in WORKER_STAGES}


def _tables_of(results: list[ScoredResult], *more: Any) -> dict[str, pa.Table]:
    """The tables of ``rows_of``. Rows are Python objects for a few recordings at a time: they take many times what columns do."""
    blocks = [results[first : first + RECORDINGS_AT_ONCE] for first in range(0, len(results), RECORDINGS_AT_ONCE)] or [[]]
    made = [{table: schemas.table(table, rows) for table, rows in rows_of(block, *more).items()} for block in blocks]
    return {table: pa.concat_tables([tables[table] for tables in made]).combine_chunks() for table in made[0]}


def rows_of(
    results: list[ScoredResult],
    day: date,
    bundle: Bundle,
    profiles: ProfileBook,
    spec: RunSpec,
    settings: Settings,
    of_run: dict[str, Any],
) -> dict[str, list[dict[str, Any]]]:
    """The rows of recordings, by table; those without an outcome get theirs. ``of_run`` are the columns of the run that makes them."""
    rows: dict[str, list[dict[str, Any]]] = {"segments": [], "call_emotions": [], "outcomes": []}
    for result, probabilities, distances, precision in results:
        on_line = profiles.line_of(result) if result.scored_segments else RAW
        priors, source = _base_rates(bundle, on_line, settings)
        if source == "line":
            probabilities = at_rates(probabilities.astype(np.float64), bundle.priors, priors, bundle.labels).astype(np.float32)
        provenance = {
            "priors": shares_text({label: priors[label] for label in bundle.labels}) if priors else None,
            "priors_source": source,
            "line_profile": on_line.profile_id,
            "precision": precision if result.scored_segments else None,
            **of_run,
        }
        rules = ScoreRules(bundle.labels, bundle.unsure_below, priors, bundle.calibrations, bundle.set_thresholds, bundle.fusion)
        scores = Scored(result, probabilities, rules, on_line.name, distances)
        if result.outcome is None and len(scores.probabilities):
            result.outcome = "scored"
        elif result.outcome is None:
            result.end("failed", "not_finite", f"The model {bundle.model_id} gave no finite score for any segment.")
        if result.outcome in ("scored", "no_speech", "withheld"):
            rows["segments"] += segment_rows(result, scores, day, provenance)
            rows["call_emotions"].append(call_row(result, scores, day, provenance, settings))
        rows["outcomes"].append(outcome_row(result, provenance))
    return rows


def _base_rates(bundle: Bundle, on_line: OnLine, settings: Settings) -> tuple[Mapping[str, float], str | None]:
    """The base rates to which a call is corrected, by label (empty: none), and where they come from. SER_PRIORS is the last word."""
    if settings.priors:
        return bundle.priors, "settings"
    if on_line.line is not None and on_line.line.used_rates:
        return on_line.line.used_rates, "line"
    return bundle.priors, "bundle" if bundle.priors else None


def failed_batch(chunk: Chunk, error: BaseException) -> Batch:
    """The results of a chunk that a broken machine stopped: every recording failed, to be retried."""
    results = [Extracted(recording) for recording in chunk.recordings]
    for result in results:
        result.end("failed", "chunk_failed", f"The chunk was stopped by {type(error).__name__}; the run's log has the cause.")
    return Batch(results)


def in_order(scored: list[tuple[Batch, ScoredFile]]) -> list[ScoredResult]:
    """Each result with its own probabilities and distances, and their precision, in the order of their keys, whichever worker made them."""
    results = []
    for batch, scores in scored:
        first = 0
        for result in batch.extracted:
            last = first + len(result.scored_segments)
            results.append((result, scores.probabilities[first:last], scores.distances[first:last], scores.precision))
            first = last
    return sorted(results, key=lambda each: (each[0].recording.masked_key, each[0].recording.recording_id))


def _write(lake: Store, chunk: Chunk, version: str, tables: dict[str, pa.Table], held_by: str | None, gone: Erased) -> int:
    """Writes the three tables' parts, outcomes last, and returns their bytes. Older rows of recordings that are not in ``tables`` stay.

    Where the chunk is not done, only a run that was killed while it published can have left parts, and it wrote the first table first.
    """
    redone = tables["outcomes"]["recording_id"].combine_chunks()
    written_bytes, may_exist = 0, True
    for table, new in tables.items():
        place = parts.folder(table, day=chunk.day, version=version)
        old = _read_if_there(lake, f"{place}{held_by or chunk.chunk_id}.parquet", table) if may_exist else None
        may_exist = old is not None or held_by is not None
        if old is not None:
            kept = gone.taken_from(old.filter(pc.equal(old["chunk_id"], chunk.chunk_id)))
            kept = kept.filter(pc.invert(pc.is_in(kept["recording_id"], redone)))
            new = pa.concat_tables([kept, new]).sort_by([("recording_id", "ascending")])
        data = parts.encode(table, new)
        lake.write_bytes(f"{place}{parts.name_to_write(held_by, chunk.chunk_id)}.parquet", data)
        written_bytes += len(data)
    return written_bytes


def _read_if_there(lake: Store, key: str, table: str) -> pa.Table | None:
    try:
        return parts.read(lake, key, table)
    except FileNotFoundError:
        return None
