"""Publish: score a chunk's segments and write its parts, the outcomes last: their existence says that the chunk is done."""

import logging
import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ser_tasks import parts, schemas
from ser_tasks.extract import Batch, Extracted
from ser_tasks.ingest import Chunk
from ser_tasks.schemas import OUTCOMES
from ser_tasks.score import Scorer
from ser_tasks.settings import Settings, code_version
from ser_tasks.store import Store
from ser_tasks.summarise import Scored, call_row, outcome_row, segment_rows

log = logging.getLogger(__name__)


def publish_chunk(
    lake: Store, chunk: Chunk, batches: list[Batch], scorer: Scorer, policy: str, version: str, run_id: str, settings: Settings
) -> dict[str, Any]:
    """Scores and writes a chunk. Returns the counts of outcomes, audio seconds and seconds by stage.

    Rows of recordings that were handled before and are not in ``batches`` stay as they are.
    """
    results, frames = _in_order(batches)
    started = time.perf_counter()
    lengths = np.array([segment.frames for result in results for segment in result.segments if segment.frames], np.int64)
    probabilities = scorer.score(frames, lengths)
    scored_at = time.perf_counter()

    bundle = scorer.bundle
    provenance = {
        "model": bundle.model_id,
        "feature_set": bundle.feature_set_id,
        "policy": policy,
        "run_id": run_id,
        "code_version": code_version(),
        "scored_at": datetime.now(UTC),
    }
    rows: dict[str, list[dict[str, Any]]] = {"segments": [], "call_emotions": [], "outcomes": []}
    first = 0
    for result in results:
        count = sum(1 for segment in result.segments if segment.frames)
        scored = Scored(result, probabilities[first : first + count], bundle.labels, bundle.unsure_below)
        first += count
        if result.outcome is None and len(scored.probabilities):
            result.outcome = "scored"
        elif result.outcome is None:
            result.end("failed", "not_finite", f"The model {bundle.model_id} gave no finite score for any segment.")
        if result.outcome in ("scored", "no_speech", "withheld"):
            rows["segments"] += segment_rows(result, scored, provenance)
            rows["call_emotions"].append(call_row(result, scored, chunk.day, provenance, settings))
        rows["outcomes"].append(outcome_row(result, provenance))
    for table, new in rows.items():  # outcomes last
        _write(lake, table, new, chunk, version)
    written_at = time.perf_counter()

    report = {outcome: sum(result.outcome == outcome for result in results) for outcome in OUTCOMES}
    report |= {f"{stage}_s": sum(r.seconds.get(stage, 0.0) for r in results) for stage in ("fetch", "decode", "speech", "features")}
    report |= {"audio_s": sum(result.audio_s for result in results)}
    report |= {"score_s": scored_at - started, "write_s": written_at - scored_at}
    report["refusals"] = [result.reason_code for result in results if result.outcome == "withheld"]
    return report


def failed_batch(chunk: Chunk, error: BaseException) -> Batch:
    """The results of a chunk that a broken machine stopped: every recording failed, to be retried."""
    results = [Extracted(recording) for recording in chunk.recordings]
    for result in results:
        result.end("failed", "chunk_failed", f"The chunk was stopped by {type(error).__name__}; the run's log has the cause.")
    return Batch(results, None)


def _in_order(batches: list[Batch]) -> tuple[list[Extracted], np.ndarray]:
    """Results in the order of their keys, whichever worker made them, and all their frames in that order."""
    found: list[tuple[Extracted, np.ndarray | None]] = []
    for batch in batches:
        frames = np.load(batch.frames_file, mmap_mode="r") if batch.frames_file else None
        first = 0
        for result in batch.extracted:
            count = sum(segment.frames for segment in result.segments)
            found.append((result, frames[first : first + count] if frames is not None and count else None))
            first += count
    found.sort(key=lambda pair: (pair[0].recording.masked_key, pair[0].recording.recording_id))
    pieces = [frames for _, frames in found if frames is not None]
    return [result for result, _ in found], np.concatenate(pieces) if pieces else np.zeros((0, 1), np.float32)


def _write(lake: Store, table: str, rows: list[dict[str, Any]], chunk: Chunk, version: str) -> None:
    new = schemas.table(table, rows)
    key = f"{parts.folder(table, day=chunk.day, version=version)}{chunk.chunk_id}.parquet"
    try:
        old = parts.read(lake, key, table)
    except FileNotFoundError:
        pass
    else:
        redone = pa.array([recording.recording_id for recording in chunk.recordings], pa.string())
        kept = old.filter(pc.invert(pc.is_in(old["recording_id"], redone)))
        new = pa.concat_tables([kept, new]).sort_by([("recording_id", "ascending")])
    lake.write_bytes(key, parts.encode(table, new))
