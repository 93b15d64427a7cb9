"""Which keys a lake was made with: ``keys.json`` holds their fingerprints, never a key.

A lake keeps for good the way in which its ids are made, whatever the settings become: else every recording would be new to it. A lake that
was begun without a key, or by a version that knew no keyed ids, has unkeyed ids of recordings; people's pseudonyms are made with
SER_PSEUDONYM_KEY there, too. ``ser rekey`` writes a lake's rows anew, under another key.
"""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import SecretStr

from ser_tasks.lake import parts
from ser_tasks.lake.erased import fingerprint
from ser_tasks.pseudonyms import KEYED, MIN_KEY_CHARACTERS
from ser_tasks.settings import Settings
from ser_tasks.storage import Store

FILE: Final = "keys.json"
BEGUN: Final = "begun"
"""State of a lake that ``ser rekey`` has not finished."""

UNKEYED: Final = (
    "recording_id is an unkeyed hash in {lake}: who knows how its keys are written can try out what is masked in them as ~. "
    "With SER_PSEUDONYM_KEY set, ser rekey --lake {lake} --to NEW_LAKE makes keyed ids"
)


@dataclass(frozen=True)
class LakeKeys:
    """The keys of a lake, the oldest first."""

    people: tuple[SecretStr, ...] = ()
    recordings: tuple[SecretStr, ...] = ()
    """Empty where the ids of recordings are unkeyed."""

    def fingerprints(self) -> list[str]:
        """Which keys they are, without telling them."""
        return [fingerprint(key) for key in self.people]

    def of(self, settings: Settings) -> Settings:
        """Settings with the keys of this lake alone."""
        latest = self.people[-1] if self.people else None
        return settings.model_copy(update={"pseudonym_key": latest, "old_pseudonym_keys": self.people[:-1]})


def read(lake: Store, settings: Settings) -> LakeKeys:
    """The keys of a lake, from the settings. An empty lake will have all that the settings have.

    Raises ValueError where the settings lack a key of the lake, and where the lake is not complete.
    """
    state, keys = stored(lake), settings.pseudonym_keys()
    if state is None:
        known = first_id(lake)
        if known is not None and known.startswith(KEYED):
            raise ValueError(f"{FILE} is missing in {lake.uri}, and its ids are keyed: restore the file, or every recording would be new.")
        return LakeKeys(keys[-1:], keys[-1:]) if known is None else LakeKeys(_of_unkeyed(keys))
    if state.get("state") == BEGUN:
        raise ValueError(f"ser rekey has not finished {lake.uri}: run it again with the same options.")
    if not state["keys"]:
        return LakeKeys(_of_unkeyed(keys))
    chain = chosen(keys, state["keys"])
    if chain is None:
        raise ValueError(
            f"{lake.uri} was made with {'a key' if len(state['keys']) == 1 else 'keys'} that the settings lack: its recordings and people "
            f"could not be recognised. Set SER_PSEUDONYM_KEY as it was{'' if len(state['keys']) == 1 else ', and SER_OLD_PSEUDONYM_KEYS'}; "
            "to change the key, name the old one in SER_OLD_PSEUDONYM_KEYS and run ser rekey."
        )
    return LakeKeys(chain, chain)


def _of_unkeyed(keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    """The key of people in a lake with unkeyed ids: where the settings name an older key, SER_PSEUDONYM_KEY is for the lake to come."""
    return keys[-2:][:1]


def check(lake: Store, settings: Settings) -> LakeKeys:
    """The keys of a lake that is to be written. Raises ValueError also where SER_PSEUDONYM_KEY is too short, or not the lake's latest."""
    check_length(settings)
    keys = read(lake, settings)
    if keys.people and keys.people[-1:] != settings.pseudonym_keys()[-1:]:
        raise ValueError(
            f"{lake.uri} is under a key of SER_OLD_PSEUDONYM_KEYS: run ser rekey --lake {lake.uri} --to NEW_LAKE, and the nights on that."
        )
    return keys


def check_length(settings: Settings) -> None:
    """Raises ValueError where SER_PSEUDONYM_KEY is too short."""
    current = settings.pseudonym_keys()[-1:]
    if current and len(current[0].get_secret_value()) < MIN_KEY_CHARACTERS:
        raise ValueError(
            f"SER_PSEUDONYM_KEY has {len(current[0].get_secret_value())} characters, and needs {MIN_KEY_CHARACTERS} or more: whoever "
            "has the lake could find a short key by trying. `ser key` makes a good one. If the lake has pseudonyms under the short key, "
            "name it in SER_OLD_PSEUDONYM_KEYS and run ser rekey."
        )


def settle(lake: Store, keys: LakeKeys) -> None:
    """Writes down, once and for all, which keys an empty lake has. Raises ValueError where another run was first, with other ones."""
    fingerprints = [fingerprint(key) for key in keys.recordings]
    state = stored(lake)
    if state is None and first_id(lake) is None:
        write(lake, fingerprints)
        state = stored(lake)
    if state is not None and state["keys"] != fingerprints:
        raise ValueError(f"Another run began {lake.uri} with another SER_PSEUDONYM_KEY: set the same for both.")


def write(lake: Store, fingerprints: Sequence[str]) -> bool:
    """Writes down the keys of a new lake. False where that was done before."""
    return lake.create_bytes(FILE, encoded(fingerprints))


def encoded(fingerprints: Sequence[str], state: str = "done") -> bytes:
    """The content of the file; without fingerprints the ids are unkeyed."""
    return json.dumps({"keys": list(fingerprints), "state": state}, indent=1).encode()


def stored(lake: Store) -> dict[str, Any] | None:
    """The content of the file; None where there is none. Raises ValueError where it is not what it should be."""
    try:
        state = json.loads(lake.read_bytes(FILE))
    except FileNotFoundError:
        return None
    except ValueError:
        state = None
    if not isinstance(state, dict) or not isinstance(state.get("keys"), list):
        raise ValueError(f"{FILE} in {lake.uri} cannot be read: restore it. It says with which keys the lake's ids were made.")
    return state


def chosen(keys: Sequence[SecretStr], fingerprints: Sequence[str]) -> tuple[SecretStr, ...] | None:
    """The keys with these fingerprints, in their order; None where one is missing."""
    known = {fingerprint(key): key for key in keys}
    return tuple(known[each] for each in fingerprints) if set(fingerprints) <= known.keys() else None


def first_id(lake: Store) -> str | None:
    """The id of some recording of a lake; None in an empty one."""
    for table in ("recordings", "outcomes"):
        for key in parts.keys(lake, f"{table}/"):
            with contextlib.suppress(parts.BrokenPartError, FileNotFoundError):
                ids = parts.read(lake, key, table, ["recording_id"])["recording_id"]
                if len(ids):
                    return str(ids[0].as_py())
    return None
