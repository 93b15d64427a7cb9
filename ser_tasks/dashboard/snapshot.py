"""An in-memory copy of the lake: staging tables are copied at start and whenever parts change, and the marts are views over the copies.

So a page over a million calls reads nothing from the store. Segments stay in the lake; a call's page reads those of its call. The
filter on the viewer's queues is in the staging views, below every mart, so no mart can omit it.
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
from ser_tasks.lake import catalog, parts, read_only, reviews, sql_views
from ser_tasks.storage import open_store

log = logging.getLogger("uvicorn.error")

WATCHED = ("outcomes/", "call_emotions/", "runs/", "deletions/", "alerts/")
"""Folders of the lake whose listing shows whether anything changed."""

MAX_CACHED = 200
"""Cached pages of a snapshot, of about 300 kB each."""

ROW_FILTER = "(getvariable('everything') OR list_contains(getvariable('queues'), {}))"
"""The row filter. Without the variables it is null, which selects no row."""

MATERIALISED_MARTS = ("queue_days_against_usual", "turning_weeks", "week_on_week")
"""Marts by queue that read every day whatever the period is: their rows are copied, too."""

NEWEST = "SELECT * EXCLUDE (part) FROM parts.{} SEMI JOIN newest USING (recording_id, chunk_id, version, part)"
"""The rows of the versions that the snapshot has in ``newest``, whatever was published since; today's are those of the staging view."""

REPEATED = """
    SELECT call_id, call_date, call_id_source, recording_id, started_at, duration_s, outcome, scored_speech_s, channels
    FROM call_emotions
    WHERE hash(call_id, call_date) IN (SELECT hash(call_id, call_date) AS hashed FROM call_emotions GROUP BY hashed HAVING count(*) > 1)
"""
"""What the staging view ``repeated_calls`` finds in parts, of the copied calls that the viewer may see."""

HIDDEN_ROLES = "('agent', 'unknown')"
"""Roles whose emotion is never shown, whatever the lake has: people at work, and speakers who may be."""


def _hidden(table: str, role: str, first: str, last: str) -> str:
    """``* REPLACE (...`` that sets a table's columns from first to last to null in rows of HIDDEN_ROLES; the caller closes it."""
    names = schemas.TABLES[table].names
    emotions = names[names.index(first) : names.index(last) + 1]
    return "* REPLACE (" + ", ".join(f"CASE WHEN {role} NOT IN {HIDDEN_ROLES} THEN {name} END AS {name}" for name in emotions)


CALLS = (
    _hidden("call_emotions", "emotion_role", first="emotion_role", last="onset_s")
    + f", CASE WHEN emotion_role IN {HIDDEN_ROLES} THEN 'withheld' ELSE outcome END AS outcome, NULL::VARCHAR AS agent_pseudonym)"
)
SEGMENTS = _hidden("segments", "role", first="emotion", last="unsure") + f", CASE WHEN role NOT IN {HIDDEN_ROLES} THEN label END AS label)"


