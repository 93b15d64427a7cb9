"""The overview, on the planted year of making_year.py: what it says of the stories, and that each figure is that of its SQL."""

import csv
import html
import io
import math
import re
from datetime import timedelta
from urllib.parse import quote, urlencode

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from flows.cli import app as cli
from ser_tasks.dashboard import weekly
from ser_tasks.dashboard.app import create_app
from ser_tasks.dashboard.queries import OVERVIEW, QUERIES
from ser_tasks.dashboard.snapshot import Snapshot
from ser_tasks.dashboard.viewers import OWNER
from ser_tasks.dashboard.words import OUTCOMES
from ser_tasks.settings import Settings
from tests.factories.lakes import Call, good_calls, segment, write_calls
from tests.factories.year import ANGRY_FROM, ANGRY_QUEUE, CODEC_FROM, CODEC_QUEUE, MISSING_NIGHT, QUEUES, read_once

AROUND_ANGER = {"first": ANGRY_FROM - timedelta(days=7), "last": ANGRY_FROM + timedelta(days=13)}
AROUND_CODEC = {"first": CODEC_FROM - timedelta(days=7), "last": CODEC_FROM + timedelta(days=13)}
HOSTILE = ["' OR 1=1 --", "'; DROP TABLE copy.call_emotions; --", "$last", "\\", '"; SELECT 1', "a'b''c", "<script>", "ü\u202e"]
NAMES = ["=HYPERLINK(1)", "<img src=x onerror=alert(1)>", 'a,b\n"c', "x" * 400, "it's; --"]
"""Queues that somebody outside could have named."""


def browser(lake):
    return TestClient(create_app(str(lake), settings=Settings()), base_url="http://127.0.0.1", client=("127.0.0.1", 50000))


@pytest.fixture(scope="module")
def year(planted_year):
    return planted_year


@pytest.fixture(scope="module")
def page(year):
    return browser(year)


@pytest.fixture(scope="module")
def lake_itself(year):
    with read_once(year) as connection:
        yield connection


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A lake of one day, with queues of all sorts of names."""
    lake = str(tmp_path_factory.mktemp("small"))
    spoken = [segment(0, 4, (0.1, 0.8, 0.05, 0.05))]
    write_calls(lake, good_calls())
    write_calls(lake, [Call(f"n{n}", spoken, queue=name, chunk="c9") for n, name in enumerate(NAMES)])
    return lake


@pytest.fixture(scope="module")
def small_page(small):
    return browser(small)


def overview(page, **query):
    answer = page.get("/?" + urlencode(query, doseq=True))
    assert answer.status_code == 200
    return answer.text


def section(text, id_):
    """A section of the page by the id of its heading."""
    [found] = re.findall(rf'<section aria-labelledby="{id_}".*?</section>', text, re.DOTALL)
    return found


def rows(part):
    """The rows of a section's table, each as words without markup."""
    found = [" ".join(html.unescape(re.sub(r"<[^>]*>", " ", row)).split()) for row in re.findall(r"<tr.*?</tr>", part, re.DOTALL)]
    return found[1:]


def words(part):
    """The words of a part of a page."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", part)).split()).replace(" :", ":").replace(" ,", ",")


def statement(text):
    """The statement on a page of SQL."""
    return html.unescape(re.search(r"<h2>Statement</h2>\s*<pre[^>]*><code>(.*?)</code>", text, re.DOTALL)[1])


def csv_rows(page, name, **query):
    """The rows of a query's CSV."""
    answer = page.get(f"/csv/{name}?" + urlencode(query, doseq=True))
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))


def same(text, value):
    """Whether a CSV's text is this value of a DuckDB row."""
    if value is None or isinstance(value, float) and math.isnan(value):
        return text == ""
    return math.isclose(float(text), value, rel_tol=1e-9, abs_tol=1e-12) if isinstance(value, float) else text.lower() == str(value).lower()


# The stories


