"""Erasure: takes a person's calls, or one call, out of the lake, and signs a receipt.

In this order: the receipt is written, and from then on no night, rescore or compaction writes a row of these recordings; pages and alerts
that name them are blanked; ``quarantine/`` is cleaned; then manifests, outcomes, call_emotions and segments of every version lose their
rows (``rewriting``); last, files of killed writes are removed, and the receipt says that it is done. A killed erasure is completed by the
next one, of whomever: the receipt knows the recordings by their marks (``lake.erased``), and the days of their parts.
"""

import hmac
import html
import json
import re
import secrets
import time
from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import SecretStr

from ser_tasks import schemas
from ser_tasks.calls.metadata import MetadataError, call_metadata, pseudonym
from ser_tasks.html_page import markdown_text
from ser_tasks.lake import catalog, erased, key_chain, parts, read_only
from ser_tasks.lake.key_chain import LakeKeys
from ser_tasks.lake.withheld import Change
from ser_tasks.maintenance import holds, rewriting
from ser_tasks.maintenance.compaction import LISTING_S, READING_S
from ser_tasks.maintenance.holds import Subject
from ser_tasks.monitoring import access_log
from ser_tasks.pipeline.listing import Listing
from ser_tasks.scratch import scratch_folder
from ser_tasks.settings import Settings, code_version
from ser_tasks.storage import Store

QUARANTINE = re.compile(r"quarantine/[^/]+/(?P<key>.+)")
BLANKED = "This page named a call that was erased, or whose consent was withdrawn. It was blanked on {:%Y-%m-%d}."
NOT_REACHED = (
    "the recordings themselves, with their sidecars: delete them in their store (nothing here will score them again)",
    "backups of the lake, and older versions that a versioned bucket keeps until its lifecycle rule ends them",
    "mails and webhook messages that were sent, and CSVs, catalogue copies and pages that people saved",
    "folders that ser reviews export wrote: they hold copies of recordings",
    "an access log on another machine: run ser access --forget there, with SER_PSEUDONYM_KEY",
    "Prefect's events and logs: its server deletes them by age (OPERATIONS.md, Retention)",
    "a dashboard's memory, until its next look at the lake (SER_DASHBOARD_REFRESH_S)",
)
"""What an erasure does not reach, for the dry run and the receipt."""
ARTIFACTS = "Prefect's artifacts: PREFECT_API_URL is not set (OPERATIONS.md, Retention)"
VERSIONED = ("recordings", "outcomes", "call_emotions", "segments")
"""Tables whose rows are removed by ``rewriting``."""
NAMING = {"alerts": ("message", "subject"), "runs": ("lone_sidecar_keys",), "deletions": (), "reviews": ("note",), "review_samples": ()}
"""Columns of the other tables that may name a call; of a table that is not here, all texts."""


@dataclass(frozen=True)
class Target:
    """What is to be erased."""

    subject: Subject
    recordings: frozenset[str]
    days: frozenset[date]
    names: frozenset[str]
    """What pages and alerts may call them: call ids, recording ids, masked keys, pseudonyms."""
    held: int
    """Recordings of the subject that stay because another hold covers them."""
    unread: tuple[str, ...] = ()
    """Keys of quarantined files that can't be read."""


@dataclass
class Erasure:
    """What an erasure finds, or did."""

    rows: Counter[str] = field(default_factory=Counter)
    """Rows by table, in all versions and parts; those in quarantine as ``quarantine``."""
    pages: list[str] = field(default_factory=list)
    alerts: int = 0
    """Rows of alerts, runs and other tables that named a call, and name none now."""
    accesses: int = 0
    """Entries of the access log that named a call."""
    unread: list[str] = field(default_factory=list)
    """Keys that can't be read and stay."""
    complete: bool = True
    receipt: str | None = None

    def lines(self) -> list[str]:
        """What it found, in lines."""
        lines = [f"{table}: {count:,} rows" for table, count in sorted(self.rows.items()) if count]
        lines += [f"{key}: the page is blanked" for key in self.pages]
        lines += [f"alerts, runs: {self.alerts} rows are blanked"] if self.alerts else []
        lines += [f"access log: {self.accesses} entries no longer name the call"] if self.accesses else []
        return lines + [f"{key} cannot be read, and stays: ser doctor says what to do" for key in self.unread]


