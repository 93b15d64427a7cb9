"""The access log: who listened to which recording, opened which call's page or exported rows, and when.

A folder outside the lake with one file of JSON lines a day (UTC), ``2026-11-20.jsonl``, to which entries are only appended. An entry is on
the disk before the access is granted. ``forget`` takes erased calls out of it; files past SER_KEEP_ACCESS_DAYS are deleted by the next
writer of a new day. Entries hold no text that somebody searched for, and no value of a query: either may name a person.
"""

import contextlib
import json
import os
import threading
from collections.abc import Container, Iterable, Iterator
from dataclasses import MISSING, asdict, dataclass, fields, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import platformdirs
import pyarrow as pa
from filelock import FileLock

from ser_tasks.lake import read_only
from ser_tasks.scratch import atomic_write
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store

LOCK_WAIT_S = 10.0
"""Longest wait for another process that writes; then the entry is not written, and OSError is raised."""
MAX_CHARACTERS = 500
"""Longest text of an entry's field; longer ones are cut."""
FORGOTTEN = "erased"
"""What an entry holds instead of the id of a call that was erased."""
KINDS = {
    "call_page": "opened the page of a call",
    "listening": "received a link to a recording",
    "listened": "played a recording, from one moment to another",
    "calls_csv": "downloaded the list of calls as CSV",
    "figures_csv": "downloaded a figure's rows as CSV",
    "reviews_export": "copied recordings with their labels to a folder with ser reviews export",
    "sql_export": "wrote the answer to a query to a file with ser sql",
}
"""The kinds of accesses, and what each means."""

_in_this_process = threading.Lock()


@dataclass(frozen=True)
class Access:
    """One entry."""

    at: str
    """When, in UTC: 2026-11-20T09:30:00.123Z."""
    who: str
    """The viewer as the sign-in names them, or the user of this machine."""
    kind: str
    """One of KINDS."""
    lake: str
    call: str = ""
    """The recording_id of the call; empty for exports."""
    detail: str = ""
    """What else was asked for: filters of a list, the text of a query without its values."""
    began: str = ""
    """With ``listened``: when it began to play, in UTC; ``at`` is when it ended. Empty for other kinds, and in older entries."""
    from_s: str = ""
    """With ``listened``: where it began, seconds from the start of the recording."""
    to_s: str = ""
    """With ``listened``: where it ended."""


def folder_of(lake: str, settings: Settings) -> Path:
    """The folder of the access log: SER_ACCESS_LOG, else ``<lake>.accesses`` beside a local lake, else one in the user's state folder."""
    if settings.access_log:
        return Path(settings.access_log).expanduser().absolute()
    root = open_store(lake).local_root
    if root is not None:
        beside = root.with_name(f"{root.name}.accesses")
        if os.access(beside if beside.exists() else beside.parent, os.W_OK):
            return beside
    return Path(platformdirs.user_state_path("ser-nightly", appauthor=False)) / "accesses"


@dataclass(frozen=True)
class Played:
    """What was played without a pause, as the player reports it when it ends. Seconds."""

    from_s: float
    to_s: float
    """Places in the recording."""
    elapsed_s: float
    """How long it took, by the clock."""


class AccessLog:
    """Writes the access log of a lake. Processes and threads may write side by side."""

    def __init__(self, lake: str, settings: Settings):
        self.lake, self.folder, self.keep_days = open_store(lake).uri, folder_of(lake, settings), settings.keep_access_days

    def check(self) -> None:
        """Makes the folder, for this user alone. Raises OSError where it cannot be written."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(self.folder):
            pass

    def write(self, who: str, kind: str, call: str = "", detail: str = "", played: Played | None = None) -> Access:
        """Appends an entry, and returns it once it is on the disk. Raises OSError where it cannot be written, and
        ValueError for another kind."""
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is no kind of access: choose from {', '.join(KINDS)}.")
        self.check()
        with _locked(self.folder):
            now = datetime.now(UTC)
            access = Access(_moment(now), plain(who), kind, plain(self.lake), plain(call), plain(detail))
            if played is not None:
                began = _moment(now - timedelta(seconds=played.elapsed_s))
                access = replace(access, began=began, from_s=f"{played.from_s:.1f}", to_s=f"{played.to_s:.1f}")
            path = self.folder / f"{now:%Y-%m-%d}.jsonl"
            if not path.exists():
                delete(expired(self.folder, self.keep_days, now.date()))
            _append(path, json.dumps(asdict(access)).encode())
        return access


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def plain(text: str) -> str:
    """A text whose control characters, line breaks and invisible characters are escaped, cut to MAX_CHARACTERS."""
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text[:MAX_CHARACTERS])
    return shown if len(shown) <= MAX_CHARACTERS else shown[:MAX_CHARACTERS]


def read(folder: Path) -> Iterator[Access | None]:
    """Every entry, oldest first; None for a line that is none, such as one that a full disk cut off."""
    for path in _files(folder):
        for line in path.read_bytes().splitlines():
            if line.strip():
                yield _parsed(line)


TABLES = """
    CREATE TABLE accesses AS
    SELECT "at"::TIMESTAMPTZ AS logged_at, who, kind, nullif(call, '') AS call, nullif(detail, '') AS detail,
        nullif(began, '')::TIMESTAMPTZ AS began, nullif(from_s, '')::DOUBLE AS from_s, nullif(to_s, '')::DOUBLE AS to_s
    FROM entries;
    CREATE VIEW listening AS
    SELECT who, call, began, logged_at AS ended, from_s, to_s FROM accesses WHERE kind = 'listened'
    UNION ALL BY NAME
    SELECT who, call, logged_at AS began FROM accesses AS link
    WHERE kind = 'listening' AND NOT EXISTS (
        FROM accesses AS played
        WHERE played.kind = 'listened' AND played.who = link.who AND played.call = link.call
            AND played.logged_at BETWEEN link.logged_at AND link.logged_at + INTERVAL 1 DAY
    )
    """
"""The tables that ``query`` has: every access; and what was played, from when to when. A player that did not report has no end there."""


def query(entries: pa.Table, sql: str) -> pa.Table:
    """The answer to one statement that reads the tables ``accesses`` and ``listening``. ``entries``: the fields of Access as text."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET enable_external_access = false")
        connection.register("entries", entries)
        for statement in TABLES.split(";"):
            connection.execute(statement)
        connection.unregister("entries")
        return read_only.query(connection, sql)