@pytest.mark.parametrize("period", [AROUND_ANGER, {"first": "2025-01-01", "last": "2025-12-31"}], ids=["three weeks", "the year"])
def test_the_queue_that_turned_angry_comes_first(page, period):
    text = overview(page, **period)
    [news] = re.findall(r"<li.*?</li>", section(text, "today").partition("<h2")[0], re.DOTALL)
    assert words(news).startswith(f"▲ {ANGRY_QUEUE}: angrier since 21 July (anger in ")
    assert text.index('id="today"') < text.index('id="period"') and csv_rows(page, "news", **period)[0]["queue"] == ANGRY_QUEUE
    earlier, *_ = csv_rows(page, "earlier_changes", **period)
    assert (earlier["queue"], earlier["week"], earlier["verdict"]) == (ANGRY_QUEUE, str(ANGRY_FROM), "rose")
    assert f"{ANGRY_QUEUE}, week of 21 July 2025: anger" in words(section(text, "queues"))


def test_queues_are_compared_in_one_week(page):
    week = {"first": ANGRY_FROM, "last": ANGRY_FROM + timedelta(days=6)}
    part = section(overview(page, **week), "queues")
    assert "The week from 21 July to 27 July is compared with the week before." in part
    first, *others = rows(part)
    assert first.startswith(ANGRY_QUEUE) and first.endswith("▲ rose") and len(others) == len(QUEUES) - 1
    for period in (week, {"first": "2025-01-01", "last": "2025-12-31"}):
        assert len({row["week"] for row in csv_rows(page, "queues", **period)}) == 1


def test_a_queue_that_stays_angry_is_told_where_the_period_holds_the_week(page):
    period = {"first": ANGRY_FROM - timedelta(days=60), "last": ANGRY_FROM + timedelta(days=60)}
    [told] = re.findall(r"<li.*?</li>", section(overview(page, **period), "turns"), re.DOTALL)
    told = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", told)).split())
    assert told.startswith(f"▲ {ANGRY_QUEUE} has sounded angrier since about the week of 21 July 2025: anger ")
    assert "stayed so" in section(overview(page, **AROUND_CODEC), "turns")


def test_the_weekly_page_a_month_later_tells_since_when(year):
    made = weekly.make(Snapshot(str(year)), OWNER, ANGRY_FROM + timedelta(days=28))
    assert f"{ANGRY_QUEUE}: angrier since about the week of {ANGRY_FROM}, anger " in made.text
    assert "has sounded angrier since" in section(made.html, "turns")


def test_on_its_first_angry_day_the_queue_lies_above_its_usual_range(page):
    text = section(overview(page, first=ANGRY_FROM - timedelta(days=6), last=ANGRY_FROM), "latest")
    first, *_ = rows(text)
    assert first.startswith(ANGRY_QUEUE) and first.endswith("▲ above usual") and "<b>1 of " in text
    assert '<details class="fold" open>' in text


def test_a_change_of_codec_is_not_told_as_anger(page):
    week = {"first": CODEC_FROM, "last": CODEC_FROM + timedelta(days=6)}
    [told] = [row for row in rows(section(overview(page, **week), "queues")) if row.startswith(CODEC_QUEUE)]
    assert "rose" not in told
    assert CODEC_QUEUE not in {row["queue"] for row in csv_rows(page, "news") + csv_rows(page, "earlier_changes", **AROUND_CODEC)}
    for days in range(7):
        latest = CODEC_FROM + timedelta(days=days)
        [day] = csv_rows(page, "latest_day", first=latest, last=latest, queue=CODEC_QUEUE)
        assert (day["call_date"], day["outside"]) == (str(latest), "usual")


def test_the_other_codec_is_shown_as_less_sure_and_noisier(page):
    by_codec = {row["codec"]: row for row in csv_rows(page, "sources", **AROUND_CODEC, queue=CODEC_QUEUE)}
    assert float(by_codec["GSM610"]["share_unsure_low"]) > float(by_codec["ULAW"]["share_unsure_high"])
    assert float(by_codec["GSM610"]["mean_snr_db"]) < float(by_codec["ULAW"]["mean_snr_db"]) - 5


def test_the_missing_night_is_named_and_what_was_not_scored(page):
    part = section(overview(page, first="2025-11-01", last="2025-11-30"), "health")
    assert f"Missing: {MISSING_NIGHT}." in part
    told = rows(part)
    assert told[0].startswith("scored ") and "no speech to score : no caller speaks Details no_speech: no_speech" in told[1]
    assert [row.split(",")[0] for row in told if row.endswith(" dB")] == ["ULAW", "GSM610"]
    ended = csv_rows(page, "not_scored", first="2025-11-01", last="2025-11-30")
    assert math.isclose(sum(float(row["share_of_recordings"]) for row in ended), 1)
    assert {row["reason_code"] for row in ended} == {"", "no_speech", "notice_missing", "not_audio"}


