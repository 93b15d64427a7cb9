"""A folder as a store."""

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from ser_tasks.scratch import atomic_write, temporary_file
from ser_tasks.storage.base import GONE, ObjectGoneError, ObjectUnusableError, StoredObject, check_etag


class LocalStore:
    """A folder. Hidden files are no objects, linked folders are not entered; the etag is made of size and time of change."""

    def __init__(self, root: Path):
        self.local_root = root
        self.uri = str(root)

    def check(self) -> None:
        self._check_is_folder()
        if not self.local_root.exists():
            raise FileNotFoundError(f"There is no folder {self.local_root}: give an existing folder or s3://bucket/prefix.")

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        self._check_is_folder()
        start = self.local_root / prefix.rpartition("/")[0]

        def broken(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                raise error

        for folder, folders, names in os.walk(start, onerror=broken):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(folder, name)
                key = path.relative_to(self.local_root).as_posix()
                if name.startswith(".") or not key.startswith(prefix):
                    continue
                try:
                    found = _stat(path)
                except FileNotFoundError:  # deleted while we list
                    continue
                yield StoredObject(key, _local_etag(found), found.st_size, _moment(found.st_mtime))

    def read_bytes(self, key: str, limit_bytes: int | None = None, etag: str | None = None) -> bytes:
        path = self._path(key)
        self._check_usable(path, _stat(path))
        with path.open("rb") as file:
            if etag is not None:
                check_etag(etag, _local_etag(os.fstat(file.fileno())))
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

    def exists(self, key: str) -> bool:
        return self._path(key).exists()

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def fetch(self, key: str, etag: str, folder: Path) -> tuple[Path, dict[str, str]]:
        path = self._path(key)
        try:
            found = _stat(path)
        except FileNotFoundError:
            raise ObjectGoneError(GONE) from None
        self._check_usable(path, found)
        check_etag(etag, _local_etag(found))
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

    def _check_usable(self, path: Path, found: os.stat_result) -> None:
        """Raises ObjectUnusableError for what would block, never end, or be somebody else's."""
        target = Path(os.path.realpath(path))
        if stat.S_ISLNK(found.st_mode):
            raise ObjectUnusableError("It is a link that leads nowhere: put the file itself there, or remove the link.")
        if path.is_symlink() and not target.is_relative_to(self.local_root):
            raise ObjectUnusableError("It is a link that leads out of its folder: put the file itself there.")
        if not stat.S_ISREG(found.st_mode):
            raise ObjectUnusableError("It is no file, but a folder, a pipe, a socket or a device: remove it, or put a file there.")

    def _path_to_write(self, key: str) -> Path:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _write_to_disk(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _stat(path: Path) -> os.stat_result:
    """What a path leads to; the link itself where it leads nowhere or in a circle. Raises FileNotFoundError for no path."""
    try:
        return path.stat()
    except OSError:
        return path.lstat()


def _local_etag(found: os.stat_result) -> str:
    return f"{found.st_size:x}-{found.st_mtime_ns:x}"


def _moment(seconds: float) -> datetime:
    """A file's time; a disk may hold times that the calendar does not: they count as its first day."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)
