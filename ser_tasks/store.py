"""The door to object storage: a local folder or ``s3://bucket/prefix``, the same few verbs for both.

Every write is whole or not there at all. S3 credentials, region and endpoint come from the standard AWS chain
(environment, profile, instance role; ``AWS_ENDPOINT_URL_S3`` for another server than Amazon's).
"""

import functools
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

RETRIES = 5
"""Attempts for one S3 request, and for one download that is cut off."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One listed object. ``key`` is relative to the store's URI, with ``/`` between folders."""

    key: str
    etag: str
    size_bytes: int
    last_modified: datetime


class ChangedObject(Exception):
    """The object is no longer the one that was listed: it vanished, or it has another etag."""


class Store(Protocol):
    uri: str

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Objects whose key starts with ``prefix``, one page in memory at a time."""

    def read_bytes(self, key: str, limit_bytes: int | None = None) -> bytes:
        """The object's first ``limit_bytes`` bytes, or all. Raises FileNotFoundError."""

    def write_bytes(self, key: str, data: bytes) -> None:
        """Writes or replaces the object, whole or not at all."""

    def create_bytes(self, key: str, data: bytes) -> bool:
        """Writes the object if the key is free. False, and nothing written, if it is taken."""

    def exists(self, key: str) -> bool: ...

    def delete(self, key: str) -> None:
        """Removes the object; nothing happens where there is none."""

    def fetch(self, key: str, etag: str, folder: Path) -> tuple[Path, dict[str, str]]:
        """A local path of the object with this etag (downloaded into ``folder`` where it is not local), and the
        object's own metadata. Raises ChangedObject where the object is gone or has another etag."""

    def url(self, key: str) -> str:
        """The object's address, for people."""


@functools.lru_cache(maxsize=16)
def open_store(uri: str) -> Store:
    """The store at a URI: ``s3://bucket/prefix``, ``file:///folder`` or a folder's path. A folder need not exist yet."""
    uri = str(uri)
    if uri.startswith("s3://"):
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        if not bucket:
            raise ValueError(f"No bucket in {uri!r}: write s3://bucket/prefix.")
        return S3Store(bucket, prefix.strip("/"))
    if "://" in uri and not uri.startswith("file://"):
        raise ValueError(f"Unknown kind of store in {uri!r}: use a folder's path or s3://bucket/prefix.")
    return LocalStore(Path(uri.removeprefix("file://")).expanduser().resolve())


class LocalStore:
    """A folder. Hidden files are no objects; the etag is made of size and time of change."""

    def __init__(self, root: Path):
        self.root = root
        self.uri = str(root)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        if self.root.exists() and not self.root.is_dir():
            raise NotADirectoryError(f"{self.root} is a file: give the folder that holds it.")
        start = self.root / prefix.rpartition("/")[0]

        def broken(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                raise error

        for folder, folders, names in os.walk(start, onerror=broken):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(folder, name)
                key = path.relative_to(self.root).as_posix()
                if name.startswith(".") or not key.startswith(prefix):
                    continue
                try:
                    stat = path.stat()
                except FileNotFoundError:  # deleted while we list, or a dangling link
                    continue
                yield StoredObject(key, _local_etag(stat), stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))

    def read_bytes(self, key: str, limit_bytes: int | None = None) -> bytes:
        with self._path(key).open("rb") as file:
            return file.read(limit_bytes)

    def write_bytes(self, key: str, data: bytes) -> None:
        os.replace(self._temporary(key, data), self._path(key))

    def create_bytes(self, key: str, data: bytes) -> bool:
        temporary = self._temporary(key, data)
        try:
            os.link(temporary, self._path(key))  # unlike a rename, a link never replaces
            return True
        except FileExistsError:
            return False
        finally:
            temporary.unlink()

    def exists(self, key: str) -> bool:
        return self._path(key).exists()

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def fetch(self, key: str, etag: str, folder: Path) -> tuple[Path, dict[str, str]]:
        path = self._path(key)
        try:
            found = _local_etag(path.stat())
        except FileNotFoundError:
            raise ChangedObject("It was listed, but is no longer in the store.") from None
        if found != etag:
            raise ChangedObject(f"It changed after it was listed: etag {etag} became {found}.")
        return path, {}

    def url(self, key: str) -> str:
        return self._path(key).as_uri()

    def _path(self, key: str) -> Path:
        path = self.root / key
        if key.startswith("/") or ".." in Path(key).parts:
            raise ValueError(f"The key {key!r} leads out of {self.root}: keys are relative and have no '..'.")
        return path

    def _temporary(self, key: str, data: bytes) -> Path:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return temporary


