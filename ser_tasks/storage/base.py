"""The protocol of a store, what it lists, and the errors that all stores share.

Two stores implement it: ``local.py`` for a folder and ``s3.py`` for a prefix of a bucket. Callers use this protocol only and never ask
which of the two they hold.
"""

import hashlib
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


@dataclass(frozen=True, slots=True)
class Content:
    """What an object's bytes are known by, where its etag alone may change without them: in a folder, whose copies have other times."""

    etag: str
    """The etag that the object had when it was read."""
    hash: str
    """Half of the BLAKE2b of the bytes, in hexadecimal digits."""
    secret: bytes
    """The other half. It stays in memory: only who has the bytes can make it, so it keys hashes of what could be guessed (a sidecar)."""

    def keyed_hash(self, data: bytes) -> str:
        """A hash of other bytes, which says nothing of them to whom lacks this content."""
        return hashlib.blake2b(data, key=self.secret, digest_size=32).hexdigest()


class ObjectChangedError(Exception):
    """The object is no longer the one that was listed: it was deleted, or its etag differs."""


class ObjectGoneError(ObjectChangedError):
    """The object was deleted after it was listed."""


class ObjectUnusableError(Exception):
    """The listed object is not a regular file inside the store: a pipe, a device, or a link that is broken or leads out of the folder."""

    code = "no_file"
    """The reason code of a recording that is such an object."""


class StoreAccessError(PermissionError):
    """The store exists but refuses access: credentials, rights, clock or bucket. A retry does not help; a person must act."""


class ObjectLockedError(ObjectUnusableError, StoreAccessError):
    """The listed object is there, but the store does not deliver it until a person acts. ``code`` is the reason code: ``archived`` (a
    storage class that is restored first) or ``key_denied`` (encrypted with a key that these credentials may not use)."""

    def __init__(self, message: str, code: str):
        super().__init__(message, code)
        self.code = code

    def __str__(self) -> str:
        return str(self.args[0])


class Store(Protocol):
    """Objects under one URI. A store that cannot be reached raises ConnectionError, one that refuses access StoreAccessError."""

    uri: str

    @property
    def local_root(self) -> Path | None:
        """The folder that holds the objects as files; None for a store that is not a folder."""

    def check(self) -> None:
        """Raises the error that a run would raise where the store can't be listed; FileNotFoundError for a folder that does not exist."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Objects whose key starts with ``prefix``, one page in memory at a time. Hidden files are left out."""

    def folders(self, prefix: str) -> tuple[str, ...]:
        """Names of the folders directly below the folder ``prefix``, which ends in a slash, in order; none where it does not exist."""

    def read_bytes(self, key: str, limit_bytes: int | None = None, etag: str | None = None) -> bytes:
        """The object's first ``limit_bytes`` bytes, or all of them.

        Raises FileNotFoundError, and ObjectChangedError where ``etag`` is given and the object has another.
        """

    def tail_bytes(self, key: str, limit_bytes: int) -> bytes:
        """The object's last ``limit_bytes`` bytes, or all of a shorter object. Raises FileNotFoundError."""

    def write_bytes(self, key: str, data: bytes) -> None:
        """Writes or replaces the object atomically."""

    def create_bytes(self, key: str, data: bytes) -> bool:
        """Writes the object atomically if the key is free. Returns False and writes nothing if it is taken."""

    def content(self, key: str) -> Content | None:
        """What the object's bytes are known by: all are read. None where the etag is made of them (S3), and where it can't be read."""

    def exists(self, key: str) -> bool:
        """Whether there is an object with this key."""

    def delete(self, key: str) -> None:
        """Deletes the object. Does nothing where there is none."""

    def fetch(self, key: str, etag: str, folder: Path) -> tuple[Path, dict[str, str]]:
        """A local path of the object with this etag, and the object's own metadata. A remote object is downloaded into ``folder``.

        Raises ObjectChangedError where the object was deleted or has another etag, ObjectUnusableError where it is not a regular file.
        """

    def link(self, key: str, etag: str, seconds: int) -> str | None:
        """A URL at which anybody who has it can read the object for ``seconds``; None where the store has no URLs (a folder).

        Raises ObjectChangedError where the object was deleted or has another etag, ObjectUnusableError where it is not a regular file.
        """

    @property
    def link_origin(self) -> str | None:
        """Scheme, host and port of every link; None where there are no links."""

    def url(self, key: str) -> str:
        """The object's address, for people."""


DELETED = "It was listed, but is no longer in the store."
"""Message of ObjectGoneError."""


def check_etag(listed: str, current: str) -> None:
    """Raises ObjectChangedError where an object's etag is no longer the listed one."""
    if listed != current:
        raise ObjectChangedError(f"It changed after it was listed: etag {listed} became {current}.")
