"""Key rotation: writes a lake anew under another key of pseudonyms, as a lake of its own beside the old one.

Every id changes at once for whoever turns to the new lake: readers of the old one see it whole until it is deleted, and a run that was
killed is done again. Pseudonyms are one-way, so the new key makes new ids of the old ones (``ser_tasks.pseudonyms``): recordings, people,
chunks and the names of parts made of them, in every version, merged part and quarantined part, in holds, pages and messages of alerts.
Receipts of erasures stay as they were signed. Checkpoints are left out: the next night makes them again.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import SecretStr

from ser_tasks import schemas
from ser_tasks.lake import erased, held, key_chain, parts
from ser_tasks.lake.parts import PartKey
from ser_tasks.maintenance import holds
from ser_tasks.maintenance.erasure import QUARANTINE
from ser_tasks.maintenance.holds import Subject
from ser_tasks.pipeline.opt_out import APPLIED
from ser_tasks.pseudonyms import keyed_chunk, keyed_person, keyed_recording, short_id
from ser_tasks.settings import Settings
from ser_tasks.storage import Store, StoredObject

_FIRST = ("outcomes", "call_emotions", "segments", "recordings")
"""Listed in this order, against that of writing: a row whose outcomes are listed has its data and its manifest."""
_LEFT_OUT = ("settled/", key_chain.FILE)
_NAMED_AFTER_IDS = ("outcomes", "call_emotions", "segments", "alerts")
_ID = re.compile(r"(?<![0-9a-z])(?:k?[0-9a-f]{32}|[0-9a-f]{20})(?![0-9a-z])|(?<=-)[0-9a-f]{8}(?![0-9a-z])")
"""What may be an id in a page: of a recording or person, of a chunk, or the end of a call id that was made of a masked key."""


@dataclass(frozen=True)
class Rotation:
    """The keys that make a lake's new ids of its old ones."""

    people: tuple[SecretStr, ...]
    recordings: tuple[SecretStr, ...]
    chain: tuple[SecretStr, ...]
    """All keys of the new lake, the oldest first."""
    source: str
    """Fingerprint of the key of the old pseudonyms."""

    def lines(self) -> list[str]:
        """What becomes of the ids, in lines."""
        before = "unkeyed" if len(self.recordings) == len(self.chain) else "keyed"
        lines = [f"ids of recordings: {before} now, then keyed"]
        lines += ["pseudonyms of people: made anew" if self.people else "pseudonyms of people: as they are, if SER_PSEUDONYM_KEY made them"]
        return [*lines, f"keys of the new lake, by fingerprint: {', '.join(erased.fingerprint(key) for key in self.chain)}"]


@dataclass
class Rekeyed:
    """The counts of a run."""

    parts: int = 0
    files: int = 0
    """Pages, holds and receipts."""
    left_out: list[str] = field(default_factory=list)
    """Keys of files that cannot be read, or are no parts, and were not written to the new lake."""


def rotation(lake: Store, settings: Settings) -> Rotation:
    """What is to be done with a lake: from its keys to SER_PSEUDONYM_KEY.

    Raises ValueError where the settings lack a key, where there is nothing to do, and where an erasure is not complete.
    """
    key_chain.check_length(settings)
    keys = settings.pseudonym_keys()
    if not keys:
        raise ValueError("SER_PSEUDONYM_KEY is not set: `ser key` makes one.")
    if any(receipt["state"] != "done" for _, receipt in erased.receipts(lake)):
        raise ValueError(f"An erasure in {lake.uri} is not complete: run ser erase again first.")
    current = key_chain.read(lake, settings)
    erased.read(lake, *keys)  # raises where a receipt is under a key that the settings lack
    if current.recordings:
        if current.recordings[-1] == keys[-1]:
            raise ValueError(
                f"{lake.uri} is under SER_PSEUDONYM_KEY already. To change it, set a new one (`ser key`), and name the old one in "
                "SER_OLD_PSEUDONYM_KEYS."
            )
        return Rotation(keys[-1:], keys[-1:], (*current.recordings, keys[-1]), erased.fingerprint(current.recordings[-1]))
    if len(keys) > 2:
        raise ValueError("Name one key in SER_OLD_PSEUDONYM_KEYS, the one that made the pseudonyms of this lake.")
    source = erased.fingerprint(keys[0])
    made_with = _latest_key(lake)
    if made_with not in (None, source):
        named = "that of SER_OLD_PSEUDONYM_KEYS" if keys[1:] else "SER_PSEUDONYM_KEY"
        raise ValueError(
            f"The pseudonyms of {lake.uri} were made with another key than {named}: name the one that made them in SER_OLD_PSEUDONYM_KEYS."
        )
    return Rotation(keys[1:], keys, keys, source)


