"""The lake in memory: staging tables copied at start and whenever parts changed, the marts on top of them as they are.

A page over a million calls then needs no store. Segments stay in the lake, where a call's own are read. Rows are filtered
by the viewer's queues below every mart: a mart cannot forget it.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Hashable
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa

from ser_tasks import schemas
from ser_tasks.dashboard.viewers import Viewer
from ser_tasks.lake import catalog, read_only
from ser_tasks.storage import open_store

log = logging.getLogger("uvicorn.error")

WATCHED = ("outcomes/", "call_emotions/", "runs/", "deletions/")
"""Folders of the lake whose parts are compared to see whether anything changed."""

MOST_REMEMBERED = 200
"""Pages of a snapshot whose figures are kept: some 300 kB each."""

SEEN = "(getvariable('everything') OR list_contains(getvariable('queues'), {}))"
"""The row filter. Without the variables it is null: nothing is seen."""

COUNTED_ONCE = ("queue_days_against_usual", "turning_weeks", "week_on_week")
"""Marts by queue that look at every day whatever period is asked for: their rows are copied, too."""

NEWEST = "SELECT * EXCLUDE (part) FROM parts.{} SEMI JOIN newest USING (recording_id, chunk_id, version, part)"
"""The rows of the versions that the snapshot has in ``newest``, whatever was published since; today's are those of the staging view."""

HIDDEN_ROLES = "('agent', 'unknown')"
"""Whose emotion is never shown, whatever the lake holds: people at work, and who may be one."""


def _hidden(table: str, role: str, first: str, last: str) -> str:
    """``* REPLACE (...)`` that makes a table's columns from first to last null where a person at work is described."""
    names = schemas.TABLES[table].names
    emotions = names[names.index(first) : names.index(last) + 1]
    return "* REPLACE (" + ", ".join(f"CASE WHEN {role} NOT IN {HIDDEN_ROLES} THEN {name} END AS {name}" for name in emotions)


CALLS = (
    _hidden("call_emotions", "emotion_role", first="emotion_role", last="escalated")
    + f", CASE WHEN emotion_role IN {HIDDEN_ROLES} THEN 'withheld' ELSE outcome END AS outcome, NULL::VARCHAR AS agent_pseudonym)"
)
SEGMENTS = _hidden("segments", "role", first="emotion", last="unsure") + ")"


