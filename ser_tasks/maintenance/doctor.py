"""The lake's doctor: reconciles store, manifests, outcomes and parts, says what is wrong and what to run, and repairs what is safe.

Nothing is ever deleted but temporary files: a part that is in the way is moved into ``quarantine/`` under the lake, and the
next night makes its chunk anew. What the lake holds is read once, column by column, by DuckDB within MEMORY_LIMIT.
"""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ser_tasks import schemas
from ser_tasks.lake import catalog, parts
from ser_tasks.lake.manifest import MANIFEST, deleted_days, next_manifest, read_manifest
from ser_tasks.pipeline.listing import Listing
from ser_tasks.scratch import scratch_folder
from ser_tasks.settings import Settings
from ser_tasks.storage import Store, StoredObject, open_store

MEMORY_LIMIT = "512MB"
OLD_S = 3600.0
"""A temporary file of this age is nobody's any more: a part is written in seconds."""
_AT_ONCE = 1000
_READERS = 16
_PART = re.compile(r"(?P<table>\w+)/day=(?P<day>\d{4}-\d\d-\d\d)(/version=(?P<version>[\w.-]+))?/(?P<name>[^/]+)\.parquet")

NIGHTLY = "ser nightly --recordings {recordings} --lake {lake}"
REPAIR = "ser doctor --lake {lake} --recordings {recordings} --repair, then ser nightly"

KINDS = {
    "broken_part": ("cannot be read", REPAIR),
    "broken_manifest": ("cannot be read: nothing of its day is planned until it is made anew from the day's outcomes", REPAIR),
    "foreign_part": ("holds rows of another chunk, day or version than its name says", REPAIR),
    "stray_file": ("is no part, but lies in a table's folder", REPAIR),
    "temporary_file": ("was left by a write that was cut off", REPAIR),
    "rows_missing": ("has outcomes whose rows are not in call_emotions or segments", REPAIR),
    "rows_without_outcome": ("has rows of recordings that have no outcome in it", REPAIR),
    "unplanned_outcomes": ("has outcomes of recordings that no manifest of the day has", REPAIR),
    "unplanned_rows": ("has rows, but neither outcomes nor a place in a manifest", REPAIR),
    "manifest_gap": ("is missing between the day's manifests: somebody removed it (restore it if you can)", REPAIR),
    "half_published": ("has rows, but no outcomes part yet: a night was killed there, or is still at work", NIGHTLY),
    "not_planned": ("holds recordings that no manifest has", NIGHTLY),
    "not_handled": (
        "was planned, but has recordings without an outcome: a night was killed, or is still at work",
        NIGHTLY + " --day {day}",
    ),
    "not_in_version": ("has recordings without an outcome in this version, though the store holds them", REPAIR),
    "outcomes_doubled": (
        "has more than one outcome in one version",
        "by hand: move the three parts of all but one of the chunks named out of the lake",
    ),
    "planned_twice": ("is planned in more than one chunk", "by hand: as for outcomes_doubled; a manifest is never rewritten"),
}
"""What may be found: what it means, and what to run."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: of which kind, where (a key, or a chunk's place), and with how many recordings or files."""

    what: str
    where: str
    count: int = 1
    detail: str = ""
    day: date | None = None


@dataclass
class Report:
    """What the doctor found, and what a repair would move, rebuild and remove."""

    lake: str
    recordings: str | None
    parts: int = 0
    findings: list[Finding] = field(default_factory=list)
    to_move: list[str] = field(default_factory=list)
    """Keys, in the order of moving."""
    to_rebuild: dict[date, list[str]] = field(default_factory=dict)
    """Days whose manifest is not whole, and the keys that are missing or cannot be read."""
    unplanned: set[date] = field(default_factory=set)
    """Days with outcomes that no manifest has."""
    to_remove: list[Path] = field(default_factory=list)
    """Temporary files."""

    def add(self, what: str, where: str, count: int = 1, detail: str = "", day: date | None = None) -> None:
        self.findings.append(Finding(what, where, count, detail, day))

    def move(self, *keys: str) -> None:
        self.to_move += [key for key in keys if key not in self.to_move]

    def lines(self, at_most: int = 10) -> Iterator[str]:
        """The report for a person: each kind of finding with its first places and what to run."""
        kinds: dict[str, list[Finding]] = {}
        for finding in self.findings:
            kinds.setdefault(finding.what, []).append(finding)
        names = {"lake": self.lake, "recordings": self.recordings or "RECORDINGS"}
        for what, found in kinds.items():
            meaning, remedy = KINDS[what]
            yield f"{what}: {len(found)}"
            for finding in found[:at_most]:
                counted = f" ({finding.count:,})" if finding.count > 1 else ""
                yield f"  {finding.where}{counted} {meaning}" + (f": {finding.detail}" if finding.detail else "")
            if len(found) > at_most:
                yield f"  and {len(found) - at_most:,} more"
            yield f"  run: {remedy.format(**names, day=found[0].day)}"


