"""Reviews in the lake: what people heard in calls (table ``reviews``), and the samples that they judge from (``review_samples``).

A review is one part with one row under a name of its own, written only where that name is free: two writers never meet, and a killed one
leaves a whole part or none. The part lies in the day folder of its call, so the retention deletes both together. Nothing is replaced: who
thinks again adds a row, and the views take the latest. A sample is one part, in the day folder of its oldest call.
"""

import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from ser_tasks import schemas
from ser_tasks.lake import ledger, parts
from ser_tasks.lake.sql_text import literal
from ser_tasks.schemas import EMOTIONS, VERDICTS
from ser_tasks.settings import code_version
from ser_tasks.storage import Store

MAX_NOTE_CHARACTERS = 500
"""Longest note: enough for a remark, too short for a protocol of the call."""
MAX_NAME_CHARACTERS = 200
TABLES = ("reviews", "review_samples")


class CallGoneError(ValueError):
    """The call is no longer in the lake: it was erased, or its day was deleted."""


@dataclass(frozen=True)
class Call:
    """The scored call that is judged: where the lake holds it, and which model scored it."""

    day: date
    version: str
    chunk_id: str
    recording_id: str
    etag: str
    call_id: str
    model: str


@dataclass(frozen=True)
class Stretch:
    """A part of one channel. Seconds from the start of the recording."""

    channel: int
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Review:
    """One judgement. Raises ValueError, with a message for the reviewer, for one that says nothing or too much."""

    verdict: str
    """One of VERDICTS."""
    reviewer: str
    emotion: str | None = None
    """What the reviewer hears; needed for agree and wrong, and only for these."""
    stretch: Stretch | None = None
    """None: the whole call."""
    note: str | None = None
    blind: bool = False
    model_emotion: str | None = None
    model_score: float | None = None
    sample_id: str | None = None

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"{self.verdict[:40]!r} is no verdict: choose {', '.join(VERDICTS)}.")
        if not self.reviewer.strip() or len(self.reviewer) > MAX_NAME_CHARACTERS:
            raise ValueError(f"A review needs its reviewer's name, of at most {MAX_NAME_CHARACTERS} characters.")
        if (self.emotion is not None) != (self.verdict in ("agree", "wrong")):
            raise ValueError("Which emotion do you hear? Choose one." if self.emotion is None else f"{self.verdict} has no emotion.")
        if self.emotion is not None and self.emotion not in EMOTIONS:
            raise ValueError(f"{self.emotion[:40]!r} is no emotion: choose {', '.join(EMOTIONS)}.")
        if self.note is not None and len(self.note) > MAX_NOTE_CHARACTERS:
            raise ValueError(f"The note has {len(self.note)} characters: at most {MAX_NOTE_CHARACTERS} are stored.")
        if self.verdict == "note" and not self.note:
            raise ValueError("The note is empty: write one.")


def write(lake: Store, call: Call, review: Review) -> dict[str, Any]:
    """Stores a review, and returns its row once it is on the disk.

    Raises CallGoneError where the lake no longer holds the call, and OSError where it cannot be written.
    """
    _check_is_there(lake, call)
    review_id, stretch = new_id(), review.stretch
    row = {
        "review_id": review_id,
        "recording_id": call.recording_id,
        "etag": call.etag,
        "call_id": call.call_id,
        "channel": stretch and stretch.channel,
        "start_s": stretch and stretch.start_s,
        "end_s": stretch and stretch.end_s,
        "verdict": review.verdict,
        "emotion": review.emotion,
        "note": review.note or None,
        "blind": review.blind,
        "reviewer": review.reviewer,
        "reviewed_at": datetime.now(UTC),
        "model": call.model,
        "model_emotion": review.model_emotion,
        "model_score": review.model_score,
        "sample_id": review.sample_id,
        "code_version": code_version(),
    }
    _create(lake, "reviews", call.day, review_id, [row])
    return row


def write_sample(lake: Store, rows: list[dict[str, Any]], day: date) -> None:
    """Stores the rows of one sample in one part. ``day``: the day folder of its oldest call."""
    _create(lake, "review_samples", day, rows[0]["sample_id"], rows)


def new_id() -> str:
    """The id of a review or sample, which is its part's name: when it was made, and 64 random bits."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(8)}"


def latest(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of reviews with an emotion, the latest of each reviewer and stretch or call, as the view ``review_labels`` has them."""
    by_unit = {}
    for row in sorted(rows, key=lambda row: (row["reviewed_at"], row["review_id"])):
        if row["emotion"] is not None:
            by_unit[(row["reviewer"], row["recording_id"], row["channel"], row["start_s"], row["end_s"])] = row
    return list(by_unit.values())


def merge(lake: Store, day: date, gone: Any) -> list[str]:
    """Merges a day's parts of reviews into one, and returns the keys of the merged ones, which may be deleted when no query reads them.

    The view counts a review once, in whichever parts it is. ``gone``: erased recordings (``lake.erased``).
    """
    keys = sorted(parts.keys(lake, parts.folder("reviews", day=day)))
    if len(keys) < 2:
        return []
    rows = pa.concat_tables([parts.read(lake, key, "reviews") for key in keys])
    places = {review_id: place for place, review_id in enumerate(rows["review_id"].to_pylist())}
    rows = rows.take(sorted(places.values()))
    name = f"{parts.MERGED}{1 + max(parts.merged_number(parts.name_of(key)) for key in keys):06}-{secrets.token_hex(6)}"
    lake.write_bytes(f"{parts.folder('reviews', day=day)}{name}.parquet", parts.encode("reviews", gone.taken_from(rows)))
    return keys


def queues_text(queues: Iterable[str]) -> str | None:
    """Queues as the column ``queues`` holds them."""
    names = sorted(queues)
    return json.dumps(names, ensure_ascii=False) if names else None


def same_unit(one: str, other: str) -> str:
    """The SQL condition that two rows are of the same stretch, or of the same whole call."""
    columns = ("recording_id", "channel", "start_s", "end_s")
    return " AND ".join(f"{one}.{column} IS NOT DISTINCT FROM {other}.{column}" for column in columns)


def _check_is_there(lake: Store, call: Call) -> None:
    """A page may be older than an erasure: what was erased is in no outcomes part that the views read."""
    held = ledger.find_chunk(lake, parts.folder("outcomes", day=call.day, version=call.version), call.chunk_id)
    if held is None or call.recording_id not in held[1]["recording_id"].to_pylist():
        raise CallGoneError(f"The call {literal(call.call_id)} is no longer in the lake: it was erased, deleted or scored again.")


def _create(lake: Store, table: str, day: date, name: str, rows: list[dict[str, Any]]) -> None:
    key = f"{parts.folder(table, day=day)}{name}.parquet"
    if not lake.create_bytes(key, parts.encode(table, schemas.table(table, rows))):
        raise FileExistsError(f"{key} exists already: try again.")
