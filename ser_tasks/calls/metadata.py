"""The metadata of a call, and the source of each fact.

Sources, most trusted first: the sidecar ``<stem>.json``, the named groups of the file-name pattern, the date folder in the key, the
object's own metadata in the store. Facts without a source stay unknown; a start time is never guessed.
"""

import functools
import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from pathlib import PurePosixPath
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StrictBool,
    StringConstraints,
    ValidationError,
)

from ser_tasks.calls.spelling import ALIASES, DuplicateNameError, NamedFacts, named_facts, plain
from ser_tasks.calls.times import date_in_folders, in_zone, read_time, shape
from ser_tasks.pseudonyms import keyed_recording, person, short_id
from ser_tasks.settings import Settings

SIDECAR_LIMIT_BYTES = 1 << 20
MOST_RANGES = 10_000
"""Ranges that nobody may hear, of one call."""
PERSON_FACTS = ("agent_id", "customer_id")
REQUIRED_READABLE = ("notice_given", "channels", "redact")
"""Facts that decide who is scored, and what: where one cannot be read, the call is not analysed. Any other is left out, with a note."""

_CHANNEL = re.compile(r"0|[1-9][0-9]{0,2}")
MARKED_ID = re.compile(r"(?<![A-Za-z0-9])(?:CUST|AGENT)_([^_]+?)(?=_|\.[A-Za-z0-9]+\Z|\Z)")
"""Ids of people in file names of Amazon's post-call analytics, whatever SER_FILE_NAME_PATTERN finds there."""
_NUMBER_IN_KEY = re.compile(
    r"""(?P<other>(?<![0-9a-z])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![0-9a-z])     # a UUID
      | (?<![0-9a-z])(?:[a-z]{2})?(?=[0-9]*[a-f])[0-9a-f]{24,}(?![0-9a-z])                # a hash, or the id of a cloud service
      | (?<!\d)(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[t_-]?(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?)?(?!\d)
      | (?<!\d)(?:19|20)\d\d[-_.](?:0[1-9]|1[0-2])[-_.](?:0[1-9]|[12]\d|3[01])(?:[t_ -]\d\d[-_.:]\d\d[-_.:]\d\d)?(?!\d)
      | (?<!\d)1\d{9}\.\d{1,9}(?!\d))                                                   # Asterisk: seconds since 1970, and a counter
      | (?:\+|%2b)[ ]?\(?\d(?:[ ().-]{0,2}\d){5,14}
      | (?<!\d)(?:00?[1-9]\d{6,13}|[1-9]\d{9,14})(?!\d)
      | (?<!\d)\(?0[1-9]\d{1,3}\)?[ -]\d{5,10}(?!\d)
      | (?<!\d)\(?[2-9]\d\d\)?[ .-]{1,2}\d{3}[ .-]\d{4}(?!\d)""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
"""What looks like a phone number, and before it, in the group ``other``, what only looks like one."""
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class MetadataError(ValueError):
    """The sidecar or the object's metadata is invalid. The recording is quarantined until it is corrected."""


Text = Annotated[str, StringConstraints(max_length=500, strip_whitespace=True)]


def _moment(value: Any) -> Any:
    """Reads times here: pydantic would read "20261120" as seconds since 1970."""
    if value is None or isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise ValueError("it is not text")
    return read_time(value) if value.strip() else None


def _channel_numbers(value: Any) -> Any:
    """Checks that names are canonical: "0" and "00" would be the same channel. A channel with null for its word is unknown."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError('write a word for each channel, such as {"0": "agent", "1": "customer"}')
    if not all(isinstance(name, str) and _CHANNEL.fullmatch(name) for name in value):
        raise ValueError('number the channels "0", "1" and so on')
    return {name: "" if word is None else word for name, word in value.items()}


def _in_order(spans: list[tuple[float, float]] | None) -> list[tuple[float, float]] | None:
    if spans and not all(0 <= start <= end < math.inf for start, end in spans):
        raise ValueError("write ranges in seconds, as [[12.4, 31.0]], each with its start first")
    return sorted(spans) if spans else None


class Sidecar(BaseModel):
    """The facts that are read from a sidecar; others are ignored. Types are checked and lengths are limited."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    call_id: Text | None = None
    started_at: Annotated[datetime | None, BeforeValidator(_moment)] = None
    agent_id: Text | None = None
    customer_id: Text | None = None
    queue: Text | None = None
    language: Text | None = None
    notice_given: StrictBool | None = None
    notice_text: Text | None = None
    notice_version: Text | None = None
    notice_at: Annotated[datetime | None, BeforeValidator(_moment)] = None
    channels: Annotated[dict[int, Text] | None, BeforeValidator(_channel_numbers)] = None
    """Words by channel number, as written: ser_tasks.calls.roles says which roles they mean."""
    redact: Annotated[list[tuple[float, float]] | None, Field(max_length=MOST_RANGES), AfterValidator(_in_order)] = None
    """Ranges that nobody may hear, in seconds."""


_FACTS = {plain(name): name for name in Sidecar.model_fields} | ALIASES
_TIMES = ("started_at", "notice_at")


@dataclass(frozen=True)
class CallMetadata:
    """Known facts by name, and the source of each: sidecar, file_name, key, object or settings."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """Remarks on what was stated and not read, or read in one of two ways."""
    notice_unclear: bool = False
    """Whether something that is not read looks like the caller's consent or refusal."""

    def get(self, name: str) -> Any:
        return self.values.get(name)


def call_metadata(
    key: str, sidecar: bytes | None, object_metadata: dict[str, str], settings: Settings, known_as: str | None = None
) -> CallMetadata:
    """The metadata of the recording at ``key``: each fact comes from the most trusted source that has it.

    ``known_as`` is the recording's id in the lake, its unkeyed one if None.

    Raises MetadataError if the sidecar or the object's metadata is invalid: then it is unknown who may be scored.
    """
    read: list[tuple[str, NamedFacts]] = [
        ("sidecar", _parse("The sidecar", sidecar, settings) if sidecar is not None else NamedFacts()),
        ("file_name", _from_file_name(key, settings)),
        ("key", NamedFacts({"call_date": date_in_folders(key)})),
        ("object", _from_object(object_metadata, settings) if object_metadata else NamedFacts()),
    ]
    zone = ZoneInfo(settings.time_zone)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    notes = [note for _, named in read for note in named.notes]
    for source, named in read:
        facts = dict(named.facts)
        if facts.get("started_at"):
            facts["started_at"], note = in_zone(facts["started_at"], zone)
            facts.setdefault("call_date", facts["started_at"].astimezone(zone).date())
            if note and "started_at" not in values:
                notes.append(f"started_at {note}")
        if facts.get("notice_at"):
            facts["notice_at"], note = in_zone(facts["notice_at"], zone)
            if note and "notice_at" not in values:
                notes.append(f"notice_at {note}")
        for name, value in facts.items():
            if value not in (None, "", {}) and name not in values:
                values[name], sources[name] = value, source
    if values.get("notice_given"):
        for name, defaults in (("notice_text", settings.notice_text), ("notice_version", settings.notice_version)):
            default = defaults.get(values.get("queue", ""), defaults.get("*"))
            if default and name not in values:
                values[name], sources[name] = default, "settings"
    if "call_id" not in values:
        values["call_id"], sources["call_id"] = _call_id_from(key, known_as or recording_id(key), settings), "key"
    return CallMetadata(values, sources, tuple(notes), any(named.notice_unclear for _, named in read))


def masked_key(key: str, settings: Settings) -> str:
    """The key as stored in the lake: ids of people and phone numbers are replaced by ``~``.

    Ids are what the file-name pattern finds, and what follows ``CUST_`` or ``AGENT_``. Numbers that the pattern finds as another fact,
    and those that are a date, a UUID, a hash or a time in seconds with a counter, are kept.
    """
    folder, slash, name = key.rpartition("/")
    match = re.search(settings.file_name_pattern, name)
    found = {fact: match.span(fact) for fact, text in match.groupdict().items() if text} if match else {}
    kept = [span for fact, span in found.items() if fact_named(fact) not in (None, *PERSON_FACTS)]
    masked = [span for fact, span in found.items() if fact_named(fact) in PERSON_FACTS]
    masked += [marked.span(1) for marked in MARKED_ID.finditer(name)]
    suffix_at = len(PurePosixPath(name).stem)
    for number in _NUMBER_IN_KEY.finditer(name, 0, suffix_at):
        start, end = number.span()
        if number["other"] is None and not any(first <= start and end <= last for first, last in kept):
            masked.append((start, end))
    for start, end in reversed(_merged(masked)):
        name = name[:start] + "~" + name[end:]
    folder = _NUMBER_IN_KEY.sub(lambda number: number["other"] or "~", folder)
    return (folder + slash + name).encode("utf-8", "backslashreplace").decode()


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans in order, those that overlap as one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _call_id_from(key: str, known_as: str, settings: Settings) -> str:
    """The masked key without its suffix. Where something is masked, part of the recording's id keeps calls apart."""
    masked = masked_key(key, settings)
    stem = str(PurePosixPath(masked).with_suffix(""))
    return stem if "~" not in masked or "~" in key else f"{stem}-{short_id(known_as)}"


def recording_id(key: str, keys: Iterable[SecretStr] = ()) -> str:
    """The id of a recording: the first 128 bits of its key's SHA-256, in hex, and with ``keys`` what they make of it.

    Without a key, whoever has a guess of what is masked in ``key`` can compare it with the id.
    """
    return keyed_recording(hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:32], keys)


