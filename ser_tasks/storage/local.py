"""A local folder as a store: objects are files, keys are their paths relative to the folder.

The etag is made of the file's size and time of change: a copy may have another, with the same ``content``. Hidden files are not objects,
and linked folders are not entered.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from ser_tasks.scratch import atomic_write, temporary_file
from ser_tasks.storage.base import DELETED, Content, ObjectGoneError, ObjectUnusableError, StoredObject, check_etag


class LocalStore:
    """The store of the folder ``local_root``. See ``Store`` for the methods."""

    def __init__(self, root: Path):
        self.local_root = root
        self.uri = str(root)

    def check(self) -> None:
        self._check_is_folder()
        if not self.local_root.exists():
            raise FileNotFoundError(f"There is no folder {self.local_root}: give an existing folder or s3://bucket/prefix.")

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        self._check_is_folder()
        above, _, begins = prefix.rpartition("/")
        start = self.local_root / above

        def raise_unless_deleted(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                raise error

        for folder, folders, names in os.walk(start, onerror=raise_unless_deleted):
            if begins and folder == str(start):  # before a path is made of each of its many names
                folders[:], names = ([name for name in each if name.startswith(begins)] for each in (folders, names))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(folder, name)
                key = path.relative_to(self.local_root).as_posix()
                if name.startswith(".") or not key.startswith(prefix):
                    continue
                try:
                    status = _stat(path, self.local_root)
                except FileNotFoundError:  # deleted during the listing
                    continue
                yield StoredObject(key, _etag(status), status.st_size, _utc(status.st_mtime))

    def folders(self, prefix: str) -> tuple[str, ...]:
        self._check_is_folder()
        try:
            with os.scandir(self.local_root / prefix) as entries:
                return tuple(sorted(each.name for each in entries if each.is_dir() and not each.name.startswith(".")))
        except FileNotFoundError:
            return ()

    def read_bytes(self, key: str, limit_bytes: int | None = None, etag: str | None = None) -> bytes:
        path = self._path(key)
        self._check_usable(path, _stat(path, self.local_root))
        with path.open("rb") as file:
            if etag is not None:
                check_etag(etag, _etag(os.fstat(file.fileno())))
            return file.read(limit_bytes)

    def tail_bytes(self, key: str, limit_bytes: int) -> bytes:
        with self._path(key).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - limit_bytes))
            return file.read()

    def write_bytes(self, key: str, data: bytes) -> None:
        with atomic_write(self._path_to_write(key)) as temporary:
            _write_to_disk(temporary, data)

    def create_bytes(self, key: str, data: bytes) -> bool:
        path = self._path_to_write(key)
        with temporary_file(path) as temporary:
            _write_to_disk(temporary, data)
            try:
                os.link(temporary, path)  # unlike a rename, a link never replaces
            except FileExistsError:
                return False
        return True

    def content(self, key: str) -> Content | None:
        path = self._path(key)
        try:
            self._check_usable(path, _stat(path, self.local_root))
            with path.open("rb") as file:
                etag = _etag(os.fstat(file.fileno()))
                digest = hashlib.file_digest(file, "blake2b").digest()
                unchanged = etag == _etag(os.fstat(file.fileno()))
        except (OSError, ObjectUnusableError):
            return None
        return Content(etag, digest[:32].hex(), digest[32:]) if unchanged else None

    def exists(self, key: str) -> bool:
        return self._path(key).exists()

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def fetch(self, key: str, etag: str, folder: Path) -> tuple[Path, dict[str, str]]:
        path = self._path(key)
        try:
            status = _stat(path, self.local_root)
        except FileNotFoundError:
            raise ObjectGoneError(DELETED) from None
        self._check_usable(path, status)
        check_etag(etag, _etag(status))
        return path, {}

    def link(self, key: str, etag: str, seconds: int) -> None:
        self.fetch(key, etag, self.local_root)

    @property
    def link_origin(self) -> None:
        return None

    def url(self, key: str) -> str:
        return self._path(key).as_uri()

    def _check_is_folder(self) -> None:
        if self.local_root.exists() and not self.local_root.is_dir():
            raise NotADirectoryError(f"{self.local_root} is a file: give the folder that holds it.")

    def _path(self, key: str) -> Path:
        path = self.local_root / key
        if key.startswith("/") or ".." in Path(key).parts:
            raise ValueError(f"The key {key!r} leads out of {self.local_root}: keys are relative and have no '..'.")
        return path

    def _check_usable(self, path: Path, status: os.stat_result) -> None:
        """Raises ObjectUnusableError for what is not a regular file of this folder: a read could block, never end, or leave it."""
        if stat.S_ISLNK(status.st_mode):
            if path.exists():
                raise ObjectUnusableError("It is a link that leads out of its folder: put the file itself there.")
            raise ObjectUnusableError("It is a broken link: put the file itself there, or remove the link.")
        if not stat.S_ISREG(status.st_mode):
            raise ObjectUnusableError("It is not a file, but a folder, a pipe, a socket or a device: remove it, or put a file there.")

    def _path_to_write(self, key: str) -> Path:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _write_to_disk(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _stat(path: Path, root: Path) -> os.stat_result:
    """The status of the file that a path leads to, or of the link itself where it is broken, circular or leads out of ``root``.

    What lies outside is not read, so its changes do not count: under /proc every file is new each time. Raises FileNotFoundError.
    """
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode) and Path(os.path.realpath(path)).is_relative_to(root):
        with contextlib.suppress(OSError):
            return path.stat()
    return status


def _etag(status: os.stat_result) -> str:
    return f"{status.st_size:x}-{status.st_mtime_ns:x}"


def _utc(seconds: float) -> datetime:
    """A file's time in UTC. Times outside the calendar's range, which a disk may hold, become 1970-01-01."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)