def examine(lake: str, recordings: str | None = None, settings: Settings | None = None, deep: bool = False) -> Report:
    """What is wrong with a lake. With ``recordings``, also what its store holds and the lake does not know.

    Footers are read of all parts; ``deep`` reads every page. Raises FileNotFoundError for a local folder that is not there, and
    what the store raises where it cannot be reached.
    """
    settings = settings or Settings()
    store = open_store(lake)
    store.check()
    if recordings:
        open_store(recordings).check()
    for every_page in (deep, deep, True):
        report = Report(store.uri, recordings)
        with scratch_folder(settings.scratch) as scratch:
            inventory = _inventory(store, report, every_page)
            try:
                _reconcile(store, report, inventory, settings, scratch)
                return report
            except duckdb.OutOfMemoryException:
                raise
            except (duckdb.Error, UnicodeDecodeError) as error:  # a part was replaced under us, or a footer is whole and its pages not
                fault = error
    raise fault


def repair(report: Report, settings: Settings | None = None) -> list[str]:
    """Does what is safe, and says what it did. Not while a night is at work on the lake.

    A chunk with a broken or a missing part loses its parts of that version to ``quarantine/``, outcomes first: the next night makes it
    anew from the recordings. Those that have left the store since cannot be made anew: their rows stay in quarantine.
    """
    store, done = open_store(report.lake), []
    folder = f"quarantine/{datetime.now(UTC):%Y%m%dT%H%M%S}/"
    for day, keys in sorted(report.to_rebuild.items()):
        if day in report.unplanned and report.recordings is None:
            done.append(f"left the manifest of {day} alone: give --recordings, for only the store knows the sidecars' etags")
        else:
            done += _mend_manifest(store, report, day, keys, folder, settings or Settings())
    for key in report.to_move:
        if _copied(store, key, folder):
            store.delete(key)
            done.append(f"moved {key} into {folder}")
    for path in report.to_remove:
        path.unlink(missing_ok=True)
        done.append(f"removed {path}")
    return done


def _copied(store: Store, key: str, folder: str) -> bool:
    try:
        data = store.read_bytes(key)
    except FileNotFoundError:
        return False
    store.write_bytes(folder + key, data)
    return True


@dataclass(frozen=True)
class _Inventory:
    """Every readable part of the lake, and the keys that are not to be read."""

    known: pa.Table
    left_out: list[str]
    broken_chunks: pa.Table
    """Chunks with a part that cannot be read: what follows from that is not said again."""


_KNOWN = pa.schema([("tbl", pa.string()), ("day", pa.date32()), ("version", pa.string()), ("name", pa.string()), ("key", pa.string())])


