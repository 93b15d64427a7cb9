"""Publish: write a chunk's parts, the outcomes last: their existence says that the chunk is done."""

import logging
import time
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ser_tasks import schemas
from ser_tasks.inference.bundle import Bundle
from ser_tasks.lake import manifest, parts
from ser_tasks.pipeline import ingest
from ser_tasks.pipeline.aggregate import Scored, call_row, outcome_row, segment_rows
from ser_tasks.pipeline.extract import Batch, Extracted
from ser_tasks.pipeline.ingest import Chunk
from ser_tasks.schemas import OUTCOMES
from ser_tasks.settings import Settings, code_version
from ser_tasks.storage import Store

log = logging.getLogger(__name__)


def publish_chunk(
    lake: Store,
    chunk: Chunk,
    batches: list[Batch],
    probabilities: list[np.ndarray],
    bundle: Bundle,
    *,
    policy: str,
    version: str,
    run_id: str,
    settings: Settings,
) -> dict[str, Any]:
    """Writes a chunk, given each batch's probabilities (its scored segments, labels). Returns counts, seconds and refusals.

    Rows of recordings that were handled before and are not in ``batches`` stay as they are. So do those of recordings that
    another run was quicker with.
    """
    started = time.perf_counter()
    held = parts.find_chunk(lake, chunk.day, version, chunk.chunk_id)
    waiting = ingest.waiting(chunk, held and held[1], settings)
    results = [found for found in _in_order(batches, probabilities) if found[0].recording.recording_id in waiting]
    provenance = {
        "model": bundle.model_id,
        "feature_set": bundle.feature_set_id,
        "priors": bundle.priors_text,
        "policy": policy,
        "run_id": run_id,
        "code_version": code_version(),
        "scored_at": manifest.after(ingest.last_scored_at(lake, chunk)),
    }
    rows: dict[str, list[dict[str, Any]]] = {"segments": [], "call_emotions": [], "outcomes": []}
    for result, own in results:
        scored = Scored(result, own, bundle.labels, bundle.unsure_below)
        if result.outcome is None and len(scored.probabilities):
            result.outcome = "scored"
        elif result.outcome is None:
            result.end("failed", "not_finite", f"The model {bundle.model_id} gave no finite score for any segment.")
        if result.outcome in ("scored", "no_speech", "withheld"):
            rows["segments"] += segment_rows(result, scored, provenance)
            rows["call_emotions"].append(call_row(result, scored, chunk.day, provenance, settings))
        rows["outcomes"].append(outcome_row(result, provenance))
    extracted = [result for result, _ in results]
    written_bytes = 0
    if extracted:
        redone = [result.recording.recording_id for result in extracted]
        for table, new in rows.items():  # outcomes last
            written_bytes += _write(lake, table, new, redone, chunk, version, held and held[0])
    ended = Counter(result.outcome for result in extracted)
    if held:  # what this run had published before, when its answer was lost
        ended.update(row["outcome"] for row in held[1].to_pylist() if row["run_id"] == run_id and row["recording_id"] not in waiting)
    report: dict[str, Any] = {outcome: ended[outcome] for outcome in OUTCOMES}
    report |= {f"{stage}_s": sum(r.seconds.get(stage, 0.0) for r in extracted) for stage in ("fetch", "decode", "speech", "features")}
    report |= {
        "audio_s": sum(result.audio_s for result in extracted),
        "write_s": time.perf_counter() - started,
        "written_bytes": written_bytes,
    }
    report["refusals"] = [result.reason_code for result in extracted if result.outcome == "withheld"]
    return report


def failed_batch(chunk: Chunk, error: BaseException) -> Batch:
    """The results of a chunk that a broken machine stopped: every recording failed, to be retried."""
    results = [Extracted(recording) for recording in chunk.recordings]
    for result in results:
        result.end("failed", "chunk_failed", f"The chunk was stopped by {type(error).__name__}; the run's log has the cause.")
    return Batch(results, None)


def _in_order(batches: list[Batch], probabilities: list[np.ndarray]) -> list[tuple[Extracted, np.ndarray]]:
    """Each result with its own probabilities, in the order of their keys, whichever worker made them."""
    found = []
    for batch, scores in zip(batches, probabilities, strict=True):
        first = 0
        for result in batch.extracted:
            count = sum(1 for segment in result.segments if segment.frames)
            found.append((result, scores[first : first + count]))
            first += count
    return sorted(found, key=lambda pair: (pair[0].recording.masked_key, pair[0].recording.recording_id))


def _write(lake: Store, table: str, rows: list[dict[str, Any]], redone: list[str], chunk: Chunk, version: str, held_by: str | None) -> int:
    """Writes a table's part, and returns its bytes."""
    new = schemas.table(table, rows)
    place = parts.folder(table, day=chunk.day, version=version)
    try:
        old = parts.read(lake, f"{place}{held_by or chunk.chunk_id}.parquet", table)
    except FileNotFoundError:
        pass
    else:
        kept = old.filter(pc.equal(old["chunk_id"], chunk.chunk_id))
        kept = kept.filter(pc.invert(pc.is_in(kept["recording_id"], pa.array(redone, pa.string()))))
        new = pa.concat_tables([kept, new]).sort_by([("recording_id", "ascending")])
    data = parts.encode(table, new)
    lake.write_bytes(f"{place}{parts.name_to_write(held_by, chunk.chunk_id)}.parquet", data)
    return len(data)
