"""The role of each channel: who speaks on it.

An agent must never be scored as a customer, so a map of roles is held against the file, and what is not certain is ``unknown``.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping

from ser_tasks.schemas import ROLES
from ser_tasks.settings import Settings

AGENT_WORDS = frozenset({"internal", "operator", "representative", "rep", "csr", "advisor", "adviser", "employee", "staff",
                         "human agent", "consultant", "associate", "supervisor"})  # fmt: skip
"""What telephony systems call an agent."""
CUSTOMER_WORDS = frozenset({"client", "caller", "external", "consumer", "patient", "member", "contact", "end user", "subscriber", "guest"})
"""What they call a customer. An outbound call's caller is the agent, and some systems call the agent's phone a client: such a word means
the customer only beside an agent's channel."""

_SHOWN_CHARACTERS = 24
_LONG_NUMBER = re.compile(r"\d{3}")


class ChannelMapError(ValueError):
    """The call's metadata names channels that the recording lacks."""


def channel_roles(channels: int, known: dict[int, str] | None, source: str | None, settings: Settings) -> tuple[list[str], str | None]:
    """The role of each of ``channels`` channels, and their source: ``source`` (that of ``known``), ``settings`` or None.

    ``known`` is the map in the call's metadata, as written: channels numbered from 0, and words. It replaces the map in the settings as a
    whole; the two are never merged. A channel without a role is ``unknown``, but ``mixed`` if it is the only one and no map applies.
    The map in the settings applies only to recordings that have every channel it names.

    Raises ChannelMapError if ``known`` names a channel that the recording lacks: it describes another recording, or counts from 1.
    """
    if known:
        _check_fit(channels, known)
        return _in_order(channels, known), source
    configured = settings.channel_roles
    if configured and set(configured) <= set(range(channels)):
        return _in_order(channels, configured), "settings"
    return ["mixed" if channels == 1 else "unknown"] * channels, None


def unknown_roles_hint(channels: int, known: dict[int, str] | None, settings: Settings, private: Iterable[str | None] = ()) -> str:
    """Why the map that describes the call leaves a channel unknown: a clause to append to a reason, empty where there is no map.

    ``private`` are texts that a reason must not show, such as the ids of the call's people.
    """
    stated, where = (known, "channels") if known else (settings.channel_roles, "SER_CHANNEL_ROLES")
    missing = sorted(set(stated) - set(range(channels)))
    if missing:
        return f"; {where} names channel {missing[0]}, and the recording has {_numbered(channels)}"
    roles = roles_of(stated)
    unknown = sorted({_plain(stated[channel]) for channel, role in roles.items() if role == "unknown"} - {"unknown"})
    if not unknown:
        return ""
    hidden = {_plain(text) for text in private if text}
    words = ", ".join("a word" if _is_private(word, hidden) else repr(word) for word in unknown)
    beside = ", which means the customer only beside an agent's channel," if set(unknown) <= CUSTOMER_WORDS else ""
    return f"; {words} in {where}{beside} is no role: write {', '.join(ROLES[:-1])} or {ROLES[-1]}"


def roles_of(words: Mapping[int, str]) -> dict[int, str]:
    """The role that each word of a map means; ``unknown`` for words that are not understood."""
    plain = {channel: _plain(word) for channel, word in words.items()}
    roles = {channel: "agent" if word in AGENT_WORDS else word if word in ROLES else "unknown" for channel, word in plain.items()}
    if "agent" in roles.values():
        roles |= {channel: "customer" for channel, word in plain.items() if word in CUSTOMER_WORDS}
    return roles


def _in_order(channels: int, words: Mapping[int, str]) -> list[str]:
    roles = roles_of(words)
    return [roles.get(channel, "unknown") for channel in range(channels)]


def _check_fit(channels: int, known: dict[int, str]) -> None:
    missing = sorted(set(known) - set(range(channels)))
    if not missing:
        return
    counted_from_1 = sorted(known) == list(range(1, channels + 1))
    remedy = "The channels seem to be counted from 1: number them from 0." if counted_from_1 else "Number the channels from 0."
    raise ChannelMapError(
        f"channels names channel {missing[0]}, but the recording has {_numbered(channels)}. {remedy} "
        "Correct the sidecar or the object's metadata; the recording is then tried again."
    )


def _numbered(channels: int) -> str:
    return "1 channel, numbered 0" if channels == 1 else f"{channels} channels, numbered 0 to {channels - 1}"


def _plain(word: str) -> str:
    """The word in lower case, in one spelling of its characters, with single spaces for spaces, ``_``, ``-`` and within ``endUser``."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", word))
    return " ".join(re.split(r"[\s_-]+", spaced.casefold())).strip()


def _is_private(word: str, hidden: set[str]) -> bool:
    """Whether a word may hold an id or a name: too long, with a long number or a sign, or an id of the call."""
    legible = bool(word) and all(character.isalnum() or character == " " for character in word)
    return (
        not legible
        or len(word) > _SHOWN_CHARACTERS
        or bool(_LONG_NUMBER.search(word))
        or any(text in word or word in text for text in hidden)
    )
