"""Names of facts as systems spell them, and names that are none of ours but look like one."""

import itertools
import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

CLOSE = 0.8
"""Similarity (difflib's ratio) from which on a name looks like another."""
COMPARED = 100
"""Names that are compared with ours, of all that are not."""
NOTES = 5
"""Most remarks on the names of one source."""
SYNONYMS = {
    "agent": "agent_id",
    "operatorid": "agent_id",
    "customer": "customer_id",
    "callerid": "customer_id",
    "clientid": "customer_id",
    "conversationid": "call_id",
    "lang": "language",
    "queuename": "queue",
    "starttime": "started_at",
    "starttimestamp": "started_at",
    "callstart": "started_at",
    "timestamp": "started_at",
    "channelroles": "channels",
    "roles": "channels",
}
"""Names that vendors use for our facts, in the form of `plain`. They are pointed out, not read: a vendor may mean something else."""

ALIASES = {
    "noticegivenat": "notice_at",
    "noticetime": "notice_at",
    "noticetimestamp": "notice_at",
    "noticeplayedat": "notice_at",
    "noticeid": "notice_text",
    "noticename": "notice_text",
    "noticetextversion": "notice_version",
    "noticeversionid": "notice_version",
}
"""Other names of our facts that are read, in the form of `plain`: none of them can say whether notice was given."""

_CONSENT = re.compile(
    r"""notice|notified|consent|opt(?:ed|ing)?(?:in|out)(?!g)|permission|permitted|allowed|disallow|informed|disclos|object(?:ion|ed)
    |withdr[ae]w|revoke|revocation|refus|gdpr|dsgvo|rgpd|ccpa|declin|disclaim|announcement|^privacy(?=.)|agree[ds]
    |unsubscri|^dnc$|donot|dont(?:record|analy|score|process)|no(?:record|analy|scor|profiling)
    |einwillig|zustimm|widersp|widerruf|hinweis|aviso|consentimiento|toestemming|consenso""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class NamedFacts:
    """Facts under our names, remarks on names that were not read, and whether one of these may hold the caller's consent or refusal."""

    facts: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    notice_unclear: bool = False


class DuplicateNameError(ValueError):
    """Two spellings of one name. ``args[0]`` is our name."""


def plain(name: str) -> str:
    """A name without what spellings differ in: ``noticeGiven``, ``Notice_Given``, ``notice-given`` and ``NOTICE GIVEN`` are one."""
    return "".join(c for c in unicodedata.normalize("NFKC", name).casefold() if c.isalnum())


def looks_like_consent(name: str) -> bool:
    return bool(_CONSENT.search(plain(name)) or get_close_matches(plain(name), ["noticegiven"], 1, CLOSE))


def named_facts(stated: dict[str, Any], names: Collection[str], ignored: Collection[str] = ()) -> NamedFacts:
    """The facts in ``stated`` under ``names``, in any spelling.

    ``ignored`` names are skipped. Values of null and empty text state nothing. Raises DuplicateNameError where two spellings
    of one name are stated.
    """
    ours = {plain(name): name for name in names}
    ours |= {alias: name for alias, name in ALIASES.items() if name in names}
    skipped = {plain(name) for name in ignored} - ours.keys()
    facts: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, value in stated.items():
        if plain(name) not in ours:
            others[name] = value
        elif ours[plain(name)] in facts:
            raise DuplicateNameError(ours[plain(name)])
        else:
            facts[ours[plain(name)]] = value

    consent = [name for name in _names_with_value(others, skipped) if looks_like_consent(name)]
    notes = [
        f"{_shown(name)} looks like consent or an opt-out, but only notice_given at the top level is read: the call is not scored"
        for name in consent
    ]
    for name, value in itertools.islice(others.items(), COMPARED):
        if _is_nothing(value) or isinstance(value, dict | list) or name in consent or plain(name) in skipped:
            continue
        similar = SYNONYMS.get(plain(name)) or next((ours[each] for each in get_close_matches(plain(name), ours, 1, CLOSE)), None)
        if similar and _is_nothing(facts.get(similar)):
            notes.append(f"{_shown(name)} looks like {similar}, but is not read")
    return NamedFacts(facts, tuple(dict.fromkeys(notes))[:NOTES], bool(consent))


def _names_with_value(value: Any, skipped: Collection[str]) -> Iterator[str]:
    """All names that have a value, at any depth: a refusal may lie in an object of its own."""
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if isinstance(current, dict):
            for name, inner in current.items():
                if plain(name) not in skipped and not _is_nothing(inner):
                    yield name
                    waiting.append(inner)
        elif isinstance(current, list):
            waiting.extend(current)


def _is_nothing(value: Any) -> bool:
    return value is None or value in ("", [], {}) or isinstance(value, str) and not value.strip()


def _shown(name: str) -> str:
    """The name for a note; it is not shown where it may hold an id."""
    return f"`{name}`" if re.fullmatch(r"[A-Za-z][A-Za-z_ .-]{1,39}", name) else "a name with other characters than letters"