def _inventory(store: Store, report: Report, deep: bool) -> _Inventory:
    """Lists the lake and reads every part's footer, so many at once as a slow store is worth."""
    known: dict[str, list] = {name: [] for name in _KNOWN.names}
    broken: dict[str, list] = {name: [] for name in _KNOWN.names}
    left_out: list[str] = []
    listing = (item for table in schemas.TABLES for item in store.list(f"{table}/"))
    with ThreadPoolExecutor(_READERS) as readers:
        while window := list(islice(listing, _AT_ONCE)):
            for item, trouble in zip(window, readers.map(lambda item: _trouble(store, item, deep), window), strict=True):
                what, detail = trouble or (None, "")
                place = None if what == "stray_file" else _place(item.key)
                report.parts += place is not None
                if what:
                    report.add(what, item.key, detail=detail)
                    left_out.append(item.key)
                if what == "broken_manifest" and place:
                    report.to_rebuild.setdefault(place.day, []).append(item.key)
                elif what:
                    report.move(*_same_name(place.day, place.version, place.name) if place and place.version else (), item.key)
                if place:
                    row = (place.table, place.day, place.version, place.name, item.key)
                    for name, value in zip(_KNOWN.names, row, strict=True):
                        (broken if what else known)[name].append(value)
    _temporary_files(store, report)
    return _Inventory(pa.table(known, schema=_KNOWN), left_out, pa.table(broken, schema=_KNOWN))


class _Place(NamedTuple):
    table: str
    day: date
    version: str | None
    name: str


def _place(key: str) -> _Place | None:
    """What a part's key says; None for what is no part."""
    found = _PART.fullmatch(key)
    if not found or ("version" in schemas.PARTITIONS[found["table"]]) != (found["version"] is not None):
        return None
    try:
        return _Place(found["table"], date.fromisoformat(found["day"]), found["version"], found["name"])
    except ValueError:
        return None


def _same_name(day: date, version: str, name: str) -> list[str]:
    """The three parts of one name in one version, outcomes first: without them their chunks are not done."""
    return [f"{parts.folder(table, day=day, version=version)}{name}.parquet" for table in ("outcomes", "call_emotions", "segments")]


def _parts_of_chunk(store: Store, day: date, version: str, chunk_id: str) -> list[str]:
    """The parts that hold a chunk in one version: its own, or merged ones, with all the chunks in them."""
    try:
        held = parts.find_chunk(store, day, version, chunk_id)
    except parts.BrokenPartError:
        held = None
    return _same_name(day, version, held[0] if held else chunk_id)


def _trouble(store: Store, item: StoredObject, deep: bool) -> tuple[str, str] | None:
    """What is wrong with one file of a table's folder, and why; None where nothing is."""
    place = _place(item.key)
    if place is None:
        return "stray_file", ""
    table = place.table
    if table == "recordings" and not MANIFEST.search(item.key):
        return "stray_file", "a manifest is named manifest-000001 and so on"
    try:
        footer = parts.footer(store, item.key, item.size_bytes)
        if deep:
            parts.read(store, item.key, table)
    except FileNotFoundError:  # replaced or moved since it was listed
        return None
    except parts.BrokenPartError as error:
        return ("broken_manifest" if table == "recordings" else "broken_part"), str(error.__cause__ or error)[:200]
    expected = {"run_id": {place.name}} if table == "runs" else {}
    if place.version is not None:
        model, _, policy = place.version.rpartition(".")
        expected = {"model": {model}, "policy": {policy}}
        if not parts.merged_number(place.name):
            expected["chunk_id"] = {place.name}
    for column, value in expected.items():
        held = _extremes(footer, column)
        if held - value:
            return "foreign_part", f"its rows say {column} {', '.join(sorted(map(str, held - value)))}"
    return None


def _extremes(footer: pq.FileMetaData, column: str) -> set[Any]:
    """A column's smallest and largest value, from the footer's statistics; empty where there are none."""
    found: set[Any] = set()
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        for place in range(group.num_columns):
            chunk = group.column(place)
            if chunk.path_in_schema == column and chunk.statistics is not None and chunk.statistics.has_min_max:
                found |= {chunk.statistics.min, chunk.statistics.max}
    return found


def _temporary_files(store: Store, report: Report) -> None:
    if store.local_root is None:  # an object store has none: a put is whole or not there
        return
    for table in schemas.TABLES:
        for path in (store.local_root / table).rglob(".*.tmp"):
            age_s = time.time() - path.stat().st_mtime
            if age_s > OLD_S:
                report.add("temporary_file", path.relative_to(store.local_root).as_posix(), detail=f"{age_s / 3600:.0f} hours old")
                report.to_remove.append(path)


