"""Legal holds: calls that neither retention nor erasure may delete, by call, customer or agent, until the hold is released.

A hold is a file of the lake, ``holds/<kind>-<hash>.json``, with the call's id or the person's pseudonym, when it was placed and why.
It covers calls that are scored later, too.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import duckdb

from ser_tasks import schemas
from ser_tasks.calls.metadata import pseudonym
from ser_tasks.lake import catalog, erased, key_chain, parts, read_only
from ser_tasks.pseudonyms import PSEUDONYM, forms
from ser_tasks.settings import Settings
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


def subject(lake: Store, kind: str, text: str, settings: Settings) -> Subject:
    """The call or person that somebody names by an id, or by a pseudonym that the lake, a hold or a receipt knows.

    Raises ValueError without SER_PSEUDONYM_KEY, for a person.
    """
    if not text.strip():
        raise ValueError(f"--{kind} is empty: give an id.")
    if kind == "call":
        return Subject(kind, text)
    settings = key_chain.read(lake, settings).of(settings)
    made = pseudonym(kind, text, settings)
    if made is None or settings.pseudonym_key is None:
        raise ValueError(f"SER_PSEUDONYM_KEY is not set: without the key of the nights, the {kind}'s pseudonym is unknown.")
    for known_as in forms(kind, text, settings.pseudonym_keys()) if PSEUDONYM.fullmatch(text) else ():
        given = Subject(kind, known_as)
        sign = erased.mark(settings.pseudonym_key, kind, known_as)
        if (
            lake.exists(key_of(given))
            or any(receipt["subject"] == sign for _, receipt in erased.receipts(lake))
            or recordings_of(lake, [given])
        ):
            return given
    return Subject(kind, made)


def place(lake: Store, held: Subject, reason: str = "") -> Hold:
    """Places a hold; one that is there stays as it is. A person's raw id is not stored."""
    hold = Hold(held.kind, held.id, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", reason)
    lake.create_bytes(key_of(held), json.dumps(asdict(hold), ensure_ascii=False, indent=1).encode())
    return hold


def release(lake: Store, held: Subject) -> None:
    """Ends a hold. Raises ValueError where there is none."""
    if not lake.exists(key_of(held)):
        raise ValueError(f"There is no hold on {held.kind} {held.id} in {lake.uri}: ser hold --lake {lake.uri} lists them.")
    lake.delete(key_of(held))


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


def key_of(held: Subject) -> str:
    """The key of the hold's file in the lake."""
    return f"{FOLDER}{held.kind}-{hashlib.sha256(held.id.encode('utf-8', 'surrogateescape')).hexdigest()[:24]}.json"