def day_of(key: str, last_modified: datetime, settings: Settings) -> tuple[date, str]:
    """The day of a recording and its source: its file name or key if they have a date, else the time of the upload."""
    started_at = _start_in_file_name(key, settings)
    if started_at:
        return started_at.date(), "file_name"
    folder_date = date_in_folders(key)
    if folder_date:
        return folder_date, "key"
    return last_modified.astimezone(ZoneInfo(settings.time_zone)).date(), "object"


def pseudonym(kind: str, identifier: str | None, settings: Settings) -> str | None:
    """The pseudonym of an agent's or a customer's id under the settings' keys (128 bits, hex), or None without a key or an id."""
    return person(kind, identifier, settings.pseudonym_keys()) if identifier else None


@functools.lru_cache(maxsize=1024)
def fact_named(name: str) -> str | None:
    """The fact that a name stands for, in any spelling, or None."""
    return _FACTS.get(plain(name))


def _start_in_file_name(key: str, settings: Settings) -> datetime | None:
    """The start time alone: the listing asks for it at each key."""
    match = re.search(settings.file_name_pattern, key.rpartition("/")[2])
    for name, text in match.groupdict().items() if match else ():
        if text and fact_named(name) == "started_at":
            try:
                return read_time(text)
            except ValueError:
                return None
    return None


