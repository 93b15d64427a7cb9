"""The metadata of a call, and the source of each fact.

Sources, most trusted first: the sidecar ``<stem>.json``, the named groups of the file-name pattern, the date folder in the key, the
object's own metadata in the store. Facts without a source stay unknown; a start time is never guessed.
"""

import hashlib
import hmac
import json
import re
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import PurePosixPath
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StrictBool, StringConstraints, ValidationError

from ser_tasks.settings import Settings

SIDECAR_LIMIT_BYTES = 1 << 20
FIRST_YEAR, LAST_YEAR = 1970, 2099
"""Start times outside these years come from a clock that was never set."""
PERSON_FACTS = ("agent_id", "customer_id")

_DATE_FOLDER = re.compile(
    r"(?:^|/)(?:[a-z_]+=)?(?P<y>(?:19|20)\d\d)(?:-|/(?:[a-z_]+=)?|)(?P<m>0[1-9]|1[0-2])(?:-|/(?:[a-z_]+=)?|)(?P<d>0[1-9]|[12]\d|3[01])(?=/)"
)
_CHANNEL = re.compile(r"0|[1-9][0-9]{0,2}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}")
_CLOCK_WITH_DASHES = re.compile(r"T(\d\d)-(\d\d)-(\d\d)")


class MetadataError(ValueError):
    """The sidecar or the object's metadata is invalid. The recording is quarantined until it is corrected."""


Text = Annotated[str, StringConstraints(max_length=500, strip_whitespace=True)]


def _moment(value: Any) -> Any:
    """Checks that there is a date and a time: pydantic would read "20261120" as seconds since 1970."""
    text = _CLOCK_WITH_DASHES.sub(r"T\1:\2:\3", value) if isinstance(value, str) else ""
    if value is not None and not _TIME.match(text):
        raise ValueError("write an ISO 8601 time such as 2026-11-20T14:05:00+00:00")
    return None if value is None else text


def _in_range(moment: datetime | None) -> datetime | None:
    if moment is not None and not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError(f"the year {moment.year} is not between {FIRST_YEAR} and {LAST_YEAR}")
    return moment


def _channel_numbers(value: Any) -> Any:
    """Checks that names are canonical: "0" and "00" would be the same channel."""
    if isinstance(value, dict) and not all(isinstance(name, str) and _CHANNEL.fullmatch(name) for name in value):
        raise ValueError('number the channels "0", "1" and so on')
    return value


class Sidecar(BaseModel):
    """The facts that are read from a sidecar; others are ignored. Types are checked and lengths are limited."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    call_id: Text | None = None
    started_at: Annotated[datetime | None, BeforeValidator(_moment), AfterValidator(_in_range)] = None
    agent_id: Text | None = None
    customer_id: Text | None = None
    queue: Text | None = None
    language: Text | None = None
    notice_given: StrictBool | None = None
    channels: Annotated[dict[int, Text] | None, BeforeValidator(_channel_numbers)] = None
    """Words by channel number, as written: ser_tasks.calls.roles says which roles they mean."""


@dataclass(frozen=True)
class CallMetadata:
    """Known facts by name, and the source of each: sidecar, file_name, key or object."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        return self.values.get(name)


def call_metadata(key: str, sidecar: bytes | None, object_metadata: dict[str, str], settings: Settings) -> CallMetadata:
    """The metadata of the recording at ``key``: each fact comes from the most trusted source that has it.

    Raises MetadataError if the sidecar or the object's metadata is invalid: then it is unknown who may be scored.
    """
    facts_by_source: list[tuple[str, dict[str, Any]]] = [
        ("sidecar", _parse("The sidecar", sidecar) if sidecar is not None else {}),
        ("file_name", _from_file_name(key, settings)),
        ("key", {"call_date": date_in_folders(key)}),
        ("object", _checked("The object's metadata", _decoded(object_metadata)) if object_metadata else {}),
    ]
    zone = ZoneInfo(settings.time_zone)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, facts in facts_by_source:
        if facts.get("started_at"):
            moment = facts["started_at"]
            moment = facts["started_at"] = moment if moment.tzinfo else moment.replace(tzinfo=zone)
            facts.setdefault("call_date", moment.astimezone(zone).date())
        for name, value in facts.items():
            if value not in (None, "", {}) and name not in values:
                values[name], sources[name] = value, source
    if "call_id" not in values:
        values["call_id"], sources["call_id"] = str(PurePosixPath(masked_key(key, settings)).with_suffix("")), "key"
    return CallMetadata(values, sources)


