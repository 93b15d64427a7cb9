"""Withdrawn consent: a call whose newest version says that the caller was not informed loses its emotion in every version.

The views of ``sql/staging`` show none of it from the night on that read the new sidecar. ``withdraw`` takes it out of the older parts:
their rows stay, as those of a withheld call.
"""

from collections.abc import Container
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from ser_tasks import schemas
from ser_tasks.lake import catalog, erased, read_only
from ser_tasks.maintenance import erasure, holds, rewriting
from ser_tasks.maintenance.compaction import LISTING_S, READING_S
from ser_tasks.maintenance.rewriting import Change, Rewritten
from ser_tasks.storage import Store

REASON_CODE = "no_notice"
REASON = "the caller was not informed, or withdrew consent, after this version was scored"


@dataclass(frozen=True)
class Withdrawn:
    """Recordings whose consent was withdrawn, and the days with parts that still have their emotion."""

    recordings: frozenset[str]
    days: frozenset[date]

    def summary(self) -> str:
        """How many they are, in one line."""
        return f"{len(self.recordings)} recordings whose consent was withdrawn have emotion in older versions."


def find(lake: Store) -> Withdrawn:
    """The recordings with emotion in some part, though their newest version says that the caller was not informed; without held ones."""
    query = """
        WITH emotion AS (
            SELECT day, recording_id FROM parts.outcomes WHERE outcome = 'scored'
            UNION SELECT day, recording_id FROM parts.call_emotions WHERE outcome = 'scored' OR emotion_role IS NOT NULL
            UNION SELECT day, recording_id FROM parts.segments WHERE emotion IS NOT NULL OR confidence IS NOT NULL
        )
        FROM emotion SEMI JOIN (FROM newest WHERE reason_code = $code) AS withdrawn USING (recording_id)
        """
    with catalog.connect(lake.uri) as connection:
        rows = read_only.query(connection, query, {"code": REASON_CODE}).to_pylist()
    held = holds.held_recordings(lake) if rows else frozenset()
    rows = [row for row in rows if row["recording_id"] not in held]
    return Withdrawn(frozenset(row["recording_id"] for row in rows), frozenset(row["day"] for row in rows))


def withdraw(lake: Store, found: Withdrawn, listing_s: float = LISTING_S, reading_s: float = READING_S) -> Rewritten:
    """Takes these recordings' emotion out of every part and quarantined part, and blanks the pages and alerts that name them.

    Waits ``listing_s`` and ``reading_s`` seconds for running queries where a part is replaced.
    """
    if not found.recordings:
        return Rewritten()
    change = without_emotion(found.recordings)
    erasure.clean(lake, erasure.names_of(lake, found.recordings), change, erasure.Erasure(), write=True)
    return rewriting.rewrite(lake, found.days, change, listing_s, reading_s)


def without_emotion(recordings: Container[str]) -> Change:
    """The change that turns scored rows of these recordings into those of withheld calls."""

    def change(table: str, rows: pa.Table) -> pa.Table:
        if table not in ("outcomes", "call_emotions", "segments"):
            return rows
        where = pc.indices_nonzero(erased.are_of(rows, recordings)).to_pylist()
        theirs = rows.take(where).to_pylist()
        withheld = [_withheld(table, row) for row in theirs]
        if withheld == theirs:
            return rows
        order = list(range(len(rows)))
        for number, place in enumerate(where):
            order[place] = len(rows) + number
        return pa.concat_tables([rows, schemas.table(table, withheld)]).take(order)

    return change


def _withheld(table: str, row: dict[str, object]) -> dict[str, object]:
    if table == "outcomes":
        return row | {"outcome": "withheld", "reason_code": REASON_CODE, "reason": REASON} if row["outcome"] == "scored" else row
    if table == "segments":
        if row["emotion"] is None and row["confidence"] is None:
            return row
        return row | dict.fromkeys(_columns("segments", "emotion", "unsure")) | {"not_scored_reason": REASON_CODE}
    if row["outcome"] != "scored" and row["emotion_role"] is None:
        return row
    emptied = dict.fromkeys(_columns("call_emotions", "emotion_role", "onset_s"))
    return row | emptied | {"outcome": "withheld", "scored_speech_s": 0.0, "scored_segments": 0}


def _columns(table: str, first: str, last: str) -> list[str]:
    names: list[str] = schemas.TABLES[table].names
    return names[names.index(first) : names.index(last) + 1]
