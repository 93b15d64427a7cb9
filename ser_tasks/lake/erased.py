"""What was erased from a lake: marks of recordings, which nights, compaction and doctor honour, so that nothing erased comes back.

Each erasure (``maintenance.erasure``) has a receipt, ``erasures/<id>.json``. It names no person and no call: a recording is there as its
mark, the HMAC-SHA256 of its id under the key of pseudonyms. Its marks count from the moment the receipt is first written.
"""

import hmac
import json
from collections.abc import Container, Iterator, Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import SecretStr

from ser_tasks.storage import Store, open_store

FOLDER = "erasures/"


class Erased:
    """The recordings that were erased: ``recording_id in erased``."""

    def __init__(self, marks: frozenset[str], keys: Sequence[SecretStr]):
        self.marks, self._keys = marks, keys

    def __contains__(self, recording_id: object) -> bool:
        return bool(self.marks) and any(mark(key, "recording", str(recording_id)) in self.marks for key in self._keys)

    def taken_from(self, rows: pa.Table) -> pa.Table:
        """Rows with a ``recording_id``, without those of erased recordings."""
        return rows.filter(pc.invert(are_of(rows, self))) if self.marks else rows


def are_of(rows: pa.Table, recordings: Container[str]) -> pa.Array:
    """For each row with a ``recording_id``, whether it is of one of these recordings."""
    ids = [each for each in rows["recording_id"].unique().to_pylist() if each in recordings]
    return pc.is_in(rows["recording_id"], pa.array(ids, pa.string()))


def read(lake: Store, *keys: SecretStr | None) -> Erased:
    """What was erased from a lake. Raises ValueError where something was, under a key that is none of these: it could not be recognised."""
    marks: set[str] = set()
    known = {fingerprint(key): key for key in keys if key is not None}
    used: dict[str, SecretStr] = {}
    for name, receipt in receipts(lake):
        made_with = receipt["key_fingerprint"]
        if made_with not in known:
            raise ValueError(
                f"{name} in {lake.uri} was made under another SER_PSEUDONYM_KEY than {'this one' if known else 'none'}, so what it "
                "erased could come back: set that key, or name it in SER_OLD_PSEUDONYM_KEYS. Without it, move the receipt elsewhere once "
                "its recordings are deleted."
            )
        marks |= set(receipt["recordings"])
        used[made_with] = known[made_with]
    return Erased(frozenset(marks), tuple(used.values()))


def receipts(lake: Store) -> Iterator[tuple[str, dict[str, Any]]]:
    """Key and content of every receipt, oldest first."""
    for item in lake.list(FOLDER):
        yield item.key, json.loads(_text(lake.uri, item.key, item.etag))


@lru_cache(maxsize=10_000)
def _text(lake: str, key: str, etag: str) -> bytes:
    """A receipt's bytes: read once in a process, as long as its etag stays."""
    return open_store(lake).read_bytes(key)


def mark(key: SecretStr, kind: str, text: str) -> str:
    """HMAC-SHA256 of an id under the key, in hex. ``kind`` keeps recordings, people and keys apart."""
    return hmac.new(key.get_secret_value().encode(), f"erased {kind}:{text}".encode("utf-8", "surrogateescape"), "sha256").hexdigest()


def fingerprint(key: SecretStr) -> str:
    """Which key it is, without telling it."""
    return mark(key, "key", "")[:16]
