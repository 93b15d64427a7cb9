"""Legal holds: calls that neither retention nor erasure may delete, by call, customer or agent, until the hold is released.

A hold is a file of the lake, ``holds/<kind>-<hash>.json``, with the call's id or the person's pseudonym, when it was placed and why.
It covers calls that are scored later, too.
"""

import hashlib
import json
from dataclasses import asdict
from datetime import UTC, datetime

from ser_tasks.calls.metadata import pseudonym
from ser_tasks.lake import erased, key_chain
from ser_tasks.lake.held import COLUMNS, FOLDER, Hold, Subject, held_recordings, read, recordings_of
from ser_tasks.pseudonyms import PSEUDONYM, forms
from ser_tasks.settings import Settings
from ser_tasks.storage import Store

__all__ = ["COLUMNS", "Hold", "Subject", "held_recordings", "place", "read", "recordings_of", "release", "subject"]


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


def key_of(held: Subject) -> str:
    """The key of the hold's file in the lake."""
    return f"{FOLDER}{held.kind}-{hashlib.sha256(held.id.encode('utf-8', 'surrogateescape')).hexdigest()[:24]}.json"