def rekey(lake: Store, target: Store, rotated: Rotation) -> Rekeyed:
    """Writes the lake's content to ``target`` with new ids. A run that was killed is done by another one with the same arguments.

    Raises ValueError where ``target`` holds something else, and where the lake changed meanwhile; BrokenPartError for a part that can't be
    read.
    """
    fingerprints = [erased.fingerprint(key) for key in rotated.chain]
    _begin(lake, target, fingerprints)
    receipts = [item.etag for item in lake.list(erased.FOLDER)]
    listed = list(_listed(lake))
    writer = _Writer(lake, target, rotated, _ids_in_texts(lake, listed))
    for item in listed:
        try:
            writer.write(item)
        except FileNotFoundError:
            raise ValueError(f"{lake.uri} changed meanwhile: run ser rekey again, between two nights.") from None
    if receipts != [item.etag for item in lake.list(erased.FOLDER)]:
        raise ValueError(f"An erasure was made in {lake.uri} meanwhile: run ser rekey again.")
    for item in list(target.list()):
        if item.key not in writer.written and item.key != key_chain.FILE:  # of a run that was killed before the lake changed
            target.delete(item.key)
    target.write_bytes(key_chain.FILE, key_chain.encoded(fingerprints))
    return writer.done


def _begin(lake: Store, target: Store, fingerprints: list[str]) -> None:
    one, other = (f"{store.uri.rstrip('/')}/" for store in (lake, target))
    if one.startswith(other) or other.startswith(one):
        raise ValueError(f"{target.uri} and {lake.uri} are one, or one lies within the other: give the new lake a place of its own.")
    begun = key_chain.encoded(fingerprints, key_chain.BEGUN)
    state = key_chain.stored(target)
    if state is None and next(iter(target.list()), None) is None and target.create_bytes(key_chain.FILE, begun):
        return
    if state is None or state != json.loads(begun):
        raise ValueError(f"{target.uri} is not empty, and no ser rekey of this lake with these keys began it: give an empty place.")


def _listed(lake: Store) -> Iterator[StoredObject]:
    for table in _FIRST:
        yield from list(lake.list(f"{table}/"))
    yield from [item for item in lake.list() if not item.key.startswith((*(f"{table}/" for table in _FIRST), *_LEFT_OUT))]


def _latest_key(lake: Store) -> str | None:
    """Fingerprint of the key of the latest run that says it."""
    found = None
    for _, item in parts.listed(lake, "runs/"):
        for row in parts.read(lake, item.key, "runs", ["key_fingerprint"]).to_pylist():
            found = row["key_fingerprint"] or found
    return found


def _ids_in_texts(lake: Store, items: Iterable[StoredObject]) -> set[str]:
    found: set[str] = set()
    for item in items:
        if item.key.startswith("reports/"):
            found |= set(_ID.findall(lake.read_bytes(item.key).decode("utf-8", "replace")))
        elif item.key.startswith("alerts/") and PartKey.parse(item.key):
            for row in parts.read(lake, item.key, "alerts").to_pylist():
                found |= set(_ID.findall(f"{row['subject']} {row['message']}"))
        elif item.key.startswith("reviews/") and PartKey.parse(item.key):
            for row in parts.read(lake, item.key, "reviews", ["note"]).to_pylist():
                found |= set(_ID.findall(row["note"] or ""))
    return found


