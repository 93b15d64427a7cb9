"""Times and dates as people write them."""

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_tasks.calls.times import FIRST_YEAR, LAST_YEAR, date_in_folders, in_zone, read_time, shape

NAIVE = datetime(2026, 11, 20, 14, 5)
AT_13_05 = datetime(2026, 11, 20, 13, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20T14:05:00+01:00", AT_13_05),
        ("2026-11-20 14:05:00+01", AT_13_05),
        ("2026-11-20 14:05:00 +0100", AT_13_05),
        ("2026-11-20T14:05+1", AT_13_05),
        ("20261120T140500+0100", AT_13_05),
        ("20261120T130500Z", AT_13_05),
        ("20261120T1305Z", AT_13_05),
        ("20261120130500 UTC", AT_13_05),
        ("2026-11-20t13:05:00z", AT_13_05),
        ("2026-11-20T14:05:00+01:00[Europe/Berlin]", AT_13_05),
        ("2026-11-20T14:05:00[Europe/Berlin]", AT_13_05),
        ("2026-11-20 14:05:00 Europe/Berlin", AT_13_05),
        ("2026-11-20T13:05Z[UTC]", AT_13_05),
        ("2026-11-20 14:05 GMT+1", AT_13_05),
        ("2026-11-20T05:05:00\N{MINUS SIGN}08:00", AT_13_05),
        ("Fri, 20 Nov 2026 14:05:00 +0100", AT_13_05),
        ("5 sep 2026 14:05 GMT", datetime(2026, 9, 5, 14, 5, tzinfo=UTC)),
        ("20-Nov-2026 14:05:00", NAIVE),
        ("2026-11-20T06-01-22", datetime(2026, 11, 20, 6, 1, 22)),
        ("20261120-140500", NAIVE),
        ("20261120140500", NAIVE),
        ("20261120T14:05_UTC", NAIVE.replace(tzinfo=UTC)),
        (" 2026/11/20  14:05 ", NAIVE),
        ("2026.11.20, 14:05", NAIVE),
        ("2026-9-5 9:05", datetime(2026, 9, 5, 9, 5)),
        ("2026-11-20T14:05:00.1234567", NAIVE.replace(microsecond=123456)),
        ("2026-11-20T14:05:00,5", NAIVE.replace(microsecond=500000)),
    ],
)
def test_times_that_are_read(text, expected):
    found = read_time(text)
    assert found == expected and (found.tzinfo is None) == (expected.tzinfo is None)


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "1700000000", "1700000000000", "20261120", "2026-11-20", "14:05", "2026-11-20T14", "2026-11-20T14-05"),
        *(
            "20.11.2026 14:05",
            "20 Foo 2026 14:05",
            "11/20/2026 14:05",
            "2026-11/20 14:05",
            "2026-02-30T00:00:00Z",
            "2026-11-20T24:00",
            "2026-11-20T14:61",
        ),
        *("2026-11-20T14:05:00+99:00", "2026-11-20T14:05:00[Europe/Atlantis]", "2026-11-20T14:05:00[../../etc/passwd]"),
        *("1969-12-31T23:59:59Z", "2100-01-01T00:00", "9999-12-31T23:59:59-14:00", "1970-01-01T00:00:00+14:00", "2026-11-20T14:05 CST"),
        "20 Foo 2026 14:05",
        "\u0662\u0660\u0662\u0666-11-20T14:05",
    ],
)
def test_what_is_no_time_is_not_guessed(text):
    with pytest.raises(ValueError, match="."):
        read_time(text)


moments = st.datetimes(datetime(FIRST_YEAR, 1, 2), datetime(LAST_YEAR, 12, 30))
offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(moments, st.none() | offsets, st.sampled_from("T t_"), st.sampled_from(["seconds", "milliseconds", "microseconds"]))
def test_every_iso_time_is_read_as_python_reads_it(moment, offset, between, precision):
    text = moment.replace(tzinfo=offset).isoformat(between, precision)
    assert read_time(text) == datetime.fromisoformat(text)