# Each figure and its SQL


@pytest.mark.parametrize("name", QUERIES)
def test_the_statement_that_is_shown_makes_the_rows_of_the_csv(page, lake_itself, name):
    """It is run over the lake's own parts, as `ser sql` does: not over the dashboard's copy."""
    query = (
        AROUND_ANGER
        if name in ("nights", "totals", "turns", "news", "earlier_changes", "to_hear")
        else {**AROUND_CODEC, "queue": ["returns", "sales"]}
    )
    shown = page.get(f"/sql/{name}?" + urlencode(query, doseq=True))
    assert shown.status_code == 200
    wanted = lake_itself.execute(statement(shown.text)).to_arrow_table().to_pylist()
    found = csv_rows(page, name, **query)
    assert (wanted or name == "open_alerts") and len(found) == len(wanted)
    for row, other in zip(found, wanted, strict=True):
        assert row.keys() == other.keys()
        assert [(key, row[key], other[key]) for key in row if not same(row[key], other[key])] == []


def test_the_tiles_say_what_the_totals_are(page):
    [totals] = csv_rows(page, "totals", **AROUND_ANGER)
    tiles = dict(re.findall(r"<dt>([^<]*)</dt><dd>(.*?)</dd>", section(overview(page, **AROUND_ANGER), "period")))
    shown = {name: re.sub("<[^>]*>", "", tile) for name, tile in tiles.items()}
    assert shown == {
        "Calls": f"{int(totals['calls']):,}",
        "Scored": f"{int(totals['scored']):,}",
        "Anger": f"{100 * float(totals['share_anger']):.1f} %",
        "Negative emotions": f"{100 * float(totals['share_negative']):.1f} %",
        "Not sure": f"{100 * float(totals['share_unsure']):.1f} %",
        "Escalated": f"{int(totals['escalated']) - int(totals['deescalated']):+d}",
    }


def test_each_number_leads_to_its_calls(page):
    text = overview(page, **AROUND_ANGER)
    [totals] = csv_rows(page, "totals", **AROUND_ANGER)
    tiles = re.findall(r'<dt>([^<]*)</dt><dd>(?:[+-]\d+</dd><dd class="note">)?<a href="([^"]*)"', section(text, "period"))
    calls = {"Calls": "calls", "Escalated": "escalated"}
    wanted = [(html.unescape(link), totals[calls.get(name, "scored")]) for name, link in tiles]
    assert len(wanted) == 6
    queues = csv_rows(page, "queues", **AROUND_ANGER)
    wanted += [(_link(section(text, "queues"), row["queue"]), row["calls"]) for row in queues]
    latest = csv_rows(page, "latest_day", **AROUND_ANGER)
    wanted += [(_link(section(text, "latest"), row["queue"]), row["calls"]) for row in latest]
    ended = [row for row in csv_rows(page, "not_scored", **AROUND_ANGER) if row["outcome"] not in ("quarantined", "failed")]
    wanted += [(_link(section(text, "health"), OUTCOMES[row["outcome"]]), row["recordings"]) for row in ended]
    cells = csv_rows(page, "hours", **AROUND_ANGER)
    links = [html.unescape(link) for link in re.findall(r'<td class="(?:level-\d|few)"><a href="([^"]*)"', section(text, "hours"))]
    assert len(links) == len(cells)
    for cell in cells[::60]:
        [link] = [link for link in links if f"weekday={cell['weekday']}&hour={cell['hour']}&" in link]
        wanted.append((link, cell["calls"]))
    for link, number in wanted:
        listed = page.get(link).text
        assert re.search(r"<p>([\d,]+) calls?, ", listed)[1] == f"{int(number):,}", link


def _link(part, name):
    link, *_ = re.findall(rf'<a href="(/calls[^"]*)"[^>]*>(?:<span[^>]*>)?{name}<', part)
    return html.unescape(link)


def test_every_section_leads_to_its_sql_and_its_csv_for_the_same_filters(page):
    text = overview(page, **AROUND_ANGER, queue="billing")
    for name in OVERVIEW:
        query = f"{name}?first={AROUND_ANGER['first']}&amp;last={AROUND_ANGER['last']}&amp;queue=billing"
        assert f'href="/sql/{query}"' in text and f'href="/csv/{query}"' in text


