"""What is known about a call besides its sound, and where each fact comes from.

The order of trust: the sidecar ``<stem>.json``, named groups of the file-name pattern, the key's date folder, the
object's own metadata. A fact that nobody states stays unknown; a start time is never guessed.
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

from ser_tasks.schemas import ROLES
from ser_tasks.settings import Settings

SIDECAR_LIMIT_BYTES = 1 << 20
FIRST_YEAR, LAST_YEAR = 1970, 2099
"""Start times outside are a clock that was never set."""
PERSON_FACTS = ("agent_id", "customer_id")

_DATE_FOLDER = re.compile(
    r"(?:^|/)(?:[a-z_]+=)?(?P<y>(?:19|20)\d\d)(?:-|/(?:[a-z_]+=)?|)(?P<m>0[1-9]|1[0-2])(?:-|/(?:[a-z_]+=)?|)(?P<d>0[1-9]|[12]\d|3[01])(?=/)"
)
_CHANNEL = re.compile(r"0|[1-9][0-9]{0,2}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}")
_CLOCK_WITH_DASHES = re.compile(r"T(\d\d)-(\d\d)-(\d\d)")


class MetadataError(ValueError):
    """A sidecar or an object's metadata that can't be believed. The recording waits for a better one."""


Text = Annotated[str, StringConstraints(max_length=500, strip_whitespace=True)]


def _role(value: Any) -> Any:
    return (value.lower() if value.lower() in ROLES else "unknown") if isinstance(value, str) else value


def _moment(value: Any) -> Any:
    """Only a date with a time: pydantic alone would take "20261120" for seconds since 1970."""
    text = _CLOCK_WITH_DASHES.sub(r"T\1:\2:\3", value) if isinstance(value, str) else ""
    if value is not None and not _TIME.match(text):
        raise ValueError("write an ISO 8601 time such as 2026-11-20T14:05:00+00:00")
    return None if value is None else text


def _in_range(moment: datetime | None) -> datetime | None:
    if moment is not None and not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError(f"the year {moment.year} is not between {FIRST_YEAR} and {LAST_YEAR}")
    return moment


def _channel_numbers(value: Any) -> Any:
    """Each channel once: "0" and "00" would be the same one."""
    if isinstance(value, dict) and not all(isinstance(name, str) and _CHANNEL.fullmatch(name) for name in value):
        raise ValueError('number the channels "0", "1" and so on')
    return value


class Sidecar(BaseModel):
    """The facts that a sidecar may hold; others are ignored. Types are checked, lengths are bounded."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    call_id: Text | None = None
    started_at: Annotated[datetime | None, BeforeValidator(_moment), AfterValidator(_in_range)] = None
    agent_id: Text | None = None
    customer_id: Text | None = None
    queue: Text | None = None
    language: Text | None = None
    notice_given: StrictBool | None = None
    channels: Annotated[dict[int, Annotated[str, BeforeValidator(_role)]] | None, BeforeValidator(_channel_numbers)] = None


@dataclass(frozen=True)
class CallMetadata:
    """Known facts by name, and for each the source that stated it: sidecar, file_name, key or object."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        return self.values.get(name)


def call_metadata(key: str, sidecar: bytes | None, metadata: dict[str, str], settings: Settings) -> CallMetadata:
    """The facts of the recording at ``key``, each from the first source that states it.

    Raises MetadataError where the sidecar or the metadata breaks a rule: who may be scored can't be read from it.
    """
    stated: list[tuple[str, dict[str, Any]]] = [
        ("sidecar", _parse("The sidecar", sidecar) if sidecar is not None else {}),
        ("file_name", _from_file_name(key, settings)),
        ("key", {"call_date": date_in_folders(key)}),
        ("object", _checked("The object's metadata", _decoded(metadata)) if metadata else {}),
    ]
    zone = ZoneInfo(settings.time_zone)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, facts in stated:
        if facts.get("started_at"):
            moment = facts["started_at"]
            moment = facts["started_at"] = moment if moment.tzinfo else moment.replace(tzinfo=zone)
            facts.setdefault("call_date", moment.astimezone(zone).date())
        for name, value in facts.items():
            if value not in (None, "") and name not in values:
                values[name], sources[name] = value, source
    if "call_id" not in values:
        values["call_id"], sources["call_id"] = str(PurePosixPath(masked_key(key, settings)).with_suffix("")), "key"
    return CallMetadata(values, sources)


def masked_key(key: str, settings: Settings) -> str:
    """The key as the lake may hold it: ids of people that the file-name pattern finds are written as ``~``."""
    folder, slash, name = key.rpartition("/")
    found = re.search(settings.file_name_pattern, name)
    if found:
        spans = sorted(found.span(fact) for fact in PERSON_FACTS if fact in found.groupdict() and found.group(fact))
        for start, end in reversed(spans):
            name = name[:start] + "~" + name[end:]
    return (folder + slash + name).encode("utf-8", "backslashreplace").decode()


def recording_id(key: str) -> str:
    """Identity of a recording in its store: the first 128 bits of the key's SHA-256, in hex."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def day_of(key: str, last_modified: datetime, settings: Settings) -> tuple[date, str]:
    """The day folder of a recording, from its key alone where that says one, and where the day comes from."""
    started_at = _from_file_name(key, settings).get("started_at")
    if started_at:
        return started_at.date(), "file_name"
    folder_date = date_in_folders(key)
    if folder_date:
        return folder_date, "key"
    return last_modified.astimezone(ZoneInfo(settings.time_zone)).date(), "object"


