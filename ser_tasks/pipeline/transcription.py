"""Transcripts made here, a stage after the scores: calls that have none are planned, and go through extraction once more, with a
recogniser (``RunSpec.recogniser``). Their words then take the way of others' transcripts: counts, roles, retention, redaction.
"""

import secrets
from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow as pa

from ser_tasks.inference.scorer import choose_device
from ser_tasks.lake import catalog, erased, held, manifest, read_only
from ser_tasks.pipeline import opt_out
from ser_tasks.pipeline.ingest import Plan
from ser_tasks.pipeline.listing import Listing
from ser_tasks.pipeline.run import Night
from ser_tasks.pipeline.spec import RunSpec
from ser_tasks.transcripts import faster_whisper
from ser_tasks.transcripts.recognition import RecogniserSpec, hash_of

_WITHOUT_WORDS = """
    SELECT c.day, c.chunk_id, c.recording_id
    FROM parts.call_emotions AS c SEMI JOIN chunks USING (day, version, chunk_id, part)
    JOIN parts.outcomes AS o USING (day, version, chunk_id, part, recording_id)
    WHERE version = $version AND c.words_source IS NULL AND (o.outcome = 'scored' OR o.reason_code = 'roles_uncertain')
        AND ($day IS NULL OR c.day = $day)
    ORDER BY ALL
    """
"""Calls whose words would serve: those that are scored, and mono mixes of which it is not safe to say who speaks."""


def with_recogniser(spec: RunSpec) -> RunSpec:
    """The specification of the stage. Raises ValueError where SER_ASR_MODEL names no model, or the extra ``words`` is not installed."""
    folder = spec.settings.asr_model
    if folder is None:
        raise ValueError("SER_ASR_MODEL is not set: give the folder of a Whisper model in CTranslate2's format. Nothing is downloaded.")
    faster_whisper.check(folder)
    device = choose_device(spec.device).type
    whole = str(Path(folder).absolute())
    return replace(spec, recogniser=RecogniserSpec(whole, device, hash_of(Path(whole), faster_whisper.PRECISION[device])))


class Transcription(Night):
    """A run of the stage. ``spec`` has a recogniser."""

    def list_and_plan(self) -> Plan:
        """Lists the store, and returns the chunks with calls that wait for words. Calls on hold stay as they are."""
        spec = self.spec
        with self.record.timed("list"):
            self.withheld = opt_out.withhold_scored(self.lake, spec.opt_out, self.handler.settings)
            deleted, gone = manifest.deleted_days(self.lake), erased.read(self.lake, *self._keys.people)
            database = self.scratch / f"listing-{secrets.token_hex(4)}.duckdb"
            self.listing = Listing(self.recordings, spec.settings, database, spec.day, deleted, gone, self._keys.recordings)
            plan = self._waiting()
            self.listing.opted_out = opt_out.withheld_before(self.lake, {day for day, _ in plan.chunks})
        self.record.add_plan(plan)
        return plan

    def _waiting(self) -> Plan:
        plan = Plan(listed=self.listing.listed)
        with catalog.connect(self.lake.uri) as connection:
            found = read_only.query(connection, _WITHOUT_WORDS, {"version": self.spec.version, "day": self.spec.day}).to_pylist()
        on_hold, listed = held.held_recordings(self.lake), set(self.listing.days())
        by_day: dict[date, set[tuple[str, str]]] = {}
        for row in found:
            if row["recording_id"] not in on_hold and row["day"] in listed:
                by_day.setdefault(row["day"], set()).add((row["chunk_id"], row["recording_id"]))
        for day, calls in by_day.items():
            rows = manifest.read_manifest(self.lake, day)
            pairs = list(zip(rows["chunk_id"].to_pylist(), rows["recording_id"].to_pylist(), strict=True))
            rows = rows.filter(pa.array([pair in calls for pair in pairs], pa.bool_()))
            rows = rows.append_column("attempts", pa.array([0] * len(rows), pa.int64()))
            self.listing.keep(rows.append_column("only_listed", pa.array([True] * len(rows), pa.bool_())))
            for chunk_id in rows["chunk_id"].unique().to_pylist():
                if recordings := self.listing.recordings(chunk_id):  # none where all have left the store
                    plan.chunks.append((day, chunk_id))
                    plan.recordings += len(recordings)
        return plan

    def give_up(self, day: date, chunk_id: str, error: BaseException) -> None:
        """Records that a broken machine stopped a chunk. Its rows stay: the next run tries it again."""
        self.record.add_failed_chunk(chunk_id, error)
