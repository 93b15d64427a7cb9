"""New connections that hold the views of ``sql/``.

Creating all views takes half a second of CPU. So they are created once for each version of them, in a DuckDB file in the user's cache
folder, and copied from there. The file's name holds a hash of what the views are made from, so an older file is never used for newer
views, and a hash of the file's own bytes, so a damaged file is never opened. Where the folder cannot be used, the views are created anew.
"""

import contextlib
import hashlib
import logging
import os
import shutil
import tempfile
import time
from pathlib import Path

import duckdb
import platformdirs

from ser_tasks.lake import sql_views
from ser_tasks.lake.sql_text import literal

log = logging.getLogger(__name__)

KEPT_FILES = 8
"""Files of other versions that stay in the folder: other checkouts and environments of the same user may use them."""
ABANDONED_AFTER_S = 3600
"""Age from which an unfinished file is one that a killed process left."""


def connect() -> duckdb.DuckDBPyConnection:
    """A new in-memory connection with every view of ``sql/`` over empty tables. Raises ValueError for faulty SQL in ``sql/``."""
    version = sql_views.version()
    for find_or_build in (_find, _build):
        try:
            if file := find_or_build(_private_folder(), version):
                return copy_of(file)
        except (OSError, duckdb.Error) as error:
            log.debug("The cache of the views is not used: %s", error)
    connection = duckdb.connect()
    sql_views.create(connection, sql_views.read_definitions())
    return connection


def cache_folder() -> Path:
    """The folder of the files: ``ser-nightly/views`` in the user's cache folder."""
    return platformdirs.user_cache_path("ser-nightly", appauthor=False) / "views"


def _private_folder() -> Path:
    """The cache folder, made where it is missing. Raises OSError where it cannot be made, or others could write to it."""
    folder = cache_folder()
    if not folder.is_absolute():
        raise FileNotFoundError(f"The user has no home folder: {folder}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o022):
        raise PermissionError(f"Others may write to {folder}")
    return folder


def _find(folder: Path, version: str) -> Path | None:
    """The file of this version whose bytes are as they were written, if there is one."""
    for file in sorted(folder.glob(f"{version}-*.duckdb")):
        if file.name == _name_of(version, file.read_bytes()):
            return file
    return None


def _build(folder: Path, version: str) -> Path:
    """Writes a file of the views and returns it. Processes that do so at once do not disturb each other."""
    with tempfile.TemporaryDirectory(prefix="unfinished-", dir=folder, ignore_cleanup_errors=True) as unfinished:
        made = Path(unfinished) / "views.duckdb"
        with duckdb.connect(made, config={"storage_compatibility_version": "latest"}) as connection:
            connection.begin()  # one write to disk instead of hundreds
            sql_views.create(connection, sql_views.read_definitions())
            connection.commit()
        made.chmod(0o600)
        file = folder / _name_of(version, made.read_bytes())
        os.replace(made, file)
    _remove_old(folder, file)
    return file


def _name_of(version: str, content: bytes) -> str:
    return f"{version}-{hashlib.sha256(content).hexdigest()[:32]}.duckdb"


def _remove_old(folder: Path, keep: Path) -> None:
    with contextlib.suppress(OSError):  # another process may remove them, too
        files = sorted(folder.glob("*.duckdb"), key=lambda file: file.stat().st_mtime)
        for file in [file for file in files if file != keep][:-KEPT_FILES]:
            file.unlink()
        for unfinished in folder.glob("unfinished-*"):
            if unfinished.stat().st_mtime < time.time() - ABANDONED_AFTER_S:
                shutil.rmtree(unfinished)


def copy_of(file: Path) -> duckdb.DuckDBPyConnection:
    """A new in-memory connection with what a DuckDB file holds. Raises duckdb.Error where DuckDB cannot read it."""
    connection = duckdb.connect()
    try:
        connection.execute(f"ATTACH {literal(str(file))} AS cached (READ_ONLY)")
        connection.begin()  # outside a transaction, COPY FROM DATABASE leaves the connection unable to use table() while a result is open
        connection.execute("COPY FROM DATABASE cached TO memory")
        connection.commit()
        connection.execute("DETACH cached")
    except BaseException:
        connection.close()
        raise
    return connection