def find(lake: Store, subject: Subject, settings: Settings, recordings: Store | None = None) -> Target:
    """The recordings of a call or a person in every part, version and quarantine of a lake, and with ``recordings`` in that store, too.

    Only the store knows whose recordings those are that never had a row of call_emotions: quarantined, failed, or not yet planned ones.
    Raises ValueError where the subject is on hold, BrokenPartError where a part can't be read.
    """
    if any((hold.kind, hold.id) == (subject.kind, subject.id) for hold in holds.read(lake)):
        raise ValueError(f"The {subject.kind} {subject.id} is on hold: nothing is erased before ser hold --release.")
    found = set(holds.recordings_of(lake, [subject]))
    unread = []
    for key, table, rows in _quarantined(lake):
        if rows is None:
            unread.append(key)
            continue
        for column in set(holds.COLUMNS[subject.kind]) & set(schemas.TABLES[table].names):
            found |= {row["recording_id"] for row in rows.select([column, "recording_id"]).to_pylist() if row[column] == subject.id}
    if recordings is not None:
        found |= _in_store(recordings, subject, key_chain.read(lake, settings), settings)
    held = holds.held_recordings(lake) & found
    wanted = frozenset(found - held)
    days, names = _days_and_names(lake, wanted)
    if subject.kind != "call":
        names.add(subject.id)
    return Target(subject, wanted, frozenset(days), frozenset(names if wanted else ()), len(held), tuple(unread))


def dry_run(lake: Store, target: Target) -> Erasure:
    """What ``erase`` would take out; nothing is changed."""
    found = rewriting.find(lake, target.days, without(target.recordings))
    result = Erasure(found.rows, unread=found.unread)
    clean(lake, target.names, without(target.recordings), result, write=False)
    return result


def not_reached(artifacts: int | None) -> list[str]:
    """What an erasure does not reach. ``artifacts``: those of Prefect that were deleted, None where its server was not asked."""
    return [*NOT_REACHED, *([ARTIFACTS] if artifacts is None else [])]


def erase(
    lake: Store,
    target: Target,
    settings: Settings,
    listing_s: float = LISTING_S,
    reading_s: float = READING_S,
    *,
    artifacts: int | None = None,
) -> Erasure:
    """Erases what ``find`` found, completes erasures that were killed, and writes the receipt. Raises ValueError without a key.

    ``artifacts``: the number of Prefect's artifacts that the caller deleted before, for the receipt.

    Waits ``listing_s`` and ``reading_s`` seconds for running queries where a part is replaced.
    """
    chain = key_chain.read(lake, settings).people
    if not chain:
        raise ValueError("SER_PSEUDONYM_KEY is not set: the receipt is signed with it, and names the recordings under it.")
    key = chain[-1]
    unfinished = [each for _, each in erased.receipts(lake) if each["state"] != "done"]
    erased.read(lake, *chain)  # raises for another key
    receipt = _begin(lake, target, key, unfinished) | {"prefect_artifacts": artifacts, "not_reached": not_reached(artifacts)}
    result = Erasure()
    gone = erased.read(lake, *chain)
    clean(lake, target.names, without(gone), result, write=True)
    days = {date.fromisoformat(day) for each in [receipt, *unfinished] for day in each["days"]}
    done = rewriting.rewrite(lake, days, without(gone), listing_s, reading_s)
    clean(lake, target.names, without(gone), result, write=True)  # what a report wrote meanwhile
    _remove_temporary_files(lake, reading_s)
    result.accesses = access_log.forget(access_log.folder_of(lake.uri, settings), gone)
    result.rows += done.rows
    result.unread = sorted({*result.unread, *done.unread})
    result.complete = done.complete and not result.unread
    for each in [receipt, *unfinished] if result.complete else [receipt]:
        ended = {
            "state": "done" if result.complete else "begun",
            "ended_at": _now(),
            "rows": dict(result.rows) if each is receipt else each["rows"],
            "pages": len(result.pages) if each is receipt else each["pages"],
            "alerts": result.alerts if each is receipt else each["alerts"],
            "accesses": result.accesses if each is receipt else each.get("accesses", 0),
            "unread_parts": len(result.unread),
        }
        _write_receipt(lake, each | ended, key)
    result.receipt = _receipt_key(receipt)
    return result


def without(recordings: Container[str]) -> Change:
    """The change that removes the rows of these recordings."""

    def change(table: str, rows: pa.Table) -> pa.Table:
        removed = erased.are_of(rows, recordings)
        return rows.filter(pc.invert(removed)) if pc.any(removed).as_py() else rows

    return change


def is_signed(receipt: dict[str, Any], key: SecretStr) -> bool:
    """Whether the receipt's signature is that of its content under this key."""
    return hmac.compare_digest(str(receipt.get("signature", "")), _signature(receipt, key))


