"""Checkpoints spare a night reading its history: by version, the days in which nothing waited, and the state in which that was so.

A state is a hash of names: of the day's listed recordings (ingest.py), of its manifest parts and of its outcomes parts. It takes a
listing, no reading; whatever is added, replaced, merged or deleted makes another state, and the day is read again. So the file
may be old, lost or removed at any time: that costs time, nothing else.
"""

import hashlib
import json
from datetime import date

from ser_tasks.lake.ledger import ListedDay, version_of_key
from ser_tasks.storage import Store


def state_of(listed: ListedDay, version: str) -> str:
    """The state of a day's manifest parts, and of its outcomes parts under one version: 32 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in (*listed.manifest, *(part for part in listed.outcomes if version_of_key(part.key) == version)):
        digest.update(f"{part.key} {part.etag}\n".encode())
    return digest.hexdigest()[:32]


def read(lake: Store, version: str) -> dict[date, str]:
    """Days in which nothing waited for this version, and their state then. Empty where the file is missing or cannot be read."""
    try:
        settled = json.loads(lake.read_bytes(_key(version)))
        return {date.fromisoformat(day): state for day, state in settled.items()}
    except (FileNotFoundError, ValueError, AttributeError):
        return {}


def write(lake: Store, version: str, known: dict[date, str], newly: dict[date, str]) -> None:
    """Adds days to those that are known. Writes nothing where there are none to add."""
    if newly:
        text = json.dumps({day.isoformat(): state for day, state in sorted((known | newly).items())}, indent=0)
        lake.write_bytes(_key(version), text.encode())


def _key(version: str) -> str:
    return f"settled/{version}.json"
