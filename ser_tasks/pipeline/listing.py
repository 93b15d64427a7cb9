"""What the store of recordings holds."""

import itertools
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import duckdb
import pyarrow as pa
from pydantic import SecretStr

from ser_tasks import schemas
from ser_tasks.calls.metadata import day_of, masked_key, recording_id
from ser_tasks.pipeline import listing_ahead
from ser_tasks.pseudonyms import keyed_recording
from ser_tasks.settings import Settings
from ser_tasks.storage import ObjectChangedError, ObjectUnusableError, Store, StoredObject, open_store

ROWS_AT_ONCE = 1_000
"""Rows that are Python objects at a time; what is kept is in the database."""
MEMORY, SETTLED_MEMORY = "256MB", "64MB"
"""What the database may hold in memory while it is made, and afterwards; what is more lies in its file in scratch."""
HASHED_ROWS, HASHED_AT_ONCE = 500, 8
"""New recordings that are hashed before their rows go on, and how many of them at once."""
SHOWN_LONE_SIDECARS = 5
"""Keys of sidecars without a recording that the log and the report show."""

_BYTES_PER_S = {".mp3": 4_000, ".opus": 3_000, ".ogg": 4_000, ".m4a": 4_000, ".amr": 1_600, ".webm": 3_000, ".gsm": 1_650}
"""Rough sizes of one second of compressed speech, for the chunk budget; anything else counts as 8 kHz PCM, 16,000."""