def _local_etag(stat: os.stat_result) -> str:
    return f"{stat.st_size:x}-{stat.st_mtime_ns:x}"


class S3Store:
    """A prefix of a bucket, through boto3."""

    def __init__(self, bucket: str, prefix: str):
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")

    @functools.cached_property
    def client(self) -> Any:
        import boto3
        from botocore.config import Config

        config = Config(retries={"mode": "standard", "total_max_attempts": RETRIES}, connect_timeout=10, read_timeout=60)
        session = boto3.Session()
        client = session.client("s3", config=config)
        if "amazonaws.com" not in client.meta.endpoint_url:  # other servers have no host name for each bucket
            client = session.client("s3", config=config.merge(Config(s3={"addressing_style": "path"})))
        return client

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix + prefix)
        for page in pages:
            for item in page.get("Contents", []):
                key = item["Key"].removeprefix(self.prefix)
                if key and not key.endswith("/") and not key.rpartition("/")[2].startswith("."):
                    yield StoredObject(key, item["ETag"].strip('"'), item["Size"], item["LastModified"])

    def read_bytes(self, key: str, limit_bytes: int | None = None) -> bytes:
        span = {} if limit_bytes is None else {"Range": f"bytes=0-{limit_bytes - 1}"}
        try:
            return self._get(key, **span)["Body"].read()
        except self.client.exceptions.ClientError as error:
            if _status(error) == 416:  # an empty object has no first byte
                return b""
            if _status(error) == 404:
                raise FileNotFoundError(self.url(key)) from None
            raise

    def write_bytes(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=data)

    def create_bytes(self, key: str, data: bytes) -> bool:
        try:
            self.client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=data, IfNoneMatch="*")
            return True
        except self.client.exceptions.ClientError as error:
            if _status(error) in (409, 412):
                # A retry of our own request, whose first answer was lost, also ends here: the content decides.
                return self.read_bytes(key) == data
            raise

    def exists(self, key: str) -> bool:
        try:
            self.client.head_object(Bucket=self.bucket, Key=self.prefix + key)
            return True
        except self.client.exceptions.ClientError as error:
            if _status(error) == 404:
                return False
            raise

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=self.prefix + key)

    def fetch(self, key: str, etag: str, folder: Path) -> tuple[Path, dict[str, str]]:
        from botocore.exceptions import BotoCoreError
        from urllib3.exceptions import HTTPError

        name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        path = folder / f"{name}{Path(key).suffix[:8].lower()}"
        for attempt in range(1, RETRIES + 1):
            try:
                answer = self._get(key, IfMatch=f'"{etag}"')
                with path.open("wb") as file:
                    shutil.copyfileobj(answer["Body"], file, 1 << 20)
                if path.stat().st_size != answer["ContentLength"]:
                    raise HTTPError(f"{path.stat().st_size} of {answer['ContentLength']} bytes came.")
                return path, answer["Metadata"]
            except self.client.exceptions.ClientError as error:
                if _status(error) == 404:
                    raise ChangedObject("It was listed, but is no longer in the store.") from None
                if _status(error) == 412:
                    raise ChangedObject(f"It changed after it was listed: it no longer has the etag {etag}.") from None
                raise
            except (BotoCoreError, HTTPError, ConnectionError) as error:
                if attempt == RETRIES:
                    raise ConnectionError(f"The download was cut off {RETRIES} times, last by: {error}") from error
        raise AssertionError("unreachable")

    def url(self, key: str) -> str:
        return f"s3://{self.bucket}/{self.prefix}{key}"

    def _get(self, key: str, **arguments: str) -> dict[str, Any]:
        return self.client.get_object(Bucket=self.bucket, Key=self.prefix + key, **arguments)


def _status(error: Any) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