def _from_file_name(key: str, settings: Settings) -> NamedFacts:
    match = re.search(settings.file_name_pattern, key.rpartition("/")[2])
    stated = {name: value for name, value in match.groupdict().items() if value} if match else {}
    if not stated:
        return NamedFacts()
    try:
        named = _named("The file name", stated, settings)
        for fact in ("channels", "redact"):
            named.facts.pop(fact, None)
        if "notice_given" in named.facts:
            named.facts["notice_given"] = _truth("The file name", named.facts["notice_given"])
        return _checked("The file name", named)
    except MetadataError as error:  # nobody corrects a file name: the call is kept, but not scored
        return NamedFacts({}, (str(error).partition(". ")[0],), True)


def _from_object(object_metadata: dict[str, str], settings: Settings) -> NamedFacts:
    subject = "The object's metadata"
    texts, undecoded = {}, []
    for name, value in object_metadata.items():
        try:
            texts[name] = _decoded(value)
        except ValueError:
            texts[name] = value
            undecoded.append(name)
    named = _named(subject, texts, settings)
    facts = named.facts
    for fact in ("channels", "redact"):
        if fact in facts:
            facts[fact] = _json(f"{subject}: {fact}", facts[fact])
    if "notice_given" in facts:
        facts["notice_given"] = _truth(subject, facts["notice_given"])
    lost = [fact for fact in map(fact_named, undecoded) if fact and facts.pop(fact, None) is not None]
    if set(lost) & set(REQUIRED_READABLE):
        raise MetadataError(f"{subject} is invalid: it is not encoded as RFC 2047 says. Correct it; the recording is then tried again.")
    notes = tuple(f"{subject}: {fact} is not encoded as RFC 2047 says, and is ignored" for fact in lost)
    return _checked(subject, NamedFacts(facts, named.notes + notes, named.notice_unclear))


