"""A day's manifest parts, and the rules on versions, retries and times of rows that all readers of the lake share."""

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


OF_NO_DAY = ("runs", "quarantine")
"""What the retention deletes by another day than that of the recordings: it closes no day."""


def deleted_days(lake: Store) -> set[date]:
    """Days of whose recordings the retention deleted something. A part of ``deletions`` is named ``<table>-<time>``."""
    return {part.day for part, _ in parts.listed(lake, "deletions/") if part.name.rpartition("-")[0] not in OF_NO_DAY}


def version_of(model_id: str, policy: str, profile_id: str | None = None) -> str:
    """The ``version=`` folder of a model's parts under a policy; of a re-score with a line profile of its own, that is named, too."""
    return f"{model_id}-on-{profile_id}.{policy}" if profile_id else f"{model_id}.{policy}"


def read_manifest(lake: Store, day: date) -> pa.Table:
    """All manifest rows of a day."""
    tables = [parts.read(lake, key, "recordings") for key in parts.keys(lake, parts.folder("recordings", day=day))]
    return pa.concat_tables([schemas.RECORDINGS.empty_table(), *tables])


def to_retry(row: dict[str, Any], settings: Settings) -> bool:
    """Whether an outcome row is of a failed recording with attempts left, or of any that was given up where the settings retry those."""
    if settings.retry_given_up and row["reason_code"] in schemas.LOCKED:
        return True
    return bool(row["outcome"] == "failed" and (settings.retry_given_up or row["attempts"] < settings.max_attempts))


def manifest_number(key: str) -> int:
    """The number in the key of a manifest part; 0 for any other key."""
    match = MANIFEST.search(key)
    return int(match[1]) if match else 0


def manifest_key(day: date, number: int) -> str:
    """The key of a day's manifest part."""
    return f"{parts.folder('recordings', day=day)}manifest-{number:06}.parquet"


def next_manifest(lake: Store, day: date) -> int:
    """The number of a day's next manifest part: one more than the largest, even where smaller numbers are missing."""
    return max(map(manifest_number, parts.keys(lake, parts.folder("recordings", day=day))), default=0) + 1


def after(latest: datetime | None) -> datetime:
    """Now, or just after ``latest`` where the clock was set back: of two rows, the one written later must have the later time."""
    now = datetime.now(UTC)
    return now if latest is None or now > latest else latest + timedelta(microseconds=1)