def receipt_lines(lake: Store, settings: Settings) -> list[str]:
    """Each receipt in one line, and whether its signature is good."""
    lines = []
    for name, receipt in erased.receipts(lake):
        good = any(is_signed(receipt, key) for key in settings.pseudonym_keys())
        verdict = "signature good" if good else "SIGNATURE NOT that of this SER_PSEUDONYM_KEY"
        counts = ", ".join(f"{count} {table}" for table, count in sorted(receipt["rows"].items()))
        lines.append(
            f"{name}: {receipt['kind']}, {len(receipt['recordings'])} recordings, {receipt['state']}, rows: {counts or '-'}; {verdict}"
        )
    return lines


def _quarantined(lake: Store) -> Iterable[tuple[str, str, pa.Table | None]]:
    """Key, table and rows of every file in quarantine; no rows where it can't be read."""
    for item in list(lake.list("quarantine/")):
        match = QUARANTINE.fullmatch(item.key)
        part = parts.PartKey.parse(match["key"]) if match else None
        if part is None:
            yield item.key, "", None
        elif "recording_id" in schemas.TABLES[part.table].names:
            try:
                yield item.key, part.table, parts.read(lake, item.key, part.table)
            except parts.BrokenPartError:
                yield item.key, part.table, None


def _in_store(store: Store, subject: Subject, lake_keys: LakeKeys, settings: Settings) -> set[str]:
    """Ids of the recordings in the store that are, by their name or sidecar, the subject's."""
    found = set()
    settings = lake_keys.of(settings)
    forever = settings.model_copy(update=dict.fromkeys(("keep_segments_days", "keep_calls_days", "keep_outcomes_days")))
    with scratch_folder(settings.scratch) as scratch:
        listing = Listing(store, forever, scratch / "listing.duckdb", keys=lake_keys.recordings)
        for recording_id, key, sidecar_key in listing.database.execute("SELECT recording_id, key, sidecar_key FROM listing").fetchall():
            name, facts_name = (bytes(each or b"").decode("utf-8", "surrogateescape") for each in (key, sidecar_key))
            try:
                facts = call_metadata(name, store.read_bytes(facts_name) if facts_name else None, {}, settings, recording_id)
            except (MetadataError, OSError):
                facts = call_metadata(name, None, {}, settings, recording_id)
            person = facts.get(f"{subject.kind}_id")
            known_as = facts.get("call_id") if subject.kind == "call" else pseudonym(subject.kind, person, settings)
            if subject.id in (known_as, recording_id if subject.kind == "call" else None):
                found.add(recording_id)
        listing.database.close()
    return found


def names_of(lake: Store, recordings: frozenset[str]) -> set[str]:
    """What pages and alerts may call these recordings: their ids, call ids and masked keys."""
    return _days_and_names(lake, recordings)[1]


def _days_and_names(lake: Store, recordings: frozenset[str]) -> tuple[set[date], set[str]]:
    days: set[date] = set()
    names = set(recordings)
    if not recordings:
        return days, names
    with catalog.connect(lake.uri) as connection:
        for table, columns in {
            "recordings": ("key",),
            "outcomes": ("key", "call_id"),
            "call_emotions": ("key", "call_id"),
            "segments": ("call_id",),
        }.items():
            query = f"SELECT DISTINCT day, {', '.join(columns)} FROM parts.{table} WHERE list_contains($ids, recording_id)"
            for row in read_only.query(connection, query, {"ids": sorted(recordings)}).to_pylist():
                days.add(row["day"])
                names |= {row[column] for column in columns if row[column]}
                names |= set(_sidecars_of(row.get("key") or ""))
    return days, names


def _sidecars_of(key: str) -> list[str]:
    """Keys that a recording's sidecar may have: a run lists it where the recording came later."""
    stem = key.rpartition(".")[0]
    return [f"{stem}{end}" for end in (".json", ".JSON", "_metadata.json")] if stem else []


def clean(lake: Store, names: Iterable[str], change: Change, result: Erasure, write: bool) -> None:
    """Blanks pages and alerts with one of the names, and changes the rows in quarantine, whose unreadable files are deleted."""
    named = name_pattern(names)
    for item in list(lake.list("reports/")):
        if named and item.key not in result.pages and named.search(lake.read_bytes(item.key).decode("utf-8", "replace")):
            result.pages.append(item.key)
            if write:
                lake.write_bytes(item.key, BLANKED.format(datetime.now(UTC)).encode())
    _clean_tables(lake, named, change, result, write)
    unreadable_stay = bool(holds.read(lake))
    for key, table, rows in _quarantined(lake):
        if rows is None:
            if unreadable_stay:
                result.unread.append(key)
                continue
            result.rows["quarantined files that cannot be read"] += 1
            if write:
                lake.delete(key)
            continue
        kept = change(table, rows)
        if kept is not rows:
            result.rows["quarantine"] += rewriting.changed(rows, kept)
            if write:
                lake.write_bytes(key, parts.encode(table, kept))