class _Writer:
    """Writes objects of a lake to another, with their new ids."""

    def __init__(self, lake: Store, target: Store, rotated: Rotation, in_texts: set[str]):
        self.lake, self.target, self.rotated = lake, target, rotated
        self.done, self.written = Rekeyed(), set[str]()
        self._in_texts = in_texts
        self._new: dict[str, str] = {}
        """New ids of those in texts."""

    def write(self, item: StoredObject) -> None:
        part, quarantined = PartKey.parse(item.key), QUARANTINE.fullmatch(item.key)
        copied = PartKey.parse(quarantined["key"]) if quarantined else None
        table = item.key.partition("/")[0]
        if part:
            self._put(self._renamed(part).key, parts.encode(part.table, self.rows(part.table, parts.read(self.lake, item.key, part.table))))
            self.done.parts += 1
        elif copied and quarantined:
            try:
                rows = self.rows(copied.table, parts.read(self.lake, item.key, copied.table))
            except parts.BrokenPartError:
                self.done.left_out.append(item.key)
                return
            folder = item.key.removesuffix(quarantined["key"])
            self._put(folder + self._renamed(copied).key, parts.encode(copied.table, rows))
            self.done.parts += 1
        elif quarantined or table in schemas.TABLES:
            self.done.left_out.append(item.key)
        elif item.key == APPLIED:  # marks under the old key: the next night withholds again, which changes nothing
            self._put(item.key, b"[]")
        elif item.key.startswith(held.FOLDER):
            self._hold(json.loads(self.lake.read_bytes(item.key)))
        else:
            data = self.lake.read_bytes(item.key)
            self._put(item.key, data if item.key.startswith(erased.FOLDER) else self._page(data))

    def rows(self, table: str, rows: pa.Table) -> pa.Table:
        """A table's rows with new ids, in the order of the new ones where parts are in that order."""
        new = self._call_ids(rows)
        for name, make in self._makers().items():
            if name in rows.schema.names:
                place = new.schema.get_field_index(name)
                new = new.set_column(place, new.schema.field(name), _mapped(rows[name], make))
        return new.sort_by([("recording_id", "ascending")]) if table in _FIRST[:3] else new

    def _makers(self) -> dict[str, Callable[[str], str]]:
        people, recordings = self.rotated.people, self.rotated.recordings
        return {
            "recording_id": lambda old: self._noted(old, keyed_recording(old, recordings)),
            "chunk_id": lambda old: self._noted(old, keyed_chunk(old, recordings)),
            "agent_pseudonym": lambda old: self._noted(old, keyed_person("agent", old, people)),
            "customer_pseudonym": lambda old: self._noted(old, keyed_person("customer", old, people)),
            "key_fingerprint": lambda old: erased.fingerprint(self.rotated.chain[-1]) if old == self.rotated.source else old,
            "message": self._text,
            "subject": self._text,
            "note": self._text,
        }

    def _noted(self, old: str, new: str) -> str:
        if old in self._in_texts:
            self._new[old] = new
        return new

    def _call_ids(self, rows: pa.Table) -> pa.Table:
        """The rows with new call ids, where these were made of a masked key and the recording's id."""
        if not {"call_id", "recording_id"} <= set(rows.schema.names) or not pc.any(pc.match_substring(rows["call_id"], "~")).as_py():
            return rows
        new = []
        for call_id, recording_id in zip(rows["call_id"].to_pylist(), rows["recording_id"].to_pylist(), strict=True):
            ending = f"-{short_id(recording_id)}"
            if call_id and "~" in call_id and call_id.endswith(ending):
                short = short_id(keyed_recording(recording_id, self.rotated.recordings))
                call_id = f"{call_id.removesuffix(ending)}-{self._noted(ending[1:], short)}"
            new.append(call_id)
        place = rows.schema.get_field_index("call_id")
        return rows.set_column(place, rows.schema.field("call_id"), pa.array(new, pa.string()))

    def _renamed(self, part: PartKey) -> PartKey:
        if part.table not in _NAMED_AFTER_IDS:
            return part
        merged = f"{parts.MERGED}{part.name.removeprefix(parts.MERGED).partition('-')[0]}-" if parts.merged_number(part.name) else ""
        return replace(part, name=merged + keyed_chunk(part.name.removeprefix(merged), self.rotated.recordings))

    def _hold(self, stated: dict[str, str]) -> None:
        hold = holds.Hold(**stated)
        new = hold.id
        if hold.kind != "call":
            new = keyed_person(hold.kind, hold.id, self.rotated.people)
        elif re.fullmatch(r"k?[0-9a-f]{32}", hold.id):
            new = keyed_recording(hold.id, self.rotated.recordings)
        elif "~" in hold.id:
            new = _ID.sub(lambda found: self._short_of_hold(hold.id, found[0]), hold.id)
        data = json.dumps(asdict(replace(hold, id=new)), ensure_ascii=False, indent=1).encode()
        self._put(holds.key_of(Subject(hold.kind, new)), data)

    def _short_of_hold(self, call_id: str, found: str) -> str:
        ids = holds.recordings_of(self.lake, [Subject("call", call_id)])
        return next((short_id(keyed_recording(each, self.rotated.recordings)) for each in ids if short_id(each) == found), found)

    def _page(self, data: bytes) -> bytes:
        try:
            return self._text(data.decode()).encode()
        except UnicodeDecodeError:  # a picture
            return data

    def _text(self, text: str) -> str:
        return _ID.sub(lambda found: self._new.get(found[0], found[0]), text)

    def _put(self, key: str, data: bytes) -> None:
        self.target.write_bytes(key, data)
        self.written.add(key)
        self.done.files += PartKey.parse(key) is None


def _mapped(column: pa.ChunkedArray, make: Callable[[str], str]) -> pa.Array:
    encoded = pa.chunked_array(column).combine_chunks().dictionary_encode()
    values = pa.array([None if old is None else make(old) for old in encoded.dictionary.to_pylist()], pa.string())
    return pa.DictionaryArray.from_arrays(encoded.indices, values).cast(pa.string())