def forget(folder: Path, recordings: Container[str]) -> int:
    """Replaces the ids of these recordings in all entries, and returns the number of changed entries.

    Who accessed something, and when, stays. Raises OSError where the log cannot be changed.
    """
    changed = 0
    if not folder.is_dir():
        return 0
    with _locked(folder):
        for left in folder.glob(".*.tmp"):  # by one that was killed here
            left.unlink()
        for path in _files(folder):
            lines = path.read_bytes().splitlines()
            kept = [_without(line, recordings) for line in lines]
            differing = sum(bool(new) and old != new for old, new in zip(lines, kept, strict=True))
            if kept != lines:
                with atomic_write(path) as temporary:
                    temporary.touch(mode=0o600)
                    temporary.write_bytes(b"".join(line + b"\n" for line in kept if line))
                    _synced(temporary)
                _synced(folder)
            changed += differing
    return changed


def expired(folder: Path, keep_days: int | None, today: date | None = None) -> list[Path]:
    """The files of days that SER_KEEP_ACCESS_DAYS no longer keeps, oldest first."""
    if keep_days is None:
        return []
    first = (today or datetime.now(UTC).date()) - timedelta(days=keep_days)
    return [path for path in _files(folder) if date.fromisoformat(path.stem) < first]


def delete(files: Iterable[Path]) -> int:
    """Deletes these files of the log, and returns their number."""
    paths = list(files)
    for path in paths:
        path.unlink(missing_ok=True)
    return len(paths)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the log of a folder: first against other threads, then against other processes. Raises OSError after LOCK_WAIT_S."""
    if not _in_this_process.acquire(timeout=LOCK_WAIT_S):
        raise TimeoutError(f"Another thread has held the access log for {LOCK_WAIT_S:.0f} s.")
    try:
        with FileLock(folder / ".lock", timeout=LOCK_WAIT_S, mode=0o600):
            yield
    finally:
        _in_this_process.release()


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("????-??-??.jsonl"))


def _append(path: Path, line: bytes) -> None:
    """Appends a line and waits until it is on the disk; where that fails, nothing of it stays."""
    new = not path.exists()
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size_bytes = os.fstat(file).st_size
        cut_off = size_bytes > 0 and os.pread(file, 1, size_bytes - 1) != b"\n"
        data = (b"\n" if cut_off else b"") + line + b"\n"
        try:
            if os.write(file, data) != len(data):
                raise OSError(f"{path} took only a part of an entry: is the disk full?")
            os.fsync(file)
        except BaseException:
            os.ftruncate(file, size_bytes)
            raise
    finally:
        os.close(file)
    if new:
        _synced(path.parent)


def _synced(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _parsed(line: bytes) -> Access | None:
    try:
        values = json.loads(line)
        known = {field.name: field.default for field in fields(Access) if field.default is not MISSING}
        return Access(**{field.name: plain(str((known | values)[field.name])) for field in fields(Access)})
    except (ValueError, KeyError, TypeError):
        return None


def _without(line: bytes, recordings: Container[str]) -> bytes:
    access = _parsed(line)
    if access is None:  # a write that was cut off: the access was refused
        return b""
    if not access.call or access.call not in recordings:
        return line
    return json.dumps(asdict(replace(access, call=FORGOTTEN))).encode()