def _decoded(text: str) -> str:
    """The text of a header in the encoding of RFC 2047 (``=?UTF-8?Q?K=C3=B6ln?=``), as S3 returns what is not ASCII.

    Raises ValueError where it is not encoded as it says.
    """
    if "=?" not in text:
        return text
    try:
        return str(make_header(decode_header(text)))
    except (HeaderParseError, LookupError, UnicodeError) as error:
        raise ValueError(f"not encoded as it says: {type(error).__name__}") from None


def _truth(subject: str, text: str) -> bool:
    truth = _TRUTH.get(text.strip().casefold())
    if truth is None:
        raise MetadataError(f"{subject} is invalid: notice_given is not true or false. Correct it; the recording is then tried again.")
    return truth


def _parse(subject: str, data: bytes, settings: Settings) -> NamedFacts:
    if len(data) > SIDECAR_LIMIT_BYTES:
        raise MetadataError(f"{subject} is larger than {SIDECAR_LIMIT_BYTES} bytes: it holds more than facts of a call.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise MetadataError(f"{subject} is not UTF-8 text: save it as UTF-8. The recording is then tried again.") from None
    stated = _json(subject, text)
    if not isinstance(stated, dict):
        raise MetadataError(f"{subject} is not a JSON object of facts. Correct it; the recording is then tried again.")
    return _checked(subject, _named(subject, stated, settings))


def _named(subject: str, stated: dict[str, Any], settings: Settings) -> NamedFacts:
    try:
        named = named_facts(stated, Sidecar.model_fields, settings.ignored_facts)
    except DuplicateNameError as error:
        raise MetadataError(
            f"{subject} is invalid: it has {error.args[0]} twice, in two spellings. Correct it; the recording is then tried again."
        ) from None
    return NamedFacts(named.facts, tuple(f"{subject}: {note}" for note in named.notes), named.notice_unclear)


def _json(subject: str, text: str) -> Any:
    """Parses JSON. Numbers are kept as the text in the file, and a repeated name is an error."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a number")

    try:
        return json.loads(
            text, object_pairs_hook=lambda pairs: _unique(subject, pairs), parse_int=str, parse_float=str, parse_constant=refuse
        )
    except MetadataError:
        raise
    except RecursionError:
        raise MetadataError(f"{subject} is nested too deeply: it holds more than facts of a call.") from None
    except ValueError as error:
        raise MetadataError(f"{subject} is not JSON: {error}. Correct it; the recording is then tried again.") from None


def _unique(subject: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    facts = dict(pairs)
    if len(facts) < len(pairs):
        raise MetadataError(f"{subject} is invalid: it has the same name twice. Correct it; the recording is then tried again.")
    return facts


def _checked(subject: str, named: NamedFacts) -> NamedFacts:
    """The facts in their types. One that cannot be read is left out, with a note; MetadataError where it decides who is scored."""
    facts, notes = dict(named.facts), list(named.notes)
    try:
        return NamedFacts(Sidecar.model_validate(facts).model_dump(exclude_none=True), tuple(notes), named.notice_unclear)
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False):
            name = str(each["loc"][0])  # deeper names are not shown: they may hold ids
            why = each["msg"].removeprefix("Value error, ")
            if name in REQUIRED_READABLE:
                raise MetadataError(f"{subject} is invalid: {name}: {why}. Correct it; the recording is then tried again.") from None
            if facts.pop(name, None) is not None:
                notes.append(f"{subject}: {name} is ignored: {why}{_example(name, named.facts[name])}")
    return NamedFacts(Sidecar.model_validate(facts).model_dump(exclude_none=True), tuple(notes), named.notice_unclear)


def _example(name: str, value: Any) -> str:
    if name not in _TIMES or not isinstance(value, str):
        return ""
    return f" (it looks like {shape(value)}); write ISO 8601, such as 2026-11-20T14:05:00+01:00"
