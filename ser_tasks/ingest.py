"""List the recordings, plan new chunks, and say which chunks wait for this model and policy.

A chunk is a set of recordings of one day that are handled together; its membership never changes. The manifest parts of
a day are numbered, and a number can be taken once only: of two runs that plan the same day at the same time, the
second reads what the first one planned and plans the rest.
"""

import contextlib
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ser_tasks import parts, schemas, settled
from ser_tasks.facts import day_of, masked_key, recording_id
from ser_tasks.settings import Settings
from ser_tasks.store import Store

_ROWS_AT_ONCE = 10_000

_BYTES_PER_S = {".mp3": 4_000, ".opus": 3_000, ".ogg": 4_000, ".m4a": 4_000, ".amr": 1_600, ".webm": 3_000, ".gsm": 1_650}
"""Rough sizes of one second of compressed speech, for the chunk budget; anything else counts as 8 kHz PCM, 16,000."""

MANIFEST = re.compile(r"/manifest-(\d{6,})\.parquet$")
"""Name of a day's manifest part."""

_LISTING = pa.schema(
    [
        ("key", pa.binary()),  # a file name need not be UTF-8
        ("stem", pa.binary()),
        ("sidecar", pa.bool_()),
        ("masked_key", pa.string()),
        ("recording_id", pa.string()),
        ("etag", pa.string()),
        ("size_bytes", pa.int64()),
        ("last_modified", schemas.UTC),
        ("day", pa.date32()),
        ("day_source", pa.string()),
        ("estimated_s", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Recording:
    """One listed recording, as a worker needs it. ``key`` is raw and stays out of the lake and of logs."""

    recording_id: str
    etag: str
    key: str | None
    """None where the recording is planned but no longer in the store with this etag."""
    masked_key: str
    sidecar_key: str | None
    chunk_id: str
    estimated_s: float
    attempts: int = 0
    """How often it was tried before."""
    sidecar_etag: str | None = None
    planned_at: datetime | None = None


@dataclass(frozen=True)
class Chunk:
    chunk_id: str
    day: date
    recordings: list[Recording]
    """Recordings to handle now: all, or those that failed before."""


@dataclass
class Plan:
    """What one run has to do."""

    listed: int = 0
    ignored_keys: int = 0
    planned: int = 0
    written_bytes: int = 0
    """Bytes of the manifests that were written."""
    chunks: list[tuple[date, str]] = field(default_factory=list)
    """Day and id of each chunk that waits, oldest day first."""
    recordings: int = 0
    """Recordings in those chunks."""
    closed: int = 0
    """Recordings in the store whose day is past the retention: nothing is done with them."""
    broken: dict[str, parts.BrokenPart] = field(default_factory=dict)
    """Parts of the lake that could not be read: what hangs on them is left alone."""


class Listing:
    """What the store holds, in a database in scratch: memory does not grow with the number of keys.

    Closed days are left out: those in ``deleted``, and those past the retention.
    """

    def __init__(
        self, recordings: Store, settings: Settings, database: Path, only_day: date | None = None, deleted: Set[date] = frozenset()
    ):
        self.settings, self.only_day = settings, only_day
        self.database = duckdb.connect(str(database), config={"memory_limit": "256MB", "threads": 1})
        self.database.execute("SET TimeZone = 'UTC'")
        self.ignored_keys = 0
        self.closed = 0
        self._manifests: dict[date, pa.Table] = {}
        self._deleted, self._first_open_day = deleted, settings.first_open_day() or date.min
        self.database.register("page", _LISTING.empty_table())
        self.database.execute("CREATE TABLE objects AS FROM page")
        for page in self._pages(recordings, only_day):
            self.database.register("page", page)
            self.database.execute("INSERT INTO objects FROM page")
        # A recording's sidecar is the .json of its stem; a .json of no recording is somebody else's. Where .json and .JSON
        # lie side by side, the last of their names counts: .json.
        self.database.execute(
            """
            CREATE TABLE listing AS
            SELECT recording.*, sidecar.key AS sidecar_key, sidecar.etag AS sidecar_etag
            FROM objects AS recording
            LEFT JOIN (SELECT stem, max(key) AS key, max_by(etag, key) AS etag FROM objects WHERE sidecar GROUP BY stem) AS sidecar
              ON sidecar.stem = recording.stem
            WHERE NOT recording.sidecar
            """
        )
        self.ignored_keys += self._count(
            "SELECT count(*) FROM objects AS o WHERE o.sidecar AND NOT EXISTS (FROM listing AS l WHERE l.sidecar_key = o.key)"
        )
        self.listed = self._count("SELECT count(*) FROM listing")

    def _count(self, query: str) -> int:
        row = self.database.execute(query).fetchone()
        assert row is not None
        return row[0]

    def _pages(self, recordings: Store, only_day: date | None) -> Iterator[pa.Table]:
        rows: list[dict[str, Any]] = []
        for item in recordings.list():
            path = PurePosixPath(item.key)
            suffix = path.suffix.lower()
            is_sidecar = suffix == ".json"
            if not is_sidecar and suffix not in self.settings.recording_suffixes:
                self.ignored_keys += 1
                continue
            day, day_source = day_of(item.key, item.last_modified, self.settings)
            if only_day and day != only_day and not is_sidecar:
                continue
            if not self._is_open(day) and (not is_sidecar or day_source != "object"):
                self.closed += not is_sidecar
                continue
            rows.append(
                {
                    "key": _binary(item.key),
                    "stem": _binary(item.key[: -len(path.suffix)]),
                    "sidecar": is_sidecar,
                    "masked_key": masked_key(item.key, self.settings),
                    "recording_id": recording_id(item.key),
                    "etag": item.etag,
                    "size_bytes": item.size_bytes,
                    "last_modified": item.last_modified,
                    "day": day,
                    "day_source": day_source,
                    "estimated_s": item.size_bytes / _BYTES_PER_S.get(suffix, 16_000),
                }
            )
            if len(rows) == _ROWS_AT_ONCE:
                yield pa.Table.from_pylist(rows, schema=_LISTING)
                rows = []
        yield pa.Table.from_pylist(rows, schema=_LISTING)

    def _is_open(self, day: date) -> bool:
        return day >= self._first_open_day and day not in self._deleted

    def days(self) -> list[date]:
        """Days to plan, oldest first. A day that was asked for is one even where the store holds nothing of it any more: what was
        planned there still waits for its outcome."""
        if self.only_day:
            return [self.only_day] if self._is_open(self.only_day) else []
        return [row[0] for row in self.database.cursor().execute("SELECT DISTINCT day FROM listing ORDER BY day").fetchall()]

    def digests(self) -> dict[date, str]:
        """By day, what tells whether the listed recordings are the same as before: their number, and a hash of ids and etags."""
        uploads = "concat_ws(' ', recording_id, etag, sidecar_etag)"
        query = f"SELECT day, count(*) || '-' || bit_xor(md5_number({uploads})) FROM listing GROUP BY day"
        return dict(self.database.cursor().execute(query).fetchall())

    def new(self, day: date, manifest: pa.Table) -> Iterator[dict[str, Any]]:
        """Recordings of a day that its manifest lacks, in the order of their keys."""
        cursor = self.database.cursor()  # of its own: the rows are read while other questions are asked
        cursor.register("manifest", manifest)
        cursor.execute(
            """
            SELECT masked_key AS key, recording_id, etag, sidecar_etag, size_bytes, last_modified, day_source, estimated_s
            FROM listing WHERE day = $day AND NOT EXISTS (
                FROM manifest AS m
                WHERE m.recording_id = listing.recording_id AND m.etag = listing.etag
                  AND m.sidecar_etag IS NOT DISTINCT FROM listing.sidecar_etag)
            ORDER BY listing.key
            """,
            {"day": day},
        )
        for batch in cursor.to_arrow_reader(_ROWS_AT_ONCE):
            yield from batch.to_pylist()

    def manifest(self, lake: Store, day: date) -> pa.Table:
        """A day's manifest as it is when first asked for: chunks are loaded day by day, and a chunk's members never change."""
        if day not in self._manifests:
            self._manifests = {day: read_manifest(lake, day)}
        return self._manifests[day]

    def recordings(self, chunk: pa.Table, attempts: dict[str, int]) -> list[Recording]:
        """A chunk's manifest rows as recordings, with the keys that only the listing knows."""
        cursor = self.database.cursor()  # several threads ask at once
        cursor.register("chunk", chunk)
        rows = cursor.execute(
            """
            SELECT c.recording_id, c.etag, l.key, c.key, l.sidecar_key, c.chunk_id, c.estimated_s, c.sidecar_etag, c.planned_at
            FROM chunk AS c LEFT JOIN listing AS l
              ON l.recording_id = c.recording_id AND l.etag = c.etag AND l.sidecar_etag IS NOT DISTINCT FROM c.sidecar_etag
            ORDER BY c.key, c.recording_id
            """
        ).fetchall()
        return [
            Recording(rid, etag, _text(key), masked, _text(sidecar), chunk_id, estimated_s, attempts.get(rid, 0), sidecar_etag, planned_at)
            for rid, etag, key, masked, sidecar, chunk_id, estimated_s, sidecar_etag, planned_at in rows
        ]


def deleted_days(lake: Store) -> set[date]:
    """Days of which the retention deleted something."""
    return {date.fromisoformat(key.split("/")[1].removeprefix("day=")) for key in parts.keys(lake, "deletions/day=")}


def version_of(model_id: str, policy: str) -> str:
    """The ``version=`` folder of a model's parts under a policy."""
    return f"{model_id}.{policy}"


def plan(listing: Listing, lake: Store, version: str, settings: Settings, run_id: str, plan_new: bool = True) -> Plan:
    """Plans what is new (unless told not to), writes it down, and returns the chunks that wait for this version.

    A chunk waits if it has no outcomes part of this version, or one with a failed recording that may be tried again.
    A part that cannot be read stops nothing but its own day (a manifest) or chunk (outcomes).
    """
    result = Plan(listed=listing.listed, ignored_keys=listing.ignored_keys, closed=listing.closed)
    days = listing.days()
    known = settled.read(lake, version)
    states = settled.states(lake, version, days)
    listed = listing.digests()
    newly: dict[date, str] = {}
    for day in days:
        state = f"{settings.max_attempts} {listed.get(day)} {states[day]}"
        if known.get(day) == state:
            continue
        try:
            planned, written_bytes = _plan_day(listing, lake, day, settings, run_id) if plan_new else (0, 0)
            waits, broken = _waiting_chunks(lake, day, version, settings)
        except parts.BrokenPart as error:  # without it nobody knows what is planned: planning anew would double recordings
            result.broken[error.key] = error
            continue
        result.broken |= broken
        result.planned += planned
        result.written_bytes += written_bytes
        result.chunks += [(day, chunk_id) for chunk_id in waits]
        result.recordings += sum(waits.values())
        if plan_new and not planned and not waits and not broken and settled.states(lake, version, [day])[day] == states[day]:
            newly[day] = state
    settled.write(lake, version, known, newly)
    return result


def _waiting_chunks(lake: Store, day: date, version: str, settings: Settings) -> tuple[dict[str, int], dict[str, parts.BrokenPart]]:
    """A day's chunks that wait for this version, and how many of their recordings do; and parts that cannot be read.

    A chunk whose outcomes cannot be read does not wait: nobody knows what it has. Where a merged part cannot be read, none of the
    day's chunks does.
    """
    waits = dict(Counter(read_manifest(lake, day)["chunk_id"].to_pylist()))
    done: dict[str, int] = {}
    broken: dict[str, parts.BrokenPart] = {}
    keys = parts.keys(lake, parts.folder("outcomes", day=day, version=version))
    for key in sorted(keys, key=lambda key: parts.rank(parts.name_of(key))):
        left: Counter[str] = Counter()
        try:
            rows = parts.read(lake, key, "outcomes", ["chunk_id", "outcome", "attempts"]).to_pylist()
        except parts.BrokenPart as error:
            broken[key] = error
            waits = {} if parts.merged_number(parts.name_of(key)) else {**waits, parts.name_of(key): 0}
            continue
        for row in rows:
            left[row["chunk_id"]] += to_retry(row, settings)
        done |= left
    waits |= {chunk_id: left for chunk_id, left in done.items() if chunk_id in waits}
    return {chunk_id: left for chunk_id, left in waits.items() if left}, broken


def waiting(chunk: Chunk, done: pa.Table | None, settings: Settings) -> set[str]:
    """Ids of a chunk's recordings that, by its outcome rows, have no outcome yet or may be tried again."""
    final = {row["recording_id"] for row in done.to_pylist() if not to_retry(row, settings)} if done else set()
    return {recording.recording_id for recording in chunk.recordings} - final


def last_scored_at(lake: Store, chunk: Chunk) -> datetime | None:
    """When any version's outcomes of a chunk were last made; what cannot be read is passed over."""
    found = []
    for version in _versions(lake, chunk.day):
        with contextlib.suppress(parts.BrokenPart, FileNotFoundError):
            done = _outcomes(lake, chunk.day, version, chunk.chunk_id)
            found += done["scored_at"].drop_null().to_pylist() if done else []
    return max(found, default=None)


def load_chunk(listing: Listing, lake: Store, day: date, version: str, chunk_id: str, settings: Settings) -> Chunk:
    """A waiting chunk with the recordings that are to be handled now.

    A recording that has left the store is kept, without a key, only where no version ever gave it an outcome.
    """
    manifest = listing.manifest(lake, day)
    rows = manifest.filter(pc.equal(manifest["chunk_id"], chunk_id))
    done = _outcomes(lake, day, version, chunk_id)
    attempts = {row["recording_id"]: row["attempts"] for row in done.to_pylist()} if done else {}
    recordings = listing.recordings(rows, attempts)
    if done:
        again = {row["recording_id"] for row in done.to_pylist() if to_retry(row, settings)}
        recordings = [recording for recording in recordings if recording.recording_id in again and recording.key is not None]
    elif any(_outcomes(lake, day, other, chunk_id) for other in _versions(lake, day)):
        recordings = [recording for recording in recordings if recording.key is not None]
    return Chunk(chunk_id, day, recordings)


def read_manifest(lake: Store, day: date) -> pa.Table:
    """All manifest rows of a day."""
    found = [parts.read(lake, key, "recordings") for key in parts.keys(lake, parts.folder("recordings", day=day))]
    return pa.concat_tables([schemas.RECORDINGS.empty_table(), *found])


def _outcomes(lake: Store, day: date, version: str, chunk_id: str) -> pa.Table | None:
    found = parts.find_chunk(lake, day, version, chunk_id)
    return found and found[1]


def _versions(lake: Store, day: date) -> set[str]:
    return {key.split("/version=")[1].partition("/")[0] for key in parts.keys(lake, parts.folder("outcomes", day=day))}


def to_retry(row: dict[str, Any], settings: Settings) -> bool:
    return row["outcome"] == "failed" and row["attempts"] < settings.max_attempts


def _plan_day(listing: Listing, lake: Store, day: date, settings: Settings, run_id: str) -> tuple[int, int]:
    """Writes the manifest parts of a day's new recordings, and returns how many were new, and the bytes written."""
    folder = parts.folder("recordings", day=day)
    planned = written_bytes = 0
    while True:
        number = next_manifest(lake, day)
        rows: list[dict[str, Any]] = []
        manifest = read_manifest(lake, day)
        now = after(pc.max(manifest["planned_at"]).as_py())
        for chunk in _chunked(listing.new(day, manifest), settings):
            chunk_id = _chunk_id(chunk)
            rows += [{**row, "chunk_id": chunk_id, "planned_at": now, "run_id": run_id} for row in chunk]
            if len(rows) >= _ROWS_AT_ONCE:
                break
        if not rows:
            return planned, written_bytes
        part = parts.encode("recordings", schemas.table("recordings", rows))
        if lake.create_bytes(f"{folder}manifest-{number:06}.parquet", part):
            planned, written_bytes = planned + len(rows), written_bytes + len(part)


def next_manifest(lake: Store, day: date) -> int:
    """The number of a day's next manifest part: one more than the largest, whatever is missing below."""
    numbers = (MANIFEST.search(key) for key in parts.keys(lake, parts.folder("recordings", day=day)))
    return max((int(number[1]) for number in numbers if number), default=0) + 1


def after(latest: datetime | None) -> datetime:
    """Now, but later than ``latest``: of two rows, the one written later wins, even where the clock was set back in between."""
    now = datetime.now(UTC)
    return now if latest is None or now > latest else latest + timedelta(microseconds=1)


def _chunked(rows: Iterator[dict[str, Any]], settings: Settings) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    chunk_s = 0.0
    for row in rows:
        full = len(chunk) >= settings.chunk_recordings or chunk_s + row["estimated_s"] > settings.chunk_audio_s
        if chunk and full:
            yield chunk
            chunk, chunk_s = [], 0.0
        chunk.append(row)
        chunk_s += row["estimated_s"]
    if chunk:
        yield chunk


def _chunk_id(rows: list[dict[str, Any]]) -> str:
    members = sorted(f"{row['recording_id']} {row['etag']} {row['sidecar_etag'] or ''}" for row in rows)
    return hashlib.sha256("\n".join(members).encode()).hexdigest()[:20]


def _binary(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def _text(key: bytes | None) -> str | None:
    return None if key is None else bytes(key).decode("utf-8", "surrogateescape")