def _clean_tables(lake: Store, named: re.Pattern[str] | None, change: Change, result: Erasure, write: bool) -> None:
    """Blanks texts of the tables without versions that have one of the names, and changes their rows of recordings."""
    for table in sorted(schemas.TABLES.keys() - set(VERSIONED)):
        if named or "recording_id" in schemas.TABLES[table].names:
            for _, item in list(parts.listed(lake, f"{table}/")):
                blanked, removed = _blank(lake, item.key, table, named, change, write)
                result.alerts += blanked
                if removed:
                    result.rows[table] += removed


def is_named(lake: Store, key: str, names: Iterable[str]) -> bool:
    """Whether a page, or the messages of a part of ``alerts``, has one of the names."""
    named = name_pattern(names)
    if named is None:
        return False
    if (part := parts.PartKey.parse(key)) is not None:
        return _blank(lake, key, part.table, named, lambda table, rows: rows, write=False)[0] > 0
    return named.search(lake.read_bytes(key).decode("utf-8", "replace")) is not None


def name_pattern(names: Iterable[str]) -> re.Pattern[str] | None:
    """Finds a name as it is written in Markdown, HTML and addresses, not as a piece of a longer word."""
    ways = (str, html.escape, markdown_text, lambda name: quote(name, safe=""), lambda name: quote(name, safe="/:~%"))
    forms = {way(name) for name in names for way in ways}
    escaped = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True) if form)
    return re.compile(rf"(?<![\w-])(?:{escaped})(?![\w-])") if escaped else None


def _blank(lake: Store, key: str, table: str, named: re.Pattern[str] | None, change: Change, write: bool) -> tuple[int, int]:
    """Changes the rows of a part outside the versioned tables, and blanks texts that name a call.

    Returns the numbers of rows that were blanked and removed.
    """
    try:
        before = parts.read(lake, key, table)
    except (parts.BrokenPartError, FileNotFoundError):
        return 0, 0
    kept = change(table, before) if "recording_id" in before.column_names else before
    rows = kept.to_pylist()
    texts = [field.name for field in before.schema if field.type == pa.string()]
    hits = 0
    for row in rows:
        naming = [column for column in NAMING.get(table, texts) if named and named.search(row[column] or "")]
        row |= dict.fromkeys(naming, "erased") | ({"message": "erased"} if naming and table == "alerts" else {})
        hits += bool(naming)
    if write and (hits or kept is not before):
        lake.write_bytes(key, parts.encode(table, schemas.table(table, rows)))
    return hits, len(before) - len(kept)


def _remove_temporary_files(lake: Store, age_s: float) -> None:
    """Removes what killed writes left: it may hold rows. A write that goes on is younger."""
    if lake.local_root is not None:
        for path in lake.local_root.rglob(".*.tmp"):
            if time.time() - path.stat().st_mtime >= age_s:
                path.unlink(missing_ok=True)


def _begin(lake: Store, target: Target, key: SecretStr, unfinished: list[dict[str, Any]]) -> dict[str, Any]:
    """Writes the receipt of an erasure that begins, or goes on with the one of the same subject that was killed."""
    subject = erased.mark(key, target.subject.kind, target.subject.id)
    begun = next((each for each in unfinished if each["subject"] == subject), None)
    receipt = begun or {
        "receipt": f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}",
        "kind": target.subject.kind,
        "subject": subject,
        "begun_at": _now(),
        "code_version": code_version(),
        "key_fingerprint": erased.fingerprint(key),
        "recordings": [],
        "days": [],
        "not_reached": list(NOT_REACHED),
        "rows": {},
        "pages": 0,
        "alerts": 0,
    }
    marks = {erased.mark(key, "recording", recording_id) for recording_id in target.recordings}
    receipt |= {
        "state": "begun",
        "recordings": sorted({*receipt["recordings"], *marks}),
        "days": sorted({*receipt["days"], *(day.isoformat() for day in target.days)}),
        "held_recordings": target.held,
    }
    _write_receipt(lake, receipt, key)
    if begun is not None:
        unfinished.remove(begun)
    return receipt


def _receipt_key(receipt: dict[str, Any]) -> str:
    return f"{erased.FOLDER}{receipt['receipt']}.json"


def _write_receipt(lake: Store, receipt: dict[str, Any], key: SecretStr) -> None:
    signed = receipt | {"signature": _signature(receipt, key)}
    lake.write_bytes(_receipt_key(receipt), json.dumps(signed, indent=1, sort_keys=True).encode())


def _signature(receipt: dict[str, Any], key: SecretStr) -> str:
    content = {name: value for name, value in receipt.items() if name != "signature"}
    return erased.mark(key, "receipt", json.dumps(content, sort_keys=True))


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
