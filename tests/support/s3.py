"""What nights on S3 need: an upload of made-up calls, the rights of a night, and a lake's rows as they lie there."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ser_tasks.lake import parts
from ser_tasks.storage import open_store

POLICY = Path(__file__).parents[2] / "deploy" / "storage-policy.json"
VOLATILE = ("run_id", "scored_at", "planned_at", "spent_s", "attempts", "last_modified")
"""Columns that tell of a run, not of a call."""
TABLES = ("outcomes", "call_emotions", "segments", "recordings")


def upload(s3: Any, folder: Path, bucket: str, prefix: str = "") -> None:
    """Puts every file of a folder into a bucket."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            s3.client.upload_file(str(path), bucket, prefix + path.relative_to(folder).as_posix())


def night_policy(recordings: str, lake: str, lake_prefix: str) -> list[dict[str, Any]]:
    """The statements of deploy/storage-policy.json, filled in as OPERATIONS.md says."""
    text = POLICY.read_text()
    for name, value in (("RECORDINGS_BUCKET", recordings), ("LAKE_BUCKET", lake), ("LAKE_PREFIX", lake_prefix)):
        text = text.replace(name, value)
    return json.loads(text)["Statement"]


def contents(s3: Any, bucket: str) -> dict[str, tuple[str, Any]]:
    """Etag and time of every object of a bucket."""
    pages = s3.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {item["Key"]: (item["ETag"], item["LastModified"]) for page in pages for item in page.get("Contents", [])}


def rows_of(lake: str) -> dict[str, list[str]]:
    """Rows of every part of a lake, with the part's key, volatile columns left out, floats to 5 digits; sorted."""
    store, found = open_store(lake), {}
    for table in TABLES:
        rows = []
        for key in parts.keys(store, f"{table}/"):
            for row in pq.ParquetFile(io.BytesIO(store.read_bytes(key))).read().to_pylist():
                rows.append({"part": key} | {name: _rounded(value) for name, value in row.items() if name not in VOLATILE})
        found[table] = sorted(map(repr, rows))
    return found


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value
