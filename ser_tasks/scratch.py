"""A private folder for one run: downloads and frame features, which are as private as speech.

It is removed at the end of the run. A killed run can't remove its own: the next run on the machine does, since the
lock on it is then free.
"""

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

_PREFIX = "ser-scratch-"


@contextlib.contextmanager
def scratch_folder(parent: str | None) -> Iterator[Path]:
    """A new folder that only this user may read, inside ``parent`` or the system's temporary folder."""
    root = Path(parent or tempfile.gettempdir())
    root.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(root)
    folder = root / f"{_PREFIX}{secrets.token_hex(8)}"
    with FileLock(f"{folder}.lock"):  # held before there is anything to remove
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            Path(f"{folder}.lock").unlink(missing_ok=True)


def _remove_abandoned(root: Path) -> None:
    for mark in root.glob(f"{_PREFIX}*.lock"):
        folder = mark.with_suffix("")
        with contextlib.suppress(Timeout, OSError):
            with FileLock(mark, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
            mark.unlink(missing_ok=True)