class Snapshot:
    """The lake as it was at ``taken_at``. Cursors go on with it after a newer one has come."""

    def __init__(self, lake: str):
        self.taken_at = datetime.now(UTC)
        self.connection = catalog.connect(lake)
        _copy(self.connection)
        row = self.connection.execute("SELECT count(*), min(call_date), max(call_date) FROM copy.call_emotions").fetchone()
        self.calls, self.first_day, self.last_day = row
        self._remembered: dict[Hashable, Any] = {}
        self._lock = threading.Lock()

    def cursor(self, viewer: Viewer) -> duckdb.DuckDBPyConnection:
        """A connection of its own on which every view holds the viewer's rows alone."""
        cursor = self.connection.cursor()
        cursor.execute("SET TimeZone = 'UTC'")
        cursor.execute("SET VARIABLE queues = $queues::VARCHAR[]", {"queues": list(viewer.queues)})
        cursor.execute("SET VARIABLE everything = $everything::BOOLEAN", {"everything": viewer.everything})
        return cursor

    def ask(self, viewer: Viewer, sql: str, parameters: dict[str, Any] | None = None) -> pa.Table:
        """The answer to one statement of ours, with the viewer's rows alone."""
        with self.cursor(viewer) as cursor:
            return read_only.query(cursor, sql, parameters)

    def remembered(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What ``make`` returned when the key was asked for first; the last keys are kept."""
        found = self._remembered.get(key)
        if found is None:
            found = make()
            with self._lock:
                while len(self._remembered) >= MOST_REMEMBERED:
                    del self._remembered[next(iter(self._remembered))]
                self._remembered[key] = found
        return found


def _copy(connection: duckdb.DuckDBPyConnection) -> None:
    """Copies the staging tables and lays filtered views over the copies, in place of those over the parts.

    ``newest`` comes first and the calls follow it: a part that appears meanwhile is in neither.
    """
    run = connection.execute
    run("SET enable_external_file_cache = false")  # every part is read once
    run("ATTACH ':memory:' AS copy (COMPRESS)")
    run("CREATE TABLE copy.newest_rows AS FROM newest")
    run("CREATE OR REPLACE VIEW newest AS FROM copy.newest_rows")
    run(f"CREATE TABLE copy.call_emotions AS SELECT {CALLS} FROM ({NEWEST.format('call_emotions')})")
    run("CREATE TABLE copy.runs AS FROM runs")
    run(
        """
        CREATE TABLE copy.newest AS SELECT n.* REPLACE (coalesce(c.outcome, n.outcome) AS outcome), c.queue AS seen_in
        FROM copy.newest_rows AS n LEFT JOIN copy.call_emotions AS c USING (recording_id)
        """
    )
    run(f"CREATE OR REPLACE VIEW newest AS SELECT * EXCLUDE (seen_in) FROM copy.newest WHERE {SEEN.format('seen_in')}")
    run("DROP TABLE copy.newest_rows")
    run(f"CREATE OR REPLACE VIEW call_emotions AS FROM copy.call_emotions WHERE {SEEN.format('queue')}")
    run("CREATE OR REPLACE VIEW runs AS FROM copy.runs")
    for view in ("recordings", "recordings_all", "outcomes_all", "superseded", "call_emotions_all", "segments", "segments_all"):
        columns = {"call_emotions_all": CALLS, "segments": SEGMENTS, "segments_all": SEGMENTS}.get(view, "*")
        sql = (catalog.SQL_FOLDER / "staging" / f"{view}.sql").read_text(encoding="utf-8")
        sql = NEWEST.format(view) if view == "segments" else sql
        run(f"CREATE OR REPLACE VIEW {view} AS SELECT {columns} FROM (\n{sql}\n) SEMI JOIN newest USING (recording_id)")
    run("SET VARIABLE everything = true")
    for mart in COUNTED_ONCE:
        run(f"CREATE TABLE copy.{mart} AS FROM {mart}")
        run(f"CREATE OR REPLACE VIEW {mart} AS FROM copy.{mart} WHERE {SEEN.format('queue')}")
    run("RESET VARIABLE everything")
    run("CHECKPOINT copy")  # compresses: a million calls take 190 MB instead of 1.3 GB


class Snapshots:
    """The newest snapshot of a lake, renewed in the background. Raises what the store raises when the lake cannot be listed."""

    def __init__(self, lake: str, refresh_s: float, wait: bool = True, prepare: Callable[[Snapshot], None] | None = None):
        self.lake, self.refresh_s, self.prepare = lake, refresh_s, prepare
        self.problem: str | None = None
        """Why the lake could not be read when it was last looked at; None where it could."""
        self.current: Snapshot | None = None
        """None until the lake was read for the first time; ``wait`` reads it now, else the background does."""
        self._mark = self._listing()
        self._ended = threading.Event()
        if wait:
            self.refresh()

    def refresh(self, prepare: Callable[[Snapshot], None] | None = None) -> bool:
        """Takes a new snapshot if parts changed, and returns whether it did. Raises what the store raises.

        ``prepare`` is called with it before it is shown: what it remembers need not be made while a visitor waits.
        """
        mark = self._listing()
        if self.current is not None and mark == self._mark:
            return False
        began = time.monotonic()
        snapshot = Snapshot(self.lake)
        if prepare:
            prepare(snapshot)
        self.current, self._mark = snapshot, mark
        log.info("Read %s calls from the lake in %.1f s", f"{snapshot.calls:,}", time.monotonic() - began)
        return True

    def watch(self) -> None:
        """Refreshes until ``stop``: a lake that cannot be read leaves the snapshot as it is, and the page says so."""
        while not self._ended.wait(self.refresh_s if self.current or self.problem else 0):
            try:
                self.refresh(self.prepare)
                self.problem = None
            except Exception as error:
                self.problem = type(error).__name__
                log.warning("The lake could not be read, the page shows what it read before: %s", error)

    def start(self) -> None:
        threading.Thread(target=self.watch, name="snapshots", daemon=True).start()

    def stop(self) -> None:
        self._ended.set()

    def _listing(self) -> bytes:
        found, store = hashlib.sha256(), open_store(self.lake)
        for folder in WATCHED:
            for item in store.list(folder):
                found.update(f"{item.key}\0{item.etag}\0".encode("utf-8", "surrogateescape"))
        return found.digest()
