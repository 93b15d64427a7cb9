"""What spares a night reading its history: by version, the days in which nothing waited, and the state in which that was found.

A state is a hash of names: of the day's listed recordings (ingest.py), of its manifest parts and of its outcomes parts. It takes a
listing, no reading; whatever is added, replaced, merged or deleted makes another state, and the day is read again. So the file
may be old, lost or removed at any time: that costs time, nothing else.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from typing import Any

from ser_tasks.lake import parts
from ser_tasks.storage import Store


def states(lake: Store, version: str, days: Sequence[date]) -> dict[date, str]:
    """The state of each day's manifest and outcomes parts. Several days cost one listing of both tables."""
    hashes: dict[str, Any] = defaultdict(hashlib.sha256)
    for table in ("recordings", "outcomes"):
        prefix = parts.folder(table, day=days[0]) if len(days) == 1 else f"{table}/"
        for item in lake.list(prefix):  # in the order of their keys
            day = item.key.split("/")[1].removeprefix("day=")
            if table == "recordings" or f"/version={version}/" in item.key:
                hashes[day].update(f"{item.key} {item.etag}\n".encode())
    return {day: hashes[day.isoformat()].hexdigest()[:32] for day in days}


def read(lake: Store, version: str) -> dict[date, str]:
    """Days in which nothing waited for this version, and their state then."""
    try:
        found = json.loads(lake.read_bytes(_key(version)))
        return {date.fromisoformat(day): state for day, state in found.items()}
    except (FileNotFoundError, ValueError, AttributeError):
        return {}


def write(lake: Store, version: str, known: dict[date, str], newly: dict[date, str]) -> None:
    """Adds days to what is known."""
    if newly:
        text = json.dumps({day.isoformat(): state for day, state in sorted((known | newly).items())}, indent=0)
        lake.write_bytes(_key(version), text.encode())


def _key(version: str) -> str:
    return f"settled/{version}.json"
