"""What readers share: fields of a JSON document in their types, and times in all spellings. All raise TranscriptError."""

import math
import re
from typing import Any

from ser_tasks.transcripts.transcript import TranscriptError

LONGEST_S = 7 * 24 * 3600.0
"""No time in a transcript lies later: ticks or milliseconds read as seconds do."""

BEYOND = 1e300
LONGEST_TEXT = 40
"""Characters of a time."""

_CLOCK = re.compile(r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2}(?:[.,]\d{1,9})?)")
_ISO = re.compile(r"P(?:(\d+(?:[.,]\d+)?)D)?(?:T(?:(\d+(?:[.,]\d+)?)H)?(?:(\d+(?:[.,]\d+)?)M)?(?:(\d+(?:[.,]\d+)?)S)?)?", re.IGNORECASE)
_NUMBER = re.compile(r"([+-]?\d+(?:[.,]\d+)?(?:e[+-]?\d+)?)\s*(s|ms)?", re.IGNORECASE)
_SHOWN = re.compile(r"[-+0-9.,:PTDHMSpthms ]{1,24}")


def seconds(value: Any, field: str, unit_s: float = 1.0) -> float:
    """A time in seconds: a number of units, ``"1.2"``, ``"1.200s"``, ``PT1.2S``, ``00:00:01.200``, or seconds and nanos.

    ``unit_s`` is the unit of plain numbers, 0.001 for milliseconds.
    """
    found = _seconds(value, unit_s)
    if found is None or not math.isfinite(found) or found < 0 or found > LONGEST_S:
        raise TranscriptError(
            f"{field} is {shown(value)}: a time is a number from 0 to {LONGEST_S:.0f} s, or text such as 1.200s, PT1.2S or 00:00:01.200. "
            "Export the transcript again."
        )
    return round(found, 6)


def maybe_seconds(record: dict[str, Any], field: str, unit_s: float = 1.0) -> float | None:
    """A field's time, or None where there is none: of words it may be missing."""
    value = record.get(field)
    return None if value is None or value == "" else seconds(value, field, unit_s)


def ordered(start_s: float, end_s: float, field: str) -> tuple[float, float]:
    """Both times. Raises TranscriptError where the end lies before the start."""
    if end_s < start_s:
        raise TranscriptError(f"{field} ends at {end_s:g} s and starts at {start_s:g} s: it must end later. Export the transcript again.")
    return start_s, end_s


def record(value: Any, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TranscriptError(f"{field} is {shown(value)}: it must be a JSON object. Export the transcript again.")
    return value


def records(value: Any, field: str) -> list[dict[str, Any]]:
    """A list of objects; null is an empty one."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise TranscriptError(f"{field} is {shown(value)}: it must be a list of JSON objects. Export the transcript again.")
    return [record(each, field) for each in value]


def text(value: Any, field: str) -> str:
    """Text; null is empty, and a number is its digits."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TranscriptError(f"{field} is {shown(value)}: it must be text. Export the transcript again.")
    return str(value)


def label(value: Any) -> str | None:
    """A speaker's label, text or a number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip()[:100] or None


def number(value: Any) -> int | None:
    """A channel's number, also as ``"0"`` or ``ch_0``; None for anything else."""
    if isinstance(value, str) and (match := re.fullmatch(r"(?:ch(?:annel)?[ _-]?)?(\d{1,3})", value.strip(), re.IGNORECASE)):
        return int(match[1])
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in range(1000):
        return None
    return int(value)


def ranges(value: Any, field: str = "redact") -> tuple[tuple[float, float], ...]:
    """Ranges that nobody may hear, as ``[[12.4, 31.0]]``, in order; null is none."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, list) and len(each) == 2 for each in value):
        raise TranscriptError(f"{field} is no list of ranges: write seconds, as [[12.4, 31.0]].")
    return tuple(sorted(ordered(seconds(start, field), seconds(end, field), field) for start, end in value))


def shown(value: Any) -> str:
    """A value as a message may show it: numbers and times as they are, of anything else its type alone, as it may hold what was said."""
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:g}" if abs(value) < BEYOND else "a number that is too large"
    if isinstance(value, str):
        return value if _SHOWN.fullmatch(value) else f"a text of {len(value)} characters"
    return "an object" if isinstance(value, dict) else "a list"


def _seconds(value: Any, unit_s: float) -> float | None:
    if isinstance(value, dict):  # a protobuf Duration, without the fields that are 0
        whole, rest = _seconds(value.get("seconds", 0), 1.0), _seconds(value.get("nanos", 0), 1e-9)
        return None if whole is None or rest is None else whole + rest
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) * unit_s if abs(value) < BEYOND else None
    return _written_seconds(value.strip(), unit_s) if isinstance(value, str) and len(value) <= LONGEST_TEXT else None


def _written_seconds(written: str, unit_s: float) -> float | None:
    if match := _NUMBER.fullmatch(written):
        unit = {"s": 1.0, "ms": 0.001}.get((match[2] or "").lower(), unit_s)
        return float(match[1].replace(",", ".")) * unit
    if match := _CLOCK.fullmatch(written):
        return int(match[1] or 0) * 3600 + int(match[2]) * 60 + float(match[3].replace(",", "."))
    if (match := _ISO.fullmatch(written)) and any(match.groups()):
        parts_s = (float((part or "0").replace(",", ".")) for part in match.groups())
        return sum(part * scale for part, scale in zip(parts_s, (86_400, 3_600, 60, 1), strict=True))
    return None