_ROWS = """
    CREATE TEMP TABLE deleted AS SELECT DISTINCT day FROM parts.deletions;
    CREATE TEMP TABLE planned AS SELECT recording_id, etag, sidecar_etag, chunk_id, day FROM recordings_all ANTI JOIN deleted USING (day);
    CREATE TEMP TABLE ended AS SELECT recording_id, etag, chunk_id, day, version, outcome FROM outcomes_all ANTI JOIN deleted USING (day);
    CREATE TEMP TABLE calls AS
        SELECT DISTINCT recording_id, etag, chunk_id, day, version FROM parts.call_emotions ANTI JOIN deleted USING (day);
    CREATE TEMP TABLE heard AS
        SELECT recording_id, etag, chunk_id, day, version, bool_or(emotion IS NOT NULL) AS scored
        FROM parts.segments ANTI JOIN deleted USING (day) GROUP BY ALL;
    CREATE TEMP TABLE rows_of AS SELECT * FROM calls UNION SELECT * EXCLUDE (scored) FROM heard;
"""
"""Of days of which the retention deleted something there is nothing to reconcile."""

_UNTOUCHED = """NOT EXISTS (
    FROM broken_chunks AS b
    WHERE b.day = x.day AND (b.tbl = 'recordings'
        OR (b.name = x.chunk_id OR b.name LIKE 'merged-%') AND b.version IS NOT DISTINCT FROM x.version))"""
"""Of a chunk whose parts, and whose day's manifests, can all be read. A merged part may hold any chunk."""

_OUTCOMES_READ = """NOT EXISTS (
    FROM broken_chunks AS b WHERE b.day = x.day AND b.tbl = 'outcomes' AND (b.name = x.chunk_id OR b.name LIKE 'merged-%'))"""

_BY_CHUNK = {
    "rows_missing": f"""
        SELECT day, version, chunk_id, count(*) AS recordings FROM ended AS x
        WHERE {_UNTOUCHED} AND (
            outcome IN ('scored', 'no_speech', 'withheld')
                AND NOT EXISTS (FROM calls AS c WHERE (c.recording_id, c.etag, c.chunk_id, c.day, c.version)
                    = (x.recording_id, x.etag, x.chunk_id, x.day, x.version))
            OR outcome = 'scored'
                AND NOT EXISTS (FROM heard AS h WHERE h.scored AND (h.recording_id, h.etag, h.chunk_id, h.day, h.version)
                    = (x.recording_id, x.etag, x.chunk_id, x.day, x.version)))
        GROUP BY ALL""",
    "rows_without_outcome": f"""
        SELECT day, version, chunk_id, count(*) AS recordings FROM rows_of AS x
        ANTI JOIN ended USING (recording_id, etag, chunk_id, day, version)
        WHERE {_UNTOUCHED} AND EXISTS (FROM ended AS e WHERE (e.chunk_id, e.day, e.version) = (x.chunk_id, x.day, x.version))
        GROUP BY ALL""",
    "half_published": f"""
        SELECT day, version, chunk_id, count(*) AS recordings FROM rows_of AS x
        WHERE {_UNTOUCHED} AND NOT EXISTS (FROM ended AS e WHERE (e.chunk_id, e.day, e.version) = (x.chunk_id, x.day, x.version))
            AND EXISTS (FROM planned AS p WHERE (p.chunk_id, p.day) = (x.chunk_id, x.day))
        GROUP BY ALL""",
    "unplanned_rows": f"""
        SELECT day, version, chunk_id, count(*) AS recordings FROM rows_of AS x
        WHERE {_OUTCOMES_READ}
            AND NOT EXISTS (FROM ended AS e WHERE (e.chunk_id, e.day, e.version) = (x.chunk_id, x.day, x.version))
            AND NOT EXISTS (FROM planned AS p WHERE (p.chunk_id, p.day) = (x.chunk_id, x.day))
        GROUP BY ALL""",
    "foreign_part": """
        SELECT day, version, chunk_id, count(*) AS recordings FROM ended AS x
        WHERE NOT EXISTS (FROM planned AS p WHERE (p.chunk_id, p.day) = (x.chunk_id, x.day))
            AND EXISTS (FROM planned AS p WHERE p.chunk_id = x.chunk_id)
        GROUP BY ALL""",
    "not_handled": f"""
        SELECT day, NULL AS version, chunk_id, count(*) AS recordings
        FROM (SELECT *, NULL::VARCHAR AS version FROM planned) AS x ANTI JOIN ended USING (recording_id, etag, chunk_id, day)
        WHERE {_OUTCOMES_READ}
        GROUP BY ALL""",
}
"""Chunks with something wrong: day, version, chunk and the number of its recordings."""