@given(moments, st.none() | offsets, st.sampled_from(["%Y%m%dT%H%M%S%z", "%Y%m%d%H%M%S%z", "%Y/%m/%d %H:%M:%S %z", "%Y-%m-%dT%H-%M-%S%z"]))
def test_every_other_form_is_read_as_it_was_written(moment, offset, form):
    moment = moment.replace(microsecond=0, tzinfo=offset)
    assert read_time(moment.strftime(form)) == moment


@given(st.text(max_size=40) | st.from_regex(r"[0-9TZ:+\[\]. -]{0,30}", fullmatch=True))
def test_any_text_is_a_time_in_range_or_none(text):
    try:
        moment = read_time(text)
    except ValueError:
        return
    assert FIRST_YEAR <= (moment.astimezone(UTC) if moment.tzinfo else moment).year <= LAST_YEAR


@given(moments, st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca"]))
def test_a_local_time_is_noted_exactly_where_it_is_missing_or_doubled(moment, name):
    zone = ZoneInfo(name)
    found, note = in_zone(moment, zone)
    meant = {moment.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    shown = [each for each in meant if each.astimezone(zone).replace(tzinfo=None) == moment]
    assert found in meant and (note is None) == (len(meant) == len(shown) == 1)
    assert found in shown or (not shown and note is not None and "does not exist" in note)


def test_hours_that_are_missing_or_doubled():
    berlin, lord_howe = ZoneInfo("Europe/Berlin"), ZoneInfo("Australia/Lord_Howe")
    assert in_zone(datetime(2026, 3, 29, 2, 30), berlin)[0].astimezone(berlin).hour == 3
    assert in_zone(datetime(2026, 10, 4, 2, 15), lord_howe)[1] is not None  # half an hour
    assert in_zone(datetime(2026, 3, 29, 3, 0), berlin)[1] is None
    assert "America/New_York" in in_zone(read_time("2026-11-01T01:30[America/New_York]"), berlin)[1]
    assert in_zone(read_time("2026-10-25T02:30+01:00[Europe/Berlin]"), berlin) == (datetime(2026, 10, 25, 1, 30, tzinfo=UTC), None)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("2026-11-20/a.wav", date(2026, 11, 20)),
        ("x/2026/11/20/a.wav", date(2026, 11, 20)),
        ("20261120/a.wav", date(2026, 11, 20)),
        ("202611/20/a.wav", date(2026, 11, 20)),
        ("day=2026-11-20/a.wav", date(2026, 11, 20)),
        ("year=2026/month=11/day=20/a.wav", date(2026, 11, 20)),
        ("2026/9/5/a.wav", date(2026, 9, 5)),
        ("2026-9-5/a.wav", date(2026, 9, 5)),
        ("2026_09_05/a.wav", date(2026, 9, 5)),
        ("org/year=2026/month=9/day=5/hour=7/id=ab/a.wav", date(2026, 9, 5)),
        ("Year=2026/Month=09/Day=05/a.wav", date(2026, 9, 5)),
        ("YEAR=2026/MONTH=12/DAY=31/a.wav", date(2026, 12, 31)),
        ("2026-02-31/a.wav", None),
        ("2026-11-20.wav", None),
        ("120261120/a.wav", None),
        ("2026115/a.wav", None),
        ("20269/5/a.wav", None),
        ("2026/115/a.wav", None),
        ("2026/13/5/a.wav", None),
        ("2026/9/32/a.wav", None),
        ("2026/9/a.wav", None),
    ],
)
def test_date_folders(key, expected):
    assert date_in_folders(key) == expected


@given(st.dates(date(1900, 1, 1), date(2099, 12, 31)), st.booleans(), st.sampled_from(["{}/{}/{}", "{}-{}-{}", "Year={}/Month={}/Day={}"]))
def test_every_date_is_read_from_its_folders(day, padded, form):
    month, of_month = (f"{n:02}" if padded else str(n) for n in (day.month, day.day))
    assert date_in_folders(f"calls/{form.format(day.year, month, of_month)}/7.wav") == day


def test_a_shape_tells_no_letter_or_digit():
    assert shape("Zoë 0170/4711") == "xxx 9999/9999"
    assert shape("\n" + "4" * 60) == "?" + "9" * 39 + "..."
