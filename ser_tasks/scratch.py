"""Private and temporary paths: a folder for one run, and names for files that are being written.

``scratch_folder`` holds downloads and frame features, which are as private as speech. It is removed at the end of the run.
A killed run can't remove its own: the next run on the machine does, since the lock on it is then free.

``atomic_write`` and ``atomic_folder`` give a temporary path beside the final one, and rename it when the block ends without an
error: a reader finds the old content or the new, never a half. A killed process leaves the temporary file behind.
"""

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "ser-scratch-"
_held: set[Path] = set()


@contextlib.contextmanager
def scratch_folder(parent: str | None) -> Iterator[Path]:
    """A new folder that only this user may read, inside ``parent`` or the system's temporary folder."""
    root = Path(parent or tempfile.gettempdir())
    root.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(root)
    folder = root / f"{_PREFIX}{secrets.token_hex(8)}"
    from filelock import FileLock  # it loads asyncio, which no command on the lake needs

    with FileLock(f"{folder}.lock"):  # held before there is anything to remove
        folder.mkdir(mode=0o700)
        _held.add(folder)
        try:
            yield folder
        finally:
            _remove(folder)
            _held.discard(folder)


def remove_held() -> None:
    """Removes the scratch folders of this process, which is about to end without ending their blocks."""
    for folder in list(_held):
        _remove(folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    Path(f"{folder}.lock").unlink(missing_ok=True)


@contextlib.contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """An unused, hidden name beside ``path``, such as ``.part.parquet.0a1b2c3d.tmp``. What is there at the end of the block is removed.

    The folder of ``path`` must exist.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary file to write, which replaces ``path`` at the end of the block. After an error ``path`` is as it was."""
    with temporary_file(path) as temporary:
        yield temporary
        os.replace(temporary, path)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to fill, which only this user may read and which becomes ``path`` at the end of the block.

    Raises OSError where ``path`` is then a folder with files in it. After an error there is no trace of the temporary folder.
    """
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield temporary
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _remove_abandoned(root: Path) -> None:
    from filelock import FileLock, Timeout

    for lock in root.glob(f"{_PREFIX}*.lock"):
        folder = lock.with_suffix("")
        with contextlib.suppress(Timeout, OSError):
            with FileLock(lock, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
            lock.unlink(missing_ok=True)