_UNPLANNED = """
    SELECT day, count(*) AS recordings FROM (
        SELECT DISTINCT recording_id, etag, chunk_id, day FROM ended AS x
        ANTI JOIN planned USING (recording_id, etag, chunk_id, day)
        WHERE NOT EXISTS (FROM planned AS p WHERE p.chunk_id = x.chunk_id AND p.day <> x.day)
    ) GROUP BY day"""

_NOT_IN_VERSION = """
    SELECT v.day, v.version, v.chunk_id, p.recording_id, p.etag
    FROM (SELECT DISTINCT day, version, chunk_id FROM ended) AS v JOIN planned AS p USING (day, chunk_id)
    ANTI JOIN ended AS e USING (day, version, chunk_id, recording_id, etag)
    SEMI JOIN ended AS other ON other.recording_id = p.recording_id AND other.etag = p.etag"""
"""Only versions that ended the rest of the chunk; recordings that no version ended are in not_handled."""

_TWICE = {
    "outcomes_doubled": """
        SELECT recording_id, version, count(*), string_agg(DISTINCT chunk_id, ', ' ORDER BY chunk_id)
        FROM ended LEFT JOIN (SELECT DISTINCT recording_id, etag, chunk_id, day, sidecar_etag FROM planned)
            USING (recording_id, etag, chunk_id, day)
        GROUP BY recording_id, etag, sidecar_etag, version HAVING count(*) > 1""",
    "planned_twice": """
        SELECT recording_id, min(day), count(*), string_agg(DISTINCT chunk_id, ', ' ORDER BY chunk_id)
        FROM planned GROUP BY recording_id, etag, sidecar_etag HAVING count(*) > 1""",
}


def _reconcile(store: Store, report: Report, inventory: _Inventory, settings: Settings, scratch: Path) -> None:
    with catalog.connect(report.lake, without=inventory.left_out) as lake:
        lake.execute(f"SET memory_limit = '{MEMORY_LIMIT}'; SET preserve_insertion_order = false")
        lake.execute(f"SET temp_directory = '{str(scratch).replace(chr(39), chr(39) * 2)}'")
        lake.register("broken_chunks", inventory.broken_chunks)
        lake.execute(_ROWS)
        for what, query in _BY_CHUNK.items():
            for day, version, chunk_id, count in lake.execute(query + " ORDER BY ALL").fetchall():
                if version is None:
                    report.add(what, f"chunk {chunk_id} of {day}", count, day=day)
                    continue
                report.add(what, f"chunk {chunk_id} of {day}, version {version},", count, day=day)
                if KINDS[what][1] == REPAIR:
                    report.move(*_parts_of_chunk(store, day, version, chunk_id))
        for day, count in lake.execute(_UNPLANNED + " ORDER BY day").fetchall():
            report.add("unplanned_outcomes", f"the day {day}", count, day=day)
            report.unplanned.add(day)
            report.to_rebuild.setdefault(day, [])
        for what, query in _TWICE.items():
            for recording_id, _, count, chunks in lake.execute(query + " ORDER BY ALL").fetchall():
                report.add(what, f"recording {recording_id}", count, f"chunks {chunks}")
        _manifest_gaps(report, inventory)
        if report.recordings:
            missing = lake.execute(_NOT_IN_VERSION).to_arrow_table()
            _compare_with_store(store, report, missing, settings, scratch)


def _manifest_gaps(report: Report, inventory: _Inventory) -> None:
    numbers: dict[date, list[int]] = {}
    for table in (inventory.known, inventory.broken_chunks):
        for name, day, key in zip(*(table[column].to_pylist() for column in ("tbl", "day", "key")), strict=True):
            if name == "recordings" and (match := MANIFEST.search(key)):
                numbers.setdefault(day, []).append(int(match[1]))
    for day, found in sorted(numbers.items()):
        for number in sorted(set(range(1, max(found) + 1)) - set(found)):
            key = f"{parts.folder('recordings', day=day)}manifest-{number:06}.parquet"
            report.add("manifest_gap", key, day=day)
            report.to_rebuild.setdefault(day, []).append(key)


