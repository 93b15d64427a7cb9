"""Ids that do not say whose they are: pseudonyms of people, ids of recordings and of chunks, as HMAC-SHA256 under the keys of a lake.

A lake has a chain of keys, the oldest first. The first makes an id; each later one, of a rotation (``maintenance.rekey``), makes a new id
of the one before. So an id of today follows from the one of years ago, and whoever has the keys finds a person by the raw id.
"""

import hmac
import re
from collections.abc import Iterable, Sequence
from typing import Final

from pydantic import SecretStr

MIN_KEY_CHARACTERS: Final = 16
KEYED: Final = "k"
"""First letter of a recording's id that was made with a key. An unkeyed one is hexadecimal."""
PSEUDONYM: Final = re.compile(r"[0-9a-f]{32}")


def keyed_recording(recording_id: str, keys: Iterable[SecretStr]) -> str:
    """The id that these keys, one after the other, make of a recording's: ``k`` and 128 bits in hex."""
    for key in keys:
        recording_id = KEYED + _digest(key, f"recording:{recording_id}")
    return recording_id


def keyed_person(kind: str, pseudonym: str, keys: Iterable[SecretStr]) -> str:
    """The pseudonym that these keys, one after the other, make of an older one (128 bits in hex)."""
    for key in keys:
        pseudonym = _digest(key, f"rekeyed {kind}:{pseudonym}")
    return pseudonym


def keyed_chunk(chunk_id: str, keys: Iterable[SecretStr]) -> str:
    """The id of the same length that these keys, one after the other, make of a chunk's, or of what stands for it in a part's name."""
    for key in keys:
        chunk_id = _digest(key, f"chunk:{chunk_id}")[: len(chunk_id)]
    return chunk_id


def person(kind: str, identifier: str, keys: Iterable[SecretStr]) -> str | None:
    """The pseudonym of a person's raw id under a chain of keys; None without a key.

    ``kind`` (agent or customer) is part of the hash, so that an agent and a customer with the same id get different pseudonyms.
    """
    chain = tuple(keys)
    return keyed_person(kind, _digest(chain[0], f"{kind}:{identifier}"), chain[1:]) if chain else None


def forms(kind: str, pseudonym: str, keys: Sequence[SecretStr]) -> list[str]:
    """What a lake under this chain of keys may call a person, given a pseudonym of now (the first) or of before some rotation."""
    return [keyed_person(kind, pseudonym, keys[count:]) for count in range(len(keys), 0, -1)]


def short_id(recording_id: str) -> str:
    """The eight digits of a recording's id that keep apart call ids which were made of masked keys."""
    return recording_id.removeprefix(KEYED)[:8]


def _digest(key: SecretStr, text: str) -> str:
    return hmac.digest(key.get_secret_value().encode(), text.encode("utf-8", "surrogateescape"), "sha256").hex()[:32]
