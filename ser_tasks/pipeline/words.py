"""Words made after the scores: the rows of calls that a recogniser gave words get the words' columns, and no other.

Scores stay as they are, unless words say otherwise who speaks on a mono mix. Rows keep the ``run_id`` of their night. A row's
``words_source`` is the mark that it is done: a killed run goes on where it was.
"""

import time
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ser_tasks import schemas
from ser_tasks.inference.bundle import Bundle
from ser_tasks.inference.scorer import ScoredFile
from ser_tasks.lake import erased, ledger, manifest, parts
from ser_tasks.pipeline.extract import Batch
from ser_tasks.pipeline.ingest import Chunk
from ser_tasks.pipeline.lines import ProfileBook
from ser_tasks.pipeline.publish import ChunkReport, in_order, rows_of, worker_seconds
from ser_tasks.pipeline.spec import RunSpec
from ser_tasks.schemas import OUTCOMES, WORD_COLUMNS
from ser_tasks.settings import Settings, code_version
from ser_tasks.storage import Store


def publish_words(
    lake: Store,
    chunk: Chunk,
    scored: list[tuple[Batch, ScoredFile]],
    bundle: Bundle,
    profiles: ProfileBook,
    spec: RunSpec,
    settings: Settings,
) -> ChunkReport:
    """Writes the words' columns of a chunk's calls, as ``publish_chunk`` writes a chunk. Rows of calls that are no longer scored, or have
    words since, stay as they are, and so does the row of a call that failed now.

    A mono mix of which words now say otherwise who speaks gets new rows. Raises BrokenPartError where a part cannot be read.
    """
    started = time.perf_counter()
    found = ledger.find_chunk(lake, parts.folder("outcomes", day=chunk.day, version=spec.version), chunk.chunk_id)
    gone, results = erased.read(lake, *settings.pseudonym_keys()), in_order(scored)
    done: Counter[str | None] = Counter()
    written_bytes = 0
    if found is not None:
        held_by, name = found[0], parts.name_to_write(found[0], chunk.chunk_id)
        before = {table: _rows(lake, chunk, spec.version, table, held_by) for table in ("segments", "outcomes", "call_emotions")}
        new = rows_of(results, chunk.day, bundle, profiles, spec, settings, _provenance(before["outcomes"], bundle, spec))
        changed = _changed(before, new)
        # A killed run finds the call again by its call_emotions; in a part of a new name, the outcomes come last, as in publish.py.
        order = ("segments", "outcomes", "call_emotions") if name == held_by else ("segments", "call_emotions", "outcomes")
        for table in order if changed["call_emotions"] else ():
            if name == held_by and not changed[table] and not (table == "segments" and changed["outcomes"]):
                continue
            redone = pa.array({row["recording_id"] for row in changed["outcomes" if table == "segments" else table]}, pa.string())
            kept = before[table].filter(pc.invert(pc.is_in(before[table]["recording_id"], redone)))
            rows = pa.concat_tables([kept, schemas.table(table, changed[table])]).sort_by([("recording_id", "ascending")])
            data = parts.encode(table, gone.taken_from(rows))
            lake.write_bytes(f"{parts.folder(table, day=chunk.day, version=spec.version)}{name}.parquet", data)
            written_bytes += len(data)
        done.update(row["outcome"] for row in changed["call_emotions"])
    extracted = [result for result, *_ in results]
    return ChunkReport(
        outcomes={outcome: done[outcome] for outcome in OUTCOMES} | {"failed": sum(each.outcome == "failed" for each in extracted)},
        seconds=worker_seconds(extracted) | {"write": time.perf_counter() - started},
        audio_s=sum(each.audio_s for each in extracted),
        written_bytes=written_bytes,
        refusals=(),
    )


def _rows(lake: Store, chunk: Chunk, version: str, table: str, held_by: str) -> pa.Table:
    rows = parts.read(lake, f"{parts.folder(table, day=chunk.day, version=version)}{held_by}.parquet", table)
    return rows.filter(pc.equal(rows["chunk_id"], chunk.chunk_id))


def _provenance(outcomes: pa.Table, bundle: Bundle, spec: RunSpec) -> dict[str, Any]:
    return {
        "model": bundle.model_id,
        "feature_set": bundle.feature_set_id,
        "policy": spec.policy,
        "run_id": None,  # the night's: _changed
        "code_version": code_version(),
        "scored_at": manifest.after(pc.max(outcomes["scored_at"]).as_py()),
    }


def _changed(before: dict[str, pa.Table], new: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The rows that change, by table; segments and outcomes only of calls whose outcome or roles do."""
    old = {row["recording_id"]: row for row in before["call_emotions"].to_pylist()}
    outcomes = {row["recording_id"]: row for row in before["outcomes"].to_pylist()}
    changed: dict[str, list[dict[str, Any]]] = {table: [] for table in before}
    whole: dict[str, str] = {}
    for row in new["call_emotions"]:
        call, outcome = old.get(row["recording_id"]), outcomes.get(row["recording_id"])
        if call is None or outcome is None or call["words_source"] is not None or row["words_source"] is None:
            continue
        if outcome["outcome"] != "scored" and outcome["reason_code"] != "roles_uncertain":
            continue
        if (row["outcome"], row["roles_evidence"]) == (call["outcome"], call["roles_evidence"]):
            changed["call_emotions"].append(call | {name: row[name] for name in WORD_COLUMNS})
        else:
            whole[row["recording_id"]] = outcome["run_id"]
            changed["call_emotions"].append(row | {"run_id": outcome["run_id"]})
    for table in ("segments", "outcomes"):
        changed[table] = [row | {"run_id": whole[row["recording_id"]]} for row in new[table] if row["recording_id"] in whole]
    return changed
