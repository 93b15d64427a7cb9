"""Line profiles in the lake: one part a profile, one row a line (table ``profiles``)."""

from datetime import UTC, datetime
from typing import Any

from ser_tasks import schemas
from ser_tasks.lake import parts
from ser_tasks.storage import Store


def write(lake: Store, rows: list[dict[str, Any]]) -> str:
    """Writes the rows of one profile, and returns the part's key."""
    made_at: datetime = rows[0]["made_at"]
    key = f"{parts.folder('profiles', day=made_at.astimezone(UTC).date())}{rows[0]['profile_id']}.parquet"
    lake.write_bytes(key, parts.encode("profiles", schemas.table("profiles", rows)))
    return key


def keys(lake: Store, model_id: str) -> list[str]:
    """Keys of a model's profiles, oldest first. Raises BrokenPartError for a part that cannot be read."""
    found = []
    for key in parts.keys(lake, "profiles/"):
        for row in parts.read(lake, key, "profiles", ["model", "made_at", "profile_id"]).slice(0, 1).to_pylist():
            if row["model"] == model_id:
                found.append((row["made_at"], row["profile_id"], key))
    return [key for *_, key in sorted(found)]


def id_of(key: str) -> str:
    """The id of the profile that a part holds."""
    return parts.name_of(key)


def read(lake: Store, key: str) -> list[dict[str, Any]]:
    """The rows of one profile. Raises BrokenPartError, FileNotFoundError."""
    rows: list[dict[str, Any]] = parts.read(lake, key, "profiles").to_pylist()
    return rows