def test_the_statement_runs_in_ser_sql_as_it_stands(small, small_page, tmp_path):
    for name in ("totals", "not_scored"):
        file = tmp_path / f"{name}.sql"
        file.write_text(statement(small_page.get(f"/sql/{name}?queue={quote(NAMES[-1])}").text))
        answer = CliRunner().invoke(cli, ["sql", "--lake", small, "--file", str(file), "--format", "csv"])
        assert answer.exit_code == 0, answer.output
        shown = small_page.get(f"/csv/{name}?queue={quote(NAMES[-1])}").text.removeprefix("\ufeff")
        assert answer.stdout.strip().splitlines() == shown.strip().splitlines() != []


def test_views_are_shown_with_a_statement_that_runs(page, lake_itself):
    for view in ("week_on_week", "call_emotions", "queue_days_against_usual"):
        assert lake_itself.execute(statement(page.get(f"/sql/{view}").text)).fetchall()


# The address


def test_a_queue_in_the_address_narrows_every_figure(page):
    [everything], [one], [two] = (
        csv_rows(page, "totals", **AROUND_ANGER, **more) for more in ({}, {"queue": "billing"}, {"queue": ["billing", "sales"]})
    )
    [sales] = csv_rows(page, "totals", **AROUND_ANGER, queue="sales")
    assert int(one["calls"]) + int(sales["calls"]) == int(two["calls"]) < int(everything["calls"])
    text = overview(page, **AROUND_ANGER, queue="billing")
    assert [row.split()[0] for row in rows(section(text, "queues"))] == ["billing"]
    assert re.findall(r'name="queue" value="([^"]*)" checked', text) == ["billing"]


def test_nothing_of_an_address_becomes_sql(page):
    """Hostile queues are names that no call has: each is refused as such, on every page, and shown as text."""
    for queue in (*HOSTILE, "\x00 OR 1=1"):
        for path in ("/", "/sql/not_scored", "/csv/totals", "/queues", "/calls"):
            answer = page.get(f"{path}?" + urlencode({**AROUND_ANGER, "queue": ["billing", queue]}, doseq=True))
            assert answer.status_code == 400 and "No call has the queue" in answer.text, (path, queue)
            assert "<script>" not in answer.text
    assert csv_rows(page, "totals", **AROUND_ANGER)[0]["calls"] != "0"


@pytest.mark.parametrize("name", ["nothing", "call_emotions; DROP TABLE x", "read_text('x')", "..%2f..%2fetc%2fpasswd", "parts.outcomes"])
def test_only_known_questions_and_views_are_answered(page, name):
    assert page.get(f"/sql/{quote(name, safe='%')}").status_code == 404
    assert page.get(f"/csv/{quote(name, safe='%')}").status_code == 404
    assert page.get("/csv/call_emotions").status_code == 404


def test_a_period_without_calls_says_so(page):
    assert "There are no calls in this period" in overview(page, first="2020-01-01", last="2020-01-31")


def test_hostile_names_are_text_and_no_formula_in_a_spreadsheet(small_page):
    assert "<img" not in overview(small_page)
    assert sorted(row["queue"] for row in csv_rows(small_page, "latest_day", queue=NAMES)) == sorted(["'=HYPERLINK(1)", *NAMES[1:]])


def test_few_days_are_not_called_usual(small_page):
    text = section(overview(small_page), "latest")
    assert "There are too few earlier days for a usual range." in text and "unknown: only 0 earlier days" in text
    assert "0.0 to 100.0" not in text


def test_the_note_on_what_the_model_cannot_tell_is_on_every_overview(page, small_page):
    for text in (overview(small_page), overview(page, first="2020-01-01", last="2020-01-31")):
        part = section(text, "limits")
        assert "Limits of these figures" in part and "emotions of people at work are hidden here" in part and "about 5 in 10" in part


def test_the_trend_says_where_a_line_has_another_profile(page):
    part = section(overview(page, **AROUND_CODEC), "time")
    assert f"From the week of {CODEC_FROM}, calls of the line <code>all</code> are standardised by another line profile" in part
    assert "No line changed its profile in this period." in section(overview(page, **AROUND_ANGER), "time")