def masked_key(key: str, settings: Settings) -> str:
    """The key as stored in the lake: the ids of people that the file-name pattern finds in it are replaced by ``~``."""
    folder, slash, name = key.rpartition("/")
    match = re.search(settings.file_name_pattern, name)
    if match:
        spans = sorted(match.span(fact) for fact in PERSON_FACTS if fact in match.groupdict() and match.group(fact))
        for start, end in reversed(spans):
            name = name[:start] + "~" + name[end:]
    return (folder + slash + name).encode("utf-8", "backslashreplace").decode()


def recording_id(key: str) -> str:
    """The id of a recording in its store: the first 128 bits of the key's SHA-256, in hex."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def day_of(key: str, last_modified: datetime, settings: Settings) -> tuple[date, str]:
    """The day of a recording and its source: its file name or key if they have a date, else the time of the upload."""
    started_at = _from_file_name(key, settings).get("started_at")
    if started_at:
        return started_at.date(), "file_name"
    folder_date = date_in_folders(key)
    if folder_date:
        return folder_date, "key"
    return last_modified.astimezone(ZoneInfo(settings.time_zone)).date(), "object"


def date_in_folders(key: str) -> date | None:
    """The date in folders such as ``2026-11-20/``, ``2026/11/20/``, ``20261120/`` or ``year=2026/month=11/day=20/``."""
    for match in _DATE_FOLDER.finditer(key):
        try:
            return date(int(match["y"]), int(match["m"]), int(match["d"]))
        except ValueError:
            continue
    return None


def pseudonym(kind: str, identifier: str | None, settings: Settings) -> str | None:
    """HMAC-SHA256 of a person's id with SER_PSEUDONYM_KEY (128 bits, hex), or None without a key or an id.

    ``kind`` (agent or customer) is part of the hash, so that an agent and a customer with the same id get different pseudonyms.
    """
    secret = settings.pseudonym_key.get_secret_value() if settings.pseudonym_key else ""
    if not secret or not identifier:
        return None
    return hmac.new(secret.encode(), f"{kind}:{identifier}".encode("utf-8", "surrogateescape"), "sha256").hexdigest()[:32]


def _from_file_name(key: str, settings: Settings) -> dict[str, Any]:
    match = re.search(settings.file_name_pattern, key.rpartition("/")[2])
    if not match:
        return {}
    facts = {name: value for name, value in match.groupdict().items() if name in Sidecar.model_fields and name != "channels"}
    try:
        return Sidecar.model_validate(facts).model_dump(exclude_none=True)
    except ValidationError:  # the name matches, but the date is impossible, such as a 32nd of the month
        facts.pop("started_at", None)
        try:
            return Sidecar.model_validate(facts).model_dump(exclude_none=True)
        except ValidationError:
            return {}


def _decoded(object_metadata: dict[str, str]) -> dict[str, Any]:
    subject = "The object's metadata"
    facts = _unique(subject, [(name.lower().replace("-", "_"), value) for name, value in object_metadata.items()])
    for name in ("channels", "notice_given"):
        if name in facts:
            facts[name] = _json(f"{subject}: {name}", facts[name])
    return facts


def _parse(subject: str, data: bytes) -> dict[str, Any]:
    if len(data) > SIDECAR_LIMIT_BYTES:
        raise MetadataError(f"{subject} is larger than {SIDECAR_LIMIT_BYTES} bytes: it holds more than facts of a call.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise MetadataError(f"{subject} is not UTF-8 text: save it as UTF-8. The recording is then tried again.") from None
    return _checked(subject, _json(subject, text))


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


def _checked(subject: str, facts: Any) -> dict[str, Any]:
    try:
        return Sidecar.model_validate(facts).model_dump(exclude_none=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = first["loc"][0] if first["loc"] else "the whole"  # deeper names are not shown: they may hold ids
        raise MetadataError(f"{subject} is invalid: {where}: {first['msg']}. Correct it; the recording is then tried again.") from None
