"""What a store is."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One listed object. ``key`` is relative to the store's URI, with ``/`` between folders."""

    key: str
    etag: str
    size_bytes: int
    last_modified: datetime


class ObjectChangedError(Exception):
    """The object is no longer the one that was listed: it vanished, or it has another etag."""


class ObjectGoneError(ObjectChangedError):
    """The object vanished."""


class ObjectUnusableError(Exception):
    """What is listed is no file that may be read: a pipe, a device, a link that leads nowhere or out of the folder."""


class StoreAccessError(PermissionError):
    """The store is there, but does not serve us: credentials, rights, clock, bucket. To try again does not help; a person does."""


class Store(Protocol):
    uri: str

    @property
    def local_root(self) -> Path | None:
        """The folder that holds the objects as files; None for a store that is not a folder."""

    def check(self) -> None:
        """Raises the error that a run would raise where the store can't be listed; FileNotFoundError for a folder that does not exist."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Objects whose key starts with ``prefix``, one page in memory at a time."""

    def read_bytes(self, key: str, limit_bytes: int | None = None, etag: str | None = None) -> bytes:
        """The object's first ``limit_bytes`` bytes, or all. Raises FileNotFoundError, and ObjectChangedError where an etag is
        given and the object has another."""

    def tail_bytes(self, key: str, limit_bytes: int) -> bytes:
        """The object's last ``limit_bytes`` bytes, or all. Raises FileNotFoundError."""

    def write_bytes(self, key: str, data: bytes) -> None:
        """Writes or replaces the object, whole or not at all."""

    def create_bytes(self, key: str, data: bytes) -> bool:
        """Writes the object if the key is free. False, and nothing written, if it is taken."""

    def exists(self, key: str) -> bool: ...

    def delete(self, key: str) -> None:
        """Removes the object; nothing happens where there is none."""

    def fetch(self, key: str, etag: str, folder: Path) -> tuple[Path, dict[str, str]]:
        """A local path of the object with this etag (downloaded into ``folder`` where it is not local), and the
        object's own metadata. Raises ObjectChangedError where the object is gone or has another etag, ObjectUnusableError where it is no file."""

    def link(self, key: str, etag: str, seconds: int) -> str | None:
        """An address at which whoever has it can read the object for so many seconds; None where the store has none (a folder).
        Raises ObjectChangedError where the object is gone or has another etag, ObjectUnusableError where it is no file."""

    @property
    def link_origin(self) -> str | None:
        """Scheme, host and port that every link begins with; None where there are no links."""

    def url(self, key: str) -> str:
        """The object's address, for people."""


GONE = "It was listed, but is no longer in the store."


def check_etag(listed: str, found: str) -> None:
    if listed != found:
        raise ObjectChangedError(f"It changed after it was listed: etag {listed} became {found}.")
