"""Start times and dates as people and their systems write them."""

import re
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

FIRST_YEAR, LAST_YEAR = 1970, 2099
"""Start times outside these years come from a clock that was never set."""
LARGEST_OFFSET = timedelta(hours=15)

_TIME = re.compile(
    r"""(?:(?P<year>\d{4})(?P<between>[-/.])(?P<month>\d\d?)(?P=between)(?P<day>\d\d?) | (?P<date>\d{8}))
    (?:[Tt]|[ ,_]{1,2}|-(?=\d{6}(?!\d))|(?<=\d{8})(?=\d{6}(?!\d)))
    (?:(?P<hour>\d\d?)(?P<colon>[:-])(?P<minute>\d\d)(?:(?P=colon)(?P<second>\d\d))? | (?P<clock>\d{4}(?:\d\d)?))
    (?:(?<=\d\d)[.,](?P<fraction>\d{1,9}))?
    [ _]*(?P<offset>[Zz]|(?:UTC|GMT)?[+-]\d{1,2}(?::?\d\d){0,2}|UTC|GMT)?
    (?:[ ]*\[(?P<zone>[A-Za-z][\w+/-]*)\] | [ ](?P<bare_zone>[A-Za-z]\w*/[\w+/-]+))?""",
    re.VERBOSE | re.ASCII,
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MAIL_DATE = re.compile(
    rf"^(?:[a-z]{{3}},? )?(?P<day>\d\d?)[ -](?P<month>{'|'.join(_MONTHS)})[ -](?P<year>\d{{4}}),? ", re.IGNORECASE | re.ASCII
)
_FOLDER = r"(?:[-_.]|/(?:[a-z_-]+=)?)"
_DATE_FOLDER = re.compile(
    rf"""(?:^|/)(?:[a-z_-]+=)?(?P<year>(?:19|20)\d\d)
    (?:{_FOLDER}(?P<month>0[1-9]|1[0-2]|[1-9](?!\d)) | (?P<joined_month>0[1-9]|1[0-2]))
    (?:{_FOLDER}(?P<day>0[1-9]|[12]\d|3[01]|[1-9](?!\d)) | (?P<joined_day>0[1-9]|[12]\d|3[01]))
    (?=/)""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


def read_time(text: str) -> datetime:
    """The time that a text says: ISO 8601, extended or basic, and what databases and programs write in its place.

    A space, a comma or an underscore for the T; slashes or dots in the date; dashes in the clock time (file names); offsets such as
    ``+01``, `` +0100``, ``UTC+1``; a zone as Java writes it, ``[Europe/Berlin]``, which counts where no offset is given; dates of mail
    (``Fri, 20 Nov 2026 14:05:00 +0100``). Without offset and zone the result is naive. Raises ValueError for anything else, and outside
    FIRST_YEAR to LAST_YEAR. The order of day and month is never guessed, and a number of seconds is no time.
    """
    text = " ".join(text.replace("\N{MINUS SIGN}", "-").split())
    match = _TIME.fullmatch(_MAIL_DATE.sub(lambda mail: f"{mail['year']}-{_MONTHS.index(mail['month'].title()) + 1}-{mail['day']} ", text))
    if not match or (match["colon"] == "-" and not match["second"]):
        raise ValueError("it is not written as a time with a date")
    day = match["date"] or f"{match['year']}{match['month']:0>2}{match['day']:0>2}"
    clock = match["clock"] or f"{match['hour']:0>2}{match['minute']}{match['second'] or ''}"
    try:
        moment = datetime.strptime(f"{day} {clock:0<6}", "%Y%m%d %H%M%S")
    except ValueError:
        raise ValueError("the calendar or the clock has no such time") from None
    moment = moment.replace(microsecond=int(f"{match['fraction'] or '':0<6}"[:6]))
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError(f"the year {moment.year} is not between {FIRST_YEAR} and {LAST_YEAR}")
    zone = match["zone"] or match["bare_zone"]
    if match["offset"]:
        return _in_years(moment.replace(tzinfo=_offset(match["offset"])))
    return _in_years(moment.replace(tzinfo=_zone(zone))) if zone else moment


def in_zone(moment: datetime, zone: ZoneInfo) -> tuple[datetime, str | None]:
    """A local time of a zone in UTC, and a note where the clock was changed: then the hour is doubled, or missing.

    ``zone`` counts where the time has neither offset nor zone of its own. Of a doubled hour the first is taken; a time in a missing hour
    is read as if the clock had not been changed.
    """
    if isinstance(moment.tzinfo, ZoneInfo):
        zone, moment = moment.tzinfo, moment.replace(tzinfo=None)
    if moment.tzinfo:
        return moment.astimezone(UTC), None
    first, second = (moment.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    result = first.astimezone(UTC)
    local = result.astimezone(zone)
    if local.replace(tzinfo=None) != moment:
        return result, f"{moment:%H:%M} does not exist on {moment:%Y-%m-%d} in {zone.key}: read as {local:%H:%M}"
    if first.utcoffset() != second.utcoffset():
        return result, f"{moment:%H:%M} occurs twice on {moment:%Y-%m-%d} in {zone.key}: the first is taken; write the offset"
    return result, None


def date_in_folders(key: str) -> date | None:
    """The date in folders such as ``2026-11-20/``, ``2026/9/5/``, ``20261120/`` or ``Year=2026/Month=9/Day=5/``."""
    for match in _DATE_FOLDER.finditer(key):
        try:
            return date(int(match["year"]), int(match["month"] or match["joined_month"]), int(match["day"] or match["joined_day"]))
        except ValueError:
            continue
    return None


def shape(text: str) -> str:
    """What a text looks like, without what it says: digits as 9, letters as x, and at most 40 characters."""
    characters = ("9" if c.isdigit() else "x" if c.isalpha() else c if c.isprintable() else "?" for c in text[:40])
    return "".join(characters) + ("..." if len(text) > 40 else "")


def _offset(text: str) -> timezone:
    sign = -1 if "-" in text else 1
    digits = re.sub(r"\D", "", text)
    if len(digits) % 2:
        digits = f"0{digits}"
    hours, minutes, seconds = (int(digits[first : first + 2] or 0) for first in (0, 2, 4))
    offset = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if offset > LARGEST_OFFSET or minutes > 59 or seconds > 59:
        raise ValueError(f"{text} is not an offset from UTC")
    return timezone(sign * offset)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except Exception:
        raise ValueError("its time zone is not known") from None


def _in_years(moment: datetime) -> datetime:
    """Checks an aware time, whose year in UTC may be another: pyarrow and DuckDB store it in UTC."""
    year = moment.astimezone(UTC).year
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise ValueError(f"the year {year} is not between {FIRST_YEAR} and {LAST_YEAR}")
    return moment