def date_in_folders(key: str) -> date | None:
    """The date in folders such as ``2026-11-20/``, ``2026/11/20/``, ``20261120/`` or ``year=2026/month=11/day=20/``."""
    for found in _DATE_FOLDER.finditer(key):
        try:
            return date(int(found["y"]), int(found["m"]), int(found["d"]))
        except ValueError:
            continue
    return None


def pseudonym(kind: str, identifier: str | None, settings: Settings) -> str | None:
    """HMAC-SHA256 of a person's id under SER_PSEUDONYM_KEY (128 bits, hex), null without key or id.

    ``kind`` (agent or customer) is hashed along, so that equal ids of different people stay apart.
    """
    secret = settings.pseudonym_key.get_secret_value() if settings.pseudonym_key else ""
    if not secret or not identifier:
        return None
    return hmac.new(secret.encode(), f"{kind}:{identifier}".encode("utf-8", "surrogateescape"), "sha256").hexdigest()[:32]


def _from_file_name(key: str, settings: Settings) -> dict[str, Any]:
    found = re.search(settings.file_name_pattern, key.rpartition("/")[2])
    if not found:
        return {}
    facts = {name: value for name, value in found.groupdict().items() if name in Sidecar.model_fields and name != "channels"}
    try:
        return Sidecar.model_validate(facts).model_dump(exclude_none=True)
    except ValidationError:  # a name that only looks like the pattern, such as a 32nd of the month: no fact
        facts.pop("started_at", None)
        try:
            return Sidecar.model_validate(facts).model_dump(exclude_none=True)
        except ValidationError:
            return {}


def _decoded(metadata: dict[str, str]) -> dict[str, Any]:
    what = "The object's metadata"
    facts = _stated_once(what, [(name.lower().replace("-", "_"), value) for name, value in metadata.items()])
    for name in ("channels", "notice_given"):
        if name in facts:
            facts[name] = _json(f"{what}: {name}", facts[name])
    return facts


def _parse(what: str, data: bytes) -> dict[str, Any]:
    if len(data) > SIDECAR_LIMIT_BYTES:
        raise MetadataError(f"{what} is larger than {SIDECAR_LIMIT_BYTES} bytes: it holds more than facts of a call.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise MetadataError(f"{what} is not UTF-8 text: save it as UTF-8. The recording is then tried again.") from None
    return _checked(what, _json(what, text))


def _json(what: str, text: str) -> Any:
    """JSON in which every number stays the text that it is written as, and no name comes twice."""

    def no_number(constant: str) -> None:
        raise ValueError(f"{constant} is no number")

    try:
        return json.loads(
            text, object_pairs_hook=lambda pairs: _stated_once(what, pairs), parse_int=str, parse_float=str, parse_constant=no_number
        )
    except MetadataError:
        raise
    except RecursionError:
        raise MetadataError(f"{what} is nested too deeply: it holds more than facts of a call.") from None
    except ValueError as error:
        raise MetadataError(f"{what} is no JSON: {error}. Correct it; the recording is then tried again.") from None


def _stated_once(what: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    facts = dict(pairs)
    if len(facts) < len(pairs):
        raise MetadataError(f"{what} can't be believed: it states something twice. Correct it; the recording is then tried again.")
    return facts


def _checked(what: str, facts: Any) -> dict[str, Any]:
    try:
        return Sidecar.model_validate(facts).model_dump(exclude_none=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = first["loc"][0] if first["loc"] else "the whole"  # deeper names are not ours: they may hold ids
        raise MetadataError(f"{what} can't be believed: {where}: {first['msg']}. Correct it; the recording is then tried again.") from None