_LISTING = pa.schema(
    [
        ("key", pa.binary()),  # a file name need not be UTF-8
        ("stem", pa.binary()),
        ("call", pa.binary()),
        ("folded", pa.binary()),
        ("sidecar", pa.bool_()),
        ("wanted", pa.bool_()),
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

_TRANSCRIPTS = pa.schema(
    [
        ("key", pa.binary()),
        ("stem", pa.binary()),
        ("folded", pa.binary()),
        ("rank", pa.int32()),
        ("suffix", pa.string()),
        ("etag", pa.string()),
    ]
)

_KEPT = pa.schema(
    [
        *[
            schemas.RECORDINGS.field(name)
            for name in ("key", "recording_id", "etag", "sidecar_etag", "chunk_id", "estimated_s", "planned_at")
        ],
        ("attempts", pa.int64()),
        ("only_listed", pa.bool_()),
    ]
)


_MATCH_SIDECARS = """
    CREATE TABLE matched AS
    WITH stems AS (
        SELECT stem, any_value(folded) AS folded FROM objects WHERE NOT sidecar GROUP BY stem
    ), alone AS (
        SELECT folded, any_value(stem) AS stem FROM stems GROUP BY folded HAVING count(*) = 1
    ), candidates AS (
        SELECT
            coalesce(exact.stem, stripped.stem, alone.stem) AS stem,
            CASE WHEN exact.stem IS NOT NULL THEN 3 WHEN stripped.stem IS NOT NULL THEN 2 ELSE 1 END AS closeness,
            s.stem AS named, s.key, s.etag
        FROM objects AS s
        LEFT JOIN stems AS exact ON exact.stem = s.stem
        LEFT JOIN stems AS stripped ON stripped.stem = s.call
        LEFT JOIN alone ON alone.folded = s.folded
        WHERE s.sidecar
    ), closest AS (
        SELECT r.key, max({'closeness': c.closeness, 'own': c.named = r.key, 'key': c.key, 'etag': c.etag}) AS sidecar
        FROM objects AS r JOIN candidates AS c USING (stem)
        WHERE NOT r.sidecar
        GROUP BY r.key
    )
    SELECT key, sidecar.key AS sidecar_key, sidecar.etag AS sidecar_etag FROM closest;

    CREATE TABLE transcribed AS
    WITH alone AS (
        SELECT folded, any_value(stem) AS stem FROM (SELECT DISTINCT stem, folded FROM objects WHERE NOT sidecar)
        GROUP BY folded HAVING count(*) = 1
    ), candidates AS (
        SELECT o.stem, 1 AS exact, t.* EXCLUDE (stem, folded) FROM transcripts AS t
        JOIN (SELECT DISTINCT stem FROM objects WHERE NOT sidecar) AS o ON o.stem = t.stem
        UNION ALL
        SELECT a.stem, 0 AS exact, t.* EXCLUDE (stem, folded) FROM transcripts AS t JOIN alone AS a ON a.folded = t.folded
    )
    SELECT r.key, max({'exact': c.exact, 'rank': c.rank, 'key': c.key, 'etag': c.etag}) AS transcript
    FROM objects AS r JOIN candidates AS c USING (stem) WHERE NOT r.sidecar GROUP BY r.key;

    CREATE TABLE listing AS
    SELECT r.*, matched.sidecar_key, r.etag AS stored_etag, matched.sidecar_etag AS stored_sidecar_etag,
        transcript.key AS transcript_key, transcript.etag AS transcript_etag,
        CASE WHEN transcript IS NULL THEN matched.sidecar_etag
             ELSE concat(matched.sidecar_etag, '+', transcript.etag) END AS sidecar_etag
    FROM objects AS r LEFT JOIN matched ON matched.key = r.key LEFT JOIN transcribed ON transcribed.key = r.key
    WHERE NOT r.sidecar AND r.wanted
"""
"""Which sidecar belongs to which recording, the closest name first: ``<stem>.json``; then ``<file name>.json`` or ``<stem>_metadata.json``,
which serve other formats of the call, too; then any of them in other letter case or Unicode form, where that can mean one stem only.
Of equally close names the last counts: of .json and .JSON, .json. ``etag`` becomes that by which the lake knows the recording
(``recognise``); ``stored_etag`` stays the store's. A .json that is the stem of a recording belongs to no other stem.

A transcript belongs to the recording of its stem, in any letter case where that can mean one stem only; of several the one that the
pattern finds counts, then JSON, WebVTT, SRT. ``sidecar_etag`` holds its etag, too, after a +."""

_SAME_FACTS = """({0}.sidecar_etag IS NOT DISTINCT FROM l.sidecar_etag OR l.transcript_key IS NULL
        AND split_part(coalesce({0}.sidecar_etag, ''), '+', 1) = coalesce(l.stored_sidecar_etag, ''))"""
"""The condition for a row that has the sidecar and the transcript of a listed recording l; a transcript may be gone since."""
_NOT_PLANNED = f"""NOT EXISTS (
    FROM manifest AS m WHERE m.recording_id = l.recording_id AND m.etag = l.etag AND {_SAME_FACTS.format("m")})"""
"""The condition for a listed recording l that the manifest does not have with these etags."""

_BESIDE = re.compile(r"(?P<stem>.+?)(?:\.transcript\.(?P<json>json)|(?:\.transcript)?\.(?P<cues>vtt|srt))", re.IGNORECASE | re.DOTALL)
"""Keys of transcripts beside the recordings."""
_APART = re.compile(r"(?P<stem>.+?)(?:\.transcript)?\.(?:(?P<json>json)|(?P<cues>vtt|srt))", re.IGNORECASE | re.DOTALL)
"""Keys of transcripts in a store of their own."""
_RANKS = {"srt": 0, "vtt": 1, "json": 2}
_NAMED_RANK = 3

_METADATA_WORD = re.compile(r"[._-]meta(?:data)?$", re.IGNORECASE)


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
    opted_out: bool = False
    """Whether it was withheld before because its customer was on the opt-out list."""
    stored_etag: str | None = None
    """The etag that the store has it under, where only its time differs from what was planned; None: ``etag``."""
    stored_sidecar_etag: str | None = None
    transcript_key: str | None = None
    """In the store of transcripts, or beside the recording."""
    transcript_etag: str | None = None


_HANDLED = f"""
    WITH found AS (
        SELECT k.rowid AS kept_row, l.* FROM kept AS k JOIN listing AS l ON l.recording_id = k.recording_id AND l.etag = k.etag
        WHERE {_SAME_FACTS.format("k")}
    )
    SELECT k.recording_id, k.etag, l.key, k.key AS masked_key, l.sidecar_key, l.stored_etag, l.stored_sidecar_etag,
        l.transcript_key, l.transcript_etag,
        k.chunk_id, k.estimated_s, k.attempts, k.sidecar_etag, k.planned_at
    FROM kept AS k LEFT JOIN found AS l ON l.kept_row = k.rowid
    WHERE l.key IS NOT NULL OR NOT k.only_listed
"""
"""The kept recordings, with the keys that only the listing knows. (An outer join on _SAME_FACTS compares every row with every other.)"""


class Listing:
    """What the store holds, in a database in scratch: memory does not grow with the number of keys.

    Closed days are left out: those in ``deleted``, and those past the retention. So are recordings whose id is in ``erased``, be it the id
    that an older key of the lake made. ``keys`` are those of the recordings' ids.

    It can be sent to another process of this machine, where it is settled. Its ``database`` must have been closed here.
    """

    def __init__(
        self,
        recordings: Store,
        settings: Settings,
        database: Path,
        only_day: date | None = None,
        deleted: Set[date] = frozenset(),
        erased: Container[str] = frozenset(),
        keys: tuple[SecretStr, ...] = (),
    ):
        self.settings, self.only_day, self._store = settings, only_day, recordings
        self._file, self._settled = str(database), False
        self.database = self._opened(MEMORY)
        self.ignored: Counter[str] = Counter()
        """Keys that are neither recordings nor sidecars of one, by suffix."""
        self.closed = 0
        self.opted_out: Container[str] = frozenset()
        """Ids of recordings that were withheld before for the opt-out list."""
        self._erased, self._keys = erased, keys
        self._deleted, self._first_open_day = deleted, settings.first_open_day() or date.min
        self.database.register("page", _LISTING.empty_table())
        self.database.execute("CREATE TABLE objects AS FROM page")
        self.database.register("transcript_page", _TRANSCRIPTS.empty_table())
        self.database.execute("CREATE TABLE transcripts AS FROM transcript_page")
        self._transcripts: list[dict[str, Any]] = []
        for page in self._pages(recordings, only_day):
            self.database.register("page", page)
            self.database.execute("INSERT INTO objects FROM page")
        for item in open_store(settings.transcripts).list() if settings.transcripts else ():
            self._is_transcript(item, _APART)
        self._keep_transcripts(1)
        self.database.execute(_MATCH_SIDECARS)
        lone = "FROM objects AS o WHERE o.sidecar AND NOT EXISTS (FROM matched AS m WHERE m.sidecar_key = o.key)"
        self.lone_sidecars = self._count(f"SELECT count(*) {lone}")
        self.ignored[".json"] += self.lone_sidecars
        if not settings.transcripts:
            unused = "FROM transcripts AS t WHERE NOT EXISTS (FROM transcribed WHERE transcript.key = t.key)"
            self.ignored.update(dict(self.database.execute(f"SELECT suffix, count(*) {unused} GROUP BY suffix").fetchall()))
        shown = self.database.execute(f"SELECT masked_key {lone} ORDER BY masked_key LIMIT {SHOWN_LONE_SIDECARS}").fetchall()
        self.shown_lone_sidecars = [key for (key,) in shown]
        self.listed = self._count("SELECT count(*) FROM listing")
        self.database.register("kept_rows", _KEPT.empty_table())
        self.database.execute("CREATE TABLE kept AS FROM kept_rows")

    def _opened(self, memory: str) -> duckdb.DuckDBPyConnection:
        database = duckdb.connect(self._file, config={"memory_limit": memory, "threads": 1})
        database.execute("SET TimeZone = 'UTC'")
        return database

    def settle(self) -> None:
        """Gives back the memory that listing and planning took: what follows reads a chunk at a time, from a table in the order of
        chunks. Not while another thread reads."""
        self.database.execute(f"CREATE OR REPLACE TABLE handled AS {_HANDLED} ORDER BY chunk_id")
        self.database.close()
        self.database = self._opened(SETTLED_MEMORY)
        self._settled = True

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "database"} | {"_store": self._store.uri}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state | {"_store": open_store(state["_store"])})
        self.database = self._opened(SETTLED_MEMORY)

    def _count(self, query: str) -> int:
        row = self.database.execute(query).fetchone()
        assert row is not None
        return int(row[0])

    def _pages(self, recordings: Store, only_day: date | None) -> Iterator[pa.Table]:
        rows: list[dict[str, Any]] = []
        for item in listing_ahead.objects(recordings):
            path = PurePosixPath(item.key)
            suffix = path.suffix.lower()
            if not self.settings.transcripts and suffix not in self.settings.recording_suffixes and self._is_transcript(item, _BESIDE):
                continue
            is_sidecar = suffix == ".json"
            if not is_sidecar and suffix not in self.settings.recording_suffixes:
                if not only_day or day_of(item.key, item.last_modified, self.settings)[0] == only_day:
                    self.ignored[_named(suffix)] += 1
                continue
            day, day_source = day_of(item.key, item.last_modified, self.settings)
            ids = [recording_id(item.key)]
            for secret in self._keys:
                ids.append(keyed_recording(ids[-1], (secret,)))
            erased = any(each in self._erased for each in ids)
            wanted = not is_sidecar and (not only_day or day == only_day) and self._is_open(day) and not erased
            if not self._is_open(day):
                self.closed += not is_sidecar and (not only_day or day == only_day)
                if is_sidecar and day_source != "object":
                    continue
            stem = item.key[: -len(path.suffix)]
            call = self._call_of(stem) if is_sidecar else stem
            rows.append(
                {
                    "key": _binary(item.key),
                    "stem": _binary(stem),
                    "call": _binary(call),
                    "folded": _binary(_folded(call)),
                    "sidecar": is_sidecar,
                    "wanted": wanted,
                    "masked_key": masked_key(item.key, self.settings),
                    "recording_id": ids[-1],
                    "etag": item.etag,
                    "size_bytes": item.size_bytes,
                    "last_modified": item.last_modified,
                    "day": day,
                    "day_source": day_source,
                    "estimated_s": item.size_bytes / _BYTES_PER_S.get(suffix, 16_000),
                }
            )
            if len(rows) == ROWS_AT_ONCE:
                yield pa.Table.from_pylist(rows, schema=_LISTING)
                rows = []
        yield pa.Table.from_pylist(rows, schema=_LISTING)

    def _is_transcript(self, item: StoredObject, names: re.Pattern[str]) -> bool:
        """Whether an object is, by its key, a transcript; keeps it, if it is."""
        named = re.fullmatch(self.settings.transcript_pattern, item.key) if self.settings.transcript_pattern else None
        match = named or names.fullmatch(item.key)
        if match is None or not match["stem"]:
            return False
        rank = _NAMED_RANK if named else _RANKS[(match["json"] or match["cues"]).lower()]
        stem = self._call_of(match["stem"])
        suffix = _named(PurePosixPath(item.key).suffix.lower())
        fields = (_binary(item.key), _binary(stem), _binary(_folded(stem)), rank, suffix, item.etag)
        self._transcripts.append(dict(zip(_TRANSCRIPTS.names, fields, strict=True)))
        self._keep_transcripts(ROWS_AT_ONCE)
        return True

    def _keep_transcripts(self, least: int) -> None:
        if len(self._transcripts) >= least:
            self.database.register("transcript_page", pa.Table.from_pylist(self._transcripts, schema=_TRANSCRIPTS))
            self.database.execute("INSERT INTO transcripts FROM transcript_page")
            self._transcripts = []

    def _call_of(self, stem: str) -> str:
        """The stem of the recording that a sidecar's stem names: ``a`` of ``a.wav``, ``a_metadata`` and ``a.wav_metadata``."""
        stem = _METADATA_WORD.sub("", stem)
        suffix = PurePosixPath(stem).suffix
        return stem[: -len(suffix)] if suffix.lower() in self.settings.recording_suffixes else stem

    def _is_open(self, day: date) -> bool:
        return day >= self._first_open_day and day not in self._deleted

    def days(self) -> list[date]:
        """Days to plan, oldest first. ``only_day`` is one even where the store no longer holds anything of it: what was planned
        there still waits for its outcome."""
        if self.only_day:
            return [self.only_day] if self._is_open(self.only_day) else []
        return [row[0] for row in self.database.cursor().execute("SELECT DISTINCT day FROM listing ORDER BY day").fetchall()]

    def digests(self) -> dict[date, str]:
        """By day, a digest of the listed recordings: their number, and a hash of their ids and etags."""
        uploads = "concat_ws(' ', recording_id, stored_etag, stored_sidecar_etag, transcript_etag)"
        query = f"SELECT day, count(*) || '-' || bit_xor(md5_number({uploads})) FROM listing GROUP BY day"
        return dict(self.database.cursor().execute(query).fetchall())

    def recognise(self, day: date, manifest: pa.Table) -> int:
        """Gives recordings whose times alone differ from the newest upload in the manifest its etags: of a copied folder all do.

        Sizes are compared first, then the bytes. Returns how many of the same size the manifest has no hash for: they stay new uploads.
        """
        cursor = self.database.cursor()
        cursor.register("manifest", manifest)
        alike = cursor.execute(
            f"""
            WITH newest AS (
                FROM manifest
                QUALIFY row_number() OVER (PARTITION BY recording_id ORDER BY planned_at DESC, last_modified DESC, etag DESC) = 1
            )
            SELECT l.key, l.sidecar_key, l.stored_etag, l.stored_sidecar_etag, m.etag, m.sidecar_etag, m.content_hash, m.sidecar_hash
            FROM listing AS l JOIN newest AS m USING (recording_id)
            WHERE l.day = $day AND l.size_bytes = m.size_bytes AND {_NOT_PLANNED}
                AND (l.sidecar_key IS NULL) = (split_part(coalesce(m.sidecar_etag, ''), '+', 1) = '')
                AND (l.transcript_key IS NULL OR split_part(m.sidecar_etag, '+', 2) = l.transcript_etag)
            ORDER BY l.key
            """,
            {"day": day},
        ).fetchall()
        hashed = [row for row in alike if row[6] is not None and (row[1] is None or row[7] is not None)]
        unknown = len(alike) - len(hashed)
        if unknown and self._store.content(_text(alike[0][0]) or "") is None:  # the store's etags are hashes
            unknown = 0
        same = [
            {"key": key, "etag": planned, "sidecar_etag": planned_sidecar}
            for (key, sidecar_key, etag, sidecar_etag, planned, planned_sidecar, *hashes), found in zip(
                hashed, self._hashes([(_text(row[0]), row[2], _text(row[1]), row[3]) for row in hashed]), strict=True
            )
            if [*found] == hashes
        ]
        if same:
            schema = pa.schema([("key", pa.binary()), ("etag", pa.string()), ("sidecar_etag", pa.string())])
            self.database.register("same", pa.Table.from_pylist(same, schema))
            self.database.execute(
                "UPDATE listing SET etag = same.etag, sidecar_etag = same.sidecar_etag FROM same WHERE same.key = listing.key"
            )
            self.database.unregister("same")
        return unknown

    def _hashes(self, objects: list[tuple[str | None, str, str | None, str | None]]) -> Iterator[tuple[str | None, str | None]]:
        """The hashes of recordings and of their sidecars, given as keys and etags; None for what has none, or has changed since."""

        def hashes(item: tuple[str | None, str, str | None, str | None]) -> tuple[str | None, str | None]:
            key, etag, sidecar_key, sidecar_etag = item
            content = self._store.content(key or "")
            if content is None or content.etag != etag:
                return None, None
            if sidecar_key is None:
                return content.hash, None
            try:
                return content.hash, content.keyed_hash(self._store.read_bytes(sidecar_key, None, sidecar_etag))
            except (OSError, ObjectChangedError, ObjectUnusableError):
                return content.hash, None

        with ThreadPoolExecutor(min(HASHED_AT_ONCE, os.cpu_count() or 1)) as pool:  # hashing releases Python's lock
            yield from pool.map(hashes, objects)

    def new(self, day: date, manifest: pa.Table, hashed: bool = False) -> Iterator[dict[str, Any]]:
        """Recordings of a day that its manifest lacks, in the order of their keys; with ``hashed``, with hashes of their content."""
        cursor = self.database.cursor()  # a cursor of its own: the rows are read while other queries run
        cursor.register("manifest", manifest)
        cursor.execute(
            f"""
            SELECT masked_key AS key, recording_id, etag, sidecar_etag, size_bytes, last_modified, day_source, estimated_s,
                l.key AS raw_key, sidecar_key, stored_sidecar_etag
            FROM listing AS l WHERE day = $day AND {_NOT_PLANNED}
            ORDER BY l.key
            """,
            {"day": day},
        )
        for batch in cursor.to_arrow_reader(HASHED_ROWS if hashed else ROWS_AT_ONCE):
            rows = batch.to_pylist()
            keys = [(_text(row.pop("raw_key")), row["etag"], _text(row.pop("sidecar_key")), row.pop("stored_sidecar_etag")) for row in rows]
            hashes = self._hashes(keys) if hashed else itertools.repeat((None, None))
            for row, (content_hash, sidecar_hash) in zip(rows, hashes, strict=hashed):
                yield row | {"content_hash": content_hash, "sidecar_hash": sidecar_hash}

    def sample(self, audio_s: float, days: int, only_kept: bool) -> list[Recording]:
        """Recordings drawn at random, the same ones each time, with about ``audio_s`` seconds of audio, from the newest ``days`` days.

        ``only_kept``: only of those that ``keep`` was given. Their ``chunk_id`` is empty.
        """
        kept = "AND EXISTS (FROM kept AS k WHERE k.recording_id = l.recording_id AND k.etag = l.etag)" if only_kept else ""
        rows = self.database.cursor().execute(
            f"""
            WITH drawn AS (
                SELECT l.rowid AS row, estimated_s, sum(estimated_s) OVER (ORDER BY md5(recording_id), key) AS until_s
                FROM listing AS l
                WHERE day > (SELECT max(day) FROM listing) - CAST($days AS INTEGER) {kept}
            )
            SELECT recording_id, etag, key, masked_key, sidecar_key, stored_etag, stored_sidecar_etag, transcript_key, transcript_etag,
                '', l.estimated_s, 0, sidecar_etag
            FROM listing AS l JOIN drawn ON drawn.row = l.rowid
            WHERE until_s - drawn.estimated_s < $audio_s ORDER BY until_s
            """,
            {"days": days, "audio_s": audio_s},
        )
        return [self._recording(row) for row in rows.fetchall()]

    def _recording(self, row: tuple[Any, ...]) -> Recording:
        recording_id, etag, key, masked_key, sidecar_key, stored_etag, stored_sidecar_etag, *more = row
        transcript_key, transcript_etag, *rest = more
        made = Recording(recording_id, etag, _text(key), masked_key, _text(sidecar_key), *rest)
        opted_out = recording_id in self.opted_out
        stored = {"stored_etag": stored_etag, "stored_sidecar_etag": stored_sidecar_etag}
        return replace(made, opted_out=opted_out, transcript_key=_text(transcript_key), transcript_etag=transcript_etag, **stored)

    def keep(self, rows: pa.Table) -> None:
        """Keeps the manifest rows of recordings that are to be handled, for ``recordings``. Two more columns: ``attempts`` (how often each
        was tried before) and ``only_listed`` (whether to leave it out where it is no longer in the store)."""
        self._settled = False
        if len(rows):
            self.database.register("kept_rows", rows.select(_KEPT.names))
            self.database.execute("INSERT INTO kept FROM kept_rows")
            self.database.unregister("kept_rows")

    def sizes(self) -> dict[str, tuple[int, float]]:
        """By chunk with kept recordings, how many they are, and their estimated seconds."""
        rows = self.database.cursor().execute("SELECT chunk_id, count(*), sum(estimated_s) FROM kept GROUP BY chunk_id").fetchall()
        return {chunk_id: (count, seconds or 0.0) for chunk_id, count, seconds in rows}

    def recordings(self, chunk_id: str) -> list[Recording]:
        """The kept recordings of a chunk, with the keys that only the listing knows."""
        cursor = self.database.cursor()  # several threads query at once
        source = "handled" if self._settled else f"({_HANDLED})"
        rows = cursor.execute(f"FROM {source} WHERE chunk_id = $chunk ORDER BY masked_key, recording_id", {"chunk": chunk_id}).fetchall()
        return [self._recording(row) for row in rows]


def _folded(stem: str) -> str:
    """The stem in one letter case and Unicode form."""
    return stem.lower() if stem.isascii() else unicodedata.normalize("NFC", unicodedata.normalize("NFD", stem).casefold())


def _named(suffix: str) -> str:
    """A suffix as it may be stored: what does not look like one may be part of a name, or a number."""
    return (suffix if re.fullmatch(r"\.(?!\d{4})[a-z0-9]{1,8}", suffix) else "another") if suffix else "none"


def _binary(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def _text(key: bytes | None) -> str | None:
    return None if key is None else bytes(key).decode("utf-8", "surrogateescape")
