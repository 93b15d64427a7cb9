"""A day's manifest parts, and what its outcome rows say."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from ser_tasks import schemas
from ser_tasks.lake import parts
from ser_tasks.settings import Settings
from ser_tasks.storage import Store

MANIFEST = re.compile(r"/manifest-(\d{6,})\.parquet$")
"""Name of a day's manifest part."""


def deleted_days(lake: Store) -> set[date]:
    """Days of which the retention deleted something."""
    return {part.day for part, _ in parts.listed(lake, "deletions/")}


def version_of(model_id: str, policy: str) -> str:
    """The ``version=`` folder of a model's parts under a policy."""
    return f"{model_id}.{policy}"


def read_manifest(lake: Store, day: date) -> pa.Table:
    """All manifest rows of a day."""
    found = [parts.read(lake, key, "recordings") for key in parts.keys(lake, parts.folder("recordings", day=day))]
    return pa.concat_tables([schemas.RECORDINGS.empty_table(), *found])


def read_outcomes(lake: Store, day: date, version: str, chunk_id: str) -> pa.Table | None:
    found = parts.find_chunk(lake, day, version, chunk_id)
    return found and found[1]


def versions_of(lake: Store, day: date) -> set[str]:
    return {key.split("/version=")[1].partition("/")[0] for key in parts.keys(lake, parts.folder("outcomes", day=day))}


def to_retry(row: dict[str, Any], settings: Settings) -> bool:
    return row["outcome"] == "failed" and row["attempts"] < settings.max_attempts


def next_manifest(lake: Store, day: date) -> int:
    """The number of a day's next manifest part: one more than the largest, whatever is missing below."""
    numbers = (MANIFEST.search(key) for key in parts.keys(lake, parts.folder("recordings", day=day)))
    return max((int(number[1]) for number in numbers if number), default=0) + 1


def after(latest: datetime | None) -> datetime:
    """Now, but later than ``latest``: of two rows, the one written later wins, even where the clock was set back in between."""
    now = datetime.now(UTC)
    return now if latest is None or now > latest else latest + timedelta(microseconds=1)
