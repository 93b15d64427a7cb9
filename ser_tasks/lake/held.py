"""What is on hold in a lake: calls that neither retention nor erasure may delete, by call, customer or agent.

A hold is a file of the lake, ``holds/<kind>-<hash>.json``; ``maintenance.holds`` places and releases it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

import duckdb

from ser_tasks import schemas
from ser_tasks.lake import catalog, parts, read_only
from ser_tasks.storage import Store

FOLDER = "holds/"
COLUMNS = {"call": ("call_id", "recording_id"), "customer": ("customer_pseudonym",), "agent": ("agent_pseudonym",)}
"""What a hold or an erasure can name, and the columns of call_emotions that hold it."""


@dataclass(frozen=True)
class Subject:
    """A call or a person, as the lake knows them: ``id`` is a call's id (or recording_id), or a person's pseudonym."""

    kind: str
    id: str


@dataclass(frozen=True)
class Hold:
    """One hold."""

    kind: str
    id: str
    since: str
    reason: str

    def line(self) -> str:
        """The hold in one line."""
        return f"{self.kind} {self.id}: held since {self.since}" + (f" ({self.reason})" if self.reason else "")


def read(lake: Store) -> list[Hold]:
    """Every hold of a lake."""
    found = [json.loads(lake.read_bytes(item.key)) for item in lake.list(FOLDER)]
    return [Hold(each["kind"], each["id"], each["since"], each["reason"]) for each in found]


def held_recordings(lake: Store) -> frozenset[str]:
    """Ids of the recordings that a hold covers."""
    holds = read(lake)
    return recordings_of(lake, [Subject(hold.kind, hold.id) for hold in holds]) if holds else frozenset()


def recordings_of(lake: Store, subjects: Iterable[Subject]) -> frozenset[str]:
    """Ids of the recordings of calls and people, in any part and version of the lake, be it one that no view reads any more.

    Raises BrokenPartError where a part cannot be read: whose rows it has is unknown.
    """
    found: set[str] = set()
    with catalog.connect(lake.uri) as connection:
        for each in subjects:
            for table in ("recordings", "outcomes", "call_emotions", "segments"):
                columns = set(COLUMNS[each.kind]) & set(schemas.TABLES[table].names)
                if not columns:
                    continue
                wanted = " OR ".join(f"{column} = $id" for column in sorted(columns))
                query = f"SELECT DISTINCT recording_id FROM parts.{table} WHERE {wanted}"
                try:
                    found |= set(read_only.query(connection, query, {"id": each.id})["recording_id"].to_pylist())
                except (duckdb.Error, UnicodeDecodeError) as error:
                    raise next(iter(parts.broken(lake, deep=True).values()), error) from error
    return frozenset(found)