class Snapshot:
    """The lake as of ``taken_at``. Open cursors keep it after a newer snapshot has replaced it."""

    def __init__(self, lake: str):
        self.taken_at = datetime.now(UTC)
        self.connection = catalog.connect(lake)
        _copy(self.connection)
        read_only.lock(self.connection, lake)
        counted = self.connection.execute("SELECT count(*), min(call_date), max(call_date) FROM copy.call_emotions").fetchall()
        [(self.calls, self.first_day, self.last_day)] = counted
        self.cache: dict[Hashable, Any] = {}
        """Results of ``cached`` by key."""
        self._lock = threading.Lock()
        self._store = open_store(lake)
        self._reviews: dict[str, str] = {}
        """Etags of the parts whose reviews were copied, by key."""
        self._writing = threading.Lock()

    def refresh_reviews(self) -> None:
        """Copies reviews and review samples that were written since. Where the store does not answer, the copy stays as it is."""
        with self._writing:
            try:
                self._refresh_reviews()
            except OSError as error:
                log.warning("Reviews could not be read from the lake; pages show those read before: %s", error)

    def _refresh_reviews(self) -> None:
        tables = {item.key: (part, item.etag) for table in reviews.TABLES for part, item in parts.listed(self._store, f"{table}/")}
        listed = {key: etag for key, (_, etag) in tables.items()}
        if listed == self._reviews:
            return
        known = self._reviews if self._reviews.items() <= listed.items() else {}  # of a part that was erased or merged, nothing stays
        read = {}
        for key in listed.keys() - known.keys():
            try:
                read[key] = parts.read(self._store, key, tables[key][0].table)
            except (parts.BrokenPartError, FileNotFoundError) as error:
                log.warning("Reviews are left out: %s", error)
        with self.connection.cursor() as cursor:
            cursor.begin()
            for table in reviews.TABLES if known is not self._reviews else ():
                cursor.execute(f"DELETE FROM copy.{table}")
            for key, rows in read.items():
                part = tables[key][0]
                cursor.register("rows_of_part", rows)
                cursor.execute(f"INSERT INTO copy.{part.table} BY NAME SELECT *, $day::DATE AS day FROM rows_of_part", {"day": part.day})
                cursor.unregister("rows_of_part")
            cursor.commit()
        self._reviews = listed

    def add_alert(self, row: dict[str, Any]) -> None:
        """Adds a row of ``alerts`` that was just written, so that pages have it before the next snapshot."""
        rows = schemas.table("alerts", [row])
        with self._writing, self.connection.cursor() as cursor:
            cursor.register("rows_of_part", rows)
            cursor.execute("INSERT INTO copy.alerts BY NAME SELECT *, found_at::DATE AS day FROM rows_of_part")
            cursor.unregister("rows_of_part")
        with self._lock:
            self.cache.clear()

    def cursor(self, viewer: Viewer) -> duckdb.DuckDBPyConnection:
        """A separate connection on which every view has only rows that the viewer may see."""
        cursor = self.connection.cursor()
        cursor.execute("SET VARIABLE queues = $queues::VARCHAR[]", {"queues": list(viewer.queues)})
        cursor.execute("SET VARIABLE everything = $everything::BOOLEAN", {"everything": viewer.everything})
        return cursor

    def query(self, viewer: Viewer, sql: str, parameters: dict[str, Any] | None = None) -> pa.Table:
        """The result of one statement, with only rows that the viewer may see."""
        with self.cursor(viewer) as cursor:
            return read_only.query(cursor, sql, parameters)

    def cached(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """The result of ``compute`` for a key, computed once; the last MAX_CACHED results are kept."""
        result = self.cache.get(key)
        if result is None:
            result = compute()
            with self._lock:
                while len(self.cache) >= MAX_CACHED:
                    del self.cache[next(iter(self.cache))]
                self.cache[key] = result
        return result


def _copy(connection: duckdb.DuckDBPyConnection) -> None:
    """Copies the staging tables, and replaces the views over parts by filtered views over the copies.

    ``newest`` is copied first and restricts the other tables, so a part that appears meanwhile is in none of them.
    """
    run = connection.execute
    run("SET enable_external_file_cache = false")  # every part is read once
    run("ATTACH ':memory:' AS copy (COMPRESS)")
    run("CREATE TABLE copy.newest_rows AS FROM newest")
    run("CREATE OR REPLACE VIEW newest AS FROM copy.newest_rows")
    run(f"CREATE TABLE copy.call_emotions AS SELECT {CALLS} FROM ({NEWEST.format('call_emotions')})")
    run("CREATE TABLE copy.runs AS FROM runs")
    run("CREATE TABLE copy.alerts AS FROM alerts")
    run(
        """
        CREATE TABLE copy.newest AS SELECT n.* REPLACE (coalesce(c.outcome, n.outcome) AS outcome), c.queue AS queue_of_call
        FROM copy.newest_rows AS n LEFT JOIN copy.call_emotions AS c USING (recording_id)
        """
    )
    run(f"CREATE OR REPLACE VIEW newest AS SELECT * EXCLUDE (queue_of_call) FROM copy.newest WHERE {ROW_FILTER.format('queue_of_call')}")
    run("DROP TABLE copy.newest_rows")
    run(f"CREATE OR REPLACE VIEW call_emotions AS FROM copy.call_emotions WHERE {ROW_FILTER.format('queue')}")
    run(f"CREATE OR REPLACE VIEW repeated_calls AS {REPEATED}")
    run("CREATE OR REPLACE VIEW runs AS FROM copy.runs")
    run(f"CREATE OR REPLACE VIEW alerts AS FROM copy.alerts WHERE {ROW_FILTER.format('subject')}")
    for view in ("recordings", "recordings_all", "outcomes_all", "superseded", "call_emotions_all", "segments", "segments_all"):
        columns = {"call_emotions_all": CALLS, "segments": SEGMENTS, "segments_all": SEGMENTS}.get(view, "*")
        sql = (sql_views.SQL_FOLDER / "staging" / f"{view}.sql").read_text(encoding="utf-8")
        if view == "segments":  # with the columns that the view adds
            sql = sql.partition("FROM parts.segments")[0] + NEWEST.format(view).removeprefix("SELECT * EXCLUDE (part) ")
        run(f"CREATE OR REPLACE VIEW {view} AS SELECT {columns} FROM (\n{sql}\n) SEMI JOIN newest USING (recording_id)")
    for table in reviews.TABLES:  # refresh_reviews fills them; the views over them are filtered as newest is
        run(f"CREATE TABLE copy.{table} AS FROM parts.{table} LIMIT 0")
        run(f"CREATE OR REPLACE VIEW parts.{table} AS FROM copy.{table}")
    run("SET VARIABLE everything = true")
    for mart in MATERIALISED_MARTS:
        run(f"CREATE TABLE copy.{mart} AS FROM {mart}")
        run(f"CREATE OR REPLACE VIEW {mart} AS FROM copy.{mart} WHERE {ROW_FILTER.format('queue')}")
    run("RESET VARIABLE everything")
    run("CHECKPOINT copy")  # compresses: a million calls take 190 MB instead of 1.3 GB


class Snapshots:
    """The newest snapshot of a lake, refreshed in the background. Errors of the store propagate if the lake cannot be listed."""

    def __init__(self, lake: str, refresh_s: float, wait: bool = True, prepare: Callable[[Snapshot], None] | None = None):
        self.lake, self.refresh_s, self.prepare = lake, refresh_s, prepare
        self.problem: str | None = None
        """Why the last attempt to read the lake failed; None if it succeeded."""
        self.current: Snapshot | None = None
        """None until the lake was read for the first time: now with ``wait``, else in the background."""
        self._fingerprint = self.fingerprint()
        self._ended = threading.Event()
        if wait:
            self.refresh()

    def refresh(self, prepare: Callable[[Snapshot], None] | None = None) -> bool:
        """Takes a new snapshot if parts changed, and returns whether it did. Errors of the store propagate.

        ``prepare`` is called with the snapshot before it is shown, to fill its cache.
        """
        fingerprint = self.fingerprint()
        if self.current is not None and fingerprint == self._fingerprint:
            return False
        started = time.monotonic()
        snapshot = Snapshot(self.lake)
        if prepare:
            prepare(snapshot)
        self.current, self._fingerprint = snapshot, fingerprint
        log.info("Read %s calls from the lake in %.1f s", f"{snapshot.calls:,}", time.monotonic() - started)
        return True

    def watch(self) -> None:
        """Refreshes until ``stop``. If the lake cannot be read, the last snapshot stays, and pages say so."""
        while not self._ended.wait(self.refresh_s if self.current or self.problem else 0):
            try:
                self.refresh(self.prepare)
                self.problem = None
            except Exception as error:
                self.problem = type(error).__name__
                log.warning("The lake could not be read; pages show the last snapshot: %s", error)

    def start(self) -> None:
        threading.Thread(target=self.watch, name="snapshots", daemon=True).start()

    def stop(self) -> None:
        self._ended.set()

    def fingerprint(self) -> bytes:
        """A hash of the keys and etags of all watched parts. Errors of the store propagate."""
        digest, store = hashlib.sha256(), open_store(self.lake)
        for folder in WATCHED:
            for item in store.list(folder):
                digest.update(f"{item.key}\0{item.etag}\0".encode("utf-8", "surrogateescape"))
        return digest.digest()
