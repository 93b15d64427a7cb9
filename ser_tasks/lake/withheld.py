"""Emotion that has to go: rows of scored calls become rows of withheld ones, in every version that the views read, at once.

Older bytes stay in parts that no view reads any more, until ``maintenance.withdrawal`` rewrites those.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import SecretStr

from ser_tasks import schemas
from ser_tasks.lake import catalog, erased, ledger, parts, read_only
from ser_tasks.storage import Store

Change = Callable[[str, pa.Table], pa.Table]
"""The rows that a table's rows become; the same object where none changes."""

REASONS = {
    "no_notice": "the caller was not informed, or withdrew consent, after this version was scored",
    "notice_unclear": "what looks like the caller's refusal was stated after this version was scored",
    "opted_out": "the customer was put on the opt-out list after this version was scored",
}
"""By reason code of a refusal, the reason in rows that were scored before it."""


def without_emotion(codes: Mapping[str, str]) -> Change:
    """The change that turns scored rows of recordings into those of withheld calls, each with its reason code. Their reviews go."""

    def change(table: str, rows: pa.Table) -> pa.Table:
        if table in ("reviews", "review_samples"):
            theirs = erased.are_of(rows, codes)
            return rows.filter(pc.invert(theirs)) if pc.any(theirs).as_py() else rows
        if table not in ("outcomes", "call_emotions", "segments"):
            return rows
        where = pc.indices_nonzero(erased.are_of(rows, codes))
        theirs = rows.take(where).to_pylist()
        withheld = [_withheld(table, row, codes[row["recording_id"]]) for row in theirs]
        if withheld == theirs:
            return rows
        order = list(range(len(rows)))
        for number, place in enumerate(where.to_pylist()):
            order[place] = len(rows) + number
        return pa.concat_tables([rows, schemas.table(table, withheld)]).take(order)

    return change


def withhold(lake: Store, codes: Mapping[str, str], keys: Sequence[SecretStr]) -> int:
    """Withholds these recordings in every version that the views read. Returns how many of them had emotion there.

    A chunk's parts are replaced as a night replaces those that it tries again: readers see the old rows or the new. A killed run is
    completed by the next. By the lake's ``keys`` erased recordings are recognised.
    """
    query = """
        SELECT DISTINCT day, version, chunk_id, recording_id
        FROM parts.call_emotions SEMI JOIN chunks USING (day, version, chunk_id, part)
        WHERE list_contains($ids, recording_id) AND (outcome = 'scored' OR emotion_role IS NOT NULL)
        """
    if not codes:
        return 0
    with catalog.connect(lake.uri) as connection:
        found = read_only.query(connection, query, {"ids": sorted(codes)}).to_pylist()
    for day, version, chunk_id in sorted({(row["day"], row["version"], row["chunk_id"]) for row in found}):
        _withhold_in_chunk(lake, day, version, chunk_id, without_emotion(codes), keys)
    return len({row["recording_id"] for row in found})


def _withhold_in_chunk(lake: Store, day: date, version: str, chunk_id: str, change: Change, keys: Sequence[SecretStr]) -> None:
    folders = {table: parts.folder(table, day=day, version=version) for table in ("segments", "outcomes", "call_emotions")}
    found = ledger.find_chunk(lake, folders["outcomes"], chunk_id)
    if found is None:
        return
    held_by, name = found[0], parts.name_to_write(found[0], chunk_id)
    # Last comes what makes a killed run find the chunk again: its call_emotions; in a part of a new name, the outcomes, as in publish.py.
    order = ("segments", "outcomes", "call_emotions") if name == held_by else ("segments", "call_emotions", "outcomes")
    for table in order:
        rows = parts.read(lake, f"{folders[table]}{held_by}.parquet", table)
        rows = change(table, rows.filter(pc.equal(rows["chunk_id"], chunk_id)))
        rows = erased.read(lake, *keys).taken_from(rows)
        lake.write_bytes(f"{folders[table]}{name}.parquet", parts.encode(table, rows))


def scored_recordings(lake: Store, customers: Iterable[str]) -> frozenset[str]:
    """Ids of the recordings that have emotion in some part and whose newest row names one of these customers, by pseudonym."""
    query = """
        SELECT recording_id FROM parts.call_emotions
        GROUP BY recording_id
        HAVING list_contains($customers, arg_max(customer_pseudonym, scored_at))
            AND bool_or(outcome = 'scored' OR emotion_role IS NOT NULL)
        """
    customers = sorted(customers)
    if not customers:
        return frozenset()
    with catalog.connect(lake.uri) as connection:
        return frozenset(read_only.query(connection, query, {"customers": customers})["recording_id"].to_pylist())


def _withheld(table: str, row: dict[str, object], code: str) -> dict[str, object]:
    if table == "outcomes":
        return row | {"outcome": "withheld", "reason_code": code, "reason": REASONS[code]} if row["outcome"] == "scored" else row
    if table == "segments":
        if row["emotion"] is None and row["confidence"] is None:
            return row
        return row | dict.fromkeys(_columns("segments", "emotion", "unsure")) | {"not_scored_reason": code}
    if row["outcome"] != "scored" and row["emotion_role"] is None and row["words"] is None:
        return row
    emptied = dict.fromkeys((*_columns("call_emotions", "emotion_role", "call_anger_fused"), *_columns("call_emotions", *SENTIMENT)))
    return row | emptied | {"words": None, "outcome": "withheld", "scored_speech_s": 0.0, "scored_segments": 0}


SENTIMENT = ("agent_words_sentiment", "unattributed_words_lowest_at_s")
"""The first and last column of the words' sentiment."""


def _columns(table: str, first: str, last: str) -> list[str]:
    names: list[str] = schemas.TABLES[table].names
    return names[names.index(first) : names.index(last) + 1]
