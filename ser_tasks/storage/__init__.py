"""Access to object storage: a local folder or ``s3://bucket/prefix``, behind one protocol.

``open_store`` is the way in; the other names are the protocol (``Store``), what it lists (``StoredObject``), its errors, and the two
implementations. Every write is atomic: a reader finds the old object or the new, never a half. S3 credentials, region and endpoint come
from the standard AWS chain (environment, profile, instance role; ``AWS_ENDPOINT_URL_S3`` for another server than Amazon's).
"""

import functools
from pathlib import Path

from ser_tasks.storage.base import (
    Content,
    ObjectChangedError,
    ObjectGoneError,
    ObjectLockedError,
    ObjectUnusableError,
    Store,
    StoreAccessError,
    StoredObject,
)
from ser_tasks.storage.local import LocalStore
from ser_tasks.storage.s3 import S3Store

__all__ = [
    "Content",
    "LocalStore",
    "ObjectChangedError",
    "ObjectGoneError",
    "ObjectLockedError",
    "ObjectUnusableError",
    "S3Store",
    "Store",
    "StoreAccessError",
    "StoredObject",
    "open_store",
]


@functools.lru_cache(maxsize=16)
def open_store(uri: str) -> Store:
    """The store at ``s3://bucket/prefix``, ``file:///folder`` or the path of a folder, which need not exist yet.

    Raises ValueError for any other address. Nothing is read: ``Store.check`` tells whether the store can be used.
    """
    uri = str(uri)
    if not uri.strip():
        raise ValueError("The address of a store is empty: give a folder's path or s3://bucket/prefix.")
    if uri.startswith("s3://"):
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        if not bucket:
            raise ValueError(f"No bucket in {uri!r}: write s3://bucket/prefix.")
        return S3Store(bucket, prefix.strip("/"))
    if "://" in uri and not uri.startswith("file://"):
        raise ValueError(f"Unknown kind of store in {uri!r}: use a folder's path or s3://bucket/prefix.")
    return LocalStore(Path(uri.removeprefix("file://")).expanduser().resolve())