def _compare_with_store(store: Store, report: Report, missing: pa.Table, settings: Settings, scratch: Path) -> None:
    listing = Listing(open_store(report.recordings or ""), settings, scratch / "listing.duckdb", deleted=deleted_days(store))
    for day in listing.days():
        try:
            manifest = read_manifest(store, day)
        except parts.BrokenPartError:
            continue
        count = sum(1 for _ in listing.new(day, manifest))
        if count:
            report.add("not_planned", f"{report.recordings}, day {day},", count, day=day)
    cursor = listing.database.cursor()
    cursor.register("missing", missing)
    query = "SELECT day, version, chunk_id, count(*) FROM missing SEMI JOIN listing USING (recording_id, etag) GROUP BY ALL ORDER BY ALL"
    for day, version, chunk_id, count in cursor.execute(query).fetchall():
        report.add("not_in_version", f"chunk {chunk_id} of {day}, version {version},", count, day=day)
        report.move(*_parts_of_chunk(store, day, version, chunk_id))


def _mend_manifest(store: Store, report: Report, day: date, keys: list[str], folder: str, settings: Settings) -> list[str]:
    """Puts a whole manifest part in the place of each that is missing or cannot be read; that one goes into ``folder`` first."""
    rows = _planned_again(store, report, day, settings) if day in report.unplanned else schemas.RECORDINGS.empty_table()
    done = []
    for key in keys or [f"{parts.folder('recordings', day=day)}manifest-{next_manifest(store, day):06}.parquet"]:
        if _copied(store, key, folder):
            done.append(f"copied {key} into {folder}")
        store.write_bytes(key, parts.encode("recordings", rows))
        done.append(f"wrote {key} anew: {rows.num_rows:,} recordings of {day}, as their outcomes tell")
        rows = schemas.RECORDINGS.empty_table()
    return done


def _planned_again(store: Store, report: Report, day: date, settings: Settings) -> pa.Table:
    """Manifest rows of a day's handled recordings that no readable manifest has, in the chunks that their outcomes name.

    Size, time of upload and the sidecar's etag come from the store, where it still holds the same bytes; they are null where not.
    A recording that was planned but had no outcome is in no part: the next night plans it anew.
    """
    folder = parts.folder("recordings", day=day)
    readable, ended = [], []
    for key in parts.keys(store, folder):
        try:
            readable.append(parts.read(store, key, "recordings"))
        except parts.BrokenPartError:
            continue
    for key in parts.keys(store, parts.folder("outcomes", day=day)):
        try:
            ended.append(parts.read(store, key, "outcomes", ["recording_id", "etag", "key", "chunk_id", "scored_at", "run_id"]))
        except parts.BrokenPartError:
            continue
    with scratch_folder(settings.scratch) as scratch:
        listing = Listing(open_store(report.recordings or ""), settings, scratch / "listing.duckdb")
        database = listing.database
        database.register("planned", pa.concat_tables([schemas.RECORDINGS.empty_table(), *readable]))
        database.register("ended", pa.concat_tables(ended))
        rows = database.execute(
            """
            SELECT e.recording_id, e.etag, any_value(e.key) AS key, any_value(l.sidecar_etag) AS sidecar_etag,
                any_value(l.size_bytes) AS size_bytes, any_value(l.last_modified) AS last_modified,
                any_value(l.day_source) AS day_source, any_value(l.estimated_s) AS estimated_s,
                e.chunk_id, min(e.scored_at) AS planned_at, arg_min(e.run_id, e.scored_at) AS run_id
            FROM ended AS e LEFT JOIN listing AS l USING (recording_id, etag)
            ANTI JOIN planned AS p USING (recording_id, etag, chunk_id)
            GROUP BY e.recording_id, e.etag, e.chunk_id ORDER BY key, e.recording_id
            """
        ).to_arrow_table()
    return schemas.table("recordings", rows.to_pylist())
