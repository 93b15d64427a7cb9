"""The pages of queues and of lists: ranked, side by side, against the period before, and searches by length, silence and caller."""

import html
import re
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from ser_tasks.dashboard import charts
from ser_tasks.dashboard.app import create_app
from ser_tasks.settings import Settings
from tests.factories.lakes import DAY, Call, segment, write_calls

ANGRY, NEUTRAL = (0.9, 0.0, 0.1, 0.0), (0.05, 0.05, 0.85, 0.05)


def words(part):
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", part)).split())


def calls_of(queue, day, angry, calm, **facts):
    made = []
    for number in range(angry + calm):
        chunk = re.sub(r"\W", "", f"{queue}{day}")
        spoken = [segment(0, 12, ANGRY if number < angry else NEUTRAL)]
        made.append(Call(f"{chunk}-{number}", spoken, queue=queue, day=day, chunk=chunk))
        made[-1].facts |= facts
    return made


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Four weeks after four weeks: billing turns angry, sales stays, moving has another codec, few has two calls."""
    lake = str(tmp_path_factory.mktemp("lake"))
    before = DAY - timedelta(days=28)
    calls = calls_of("billing", before, 2, 38) + calls_of("billing", DAY, 20, 20) + calls_of("sales", before, 4, 36)
    calls += calls_of("sales", DAY, 4, 36) + calls_of("moving", before, 0, 40) + calls_of("moving", DAY, 20, 20, codec="GSM610")
    calls += calls_of("few", before, 0, 2) + calls_of("few", DAY, 2, 0) + calls_of("a/b c", DAY, 0, 6)
    calls[0].facts |= {"customer_pseudonym": "c0ffee", "duration_s": 500.0, "longest_silence_s": 90.0}
    calls[1].facts |= {"customer_pseudonym": "c0ffee", "longest_silence_s": 5.0}
    write_calls(lake, calls)
    app = create_app(lake, settings=Settings())
    return TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000))


def rows(text, heading):
    [section] = re.findall(rf'<section aria-labelledby="{heading}".*?</section>', text, re.DOTALL)
    return [words(row) for row in re.findall(r"<tr.*?</tr>", section, re.DOTALL)][1:]


def test_queues_are_ranked_by_level_with_verdict_and_sparkline(page):
    text = page.get("/queues").text
    found = rows(text, "level")
    assert [row.split(" ")[0] for row in found] == ["few", "billing", "moving", "sales", "a/b"]
    ends = {row.split(" ")[0]: row for row in found}
    assert ends["billing"].endswith("▲ angrier") and "50.0 %" in ends["billing"] and "5.0 %" in ends["billing"]
    assert ends["sales"].endswith("no clear change") and ends["moving"].endswith("other audio, cannot tell")
    assert ends["few"].endswith("too few calls")
    assert text.count('<svg class="spark"') == 5


def test_two_ticked_queues_are_two_and_not_their_pool(page):
    text = page.get("/queues?queue=billing&queue=sales").text
    assert [row.split(" ")[0] for row in rows(text, "level")] == ["billing", "sales"]
    newest, *_ = rows(text, "weeks")
    assert re.fullmatch(r"2026-11-16 50.0 % [\d.]+ to [\d.]+ 10.0 % [\d.]+ to [\d.]+", newest)
    assert len(rows(text, "weeks")) == 13


def test_a_queue_has_a_page_at_its_name(page):
    text = page.get("/queues/billing").text
    assert "billing" in words(re.search("<h1>.*?</h1>", text)[0]) and len(rows(text, "level")) == 1
    assert "id-billing" in re.search(r'<section aria-labelledby="hear".*?</section>', text, re.DOTALL)[0]
    assert page.get("/queues/a%2Fb%20c").status_code == 200
    assert page.get("/queues/nobody").status_code == 404 and "no call" in page.get("/queues/nobody").text.lower()


def test_a_sparkline_has_gaps_and_a_last_point():
    drawn = str(charts.sparkline([0.1, None, 0.2, 0.4], 0.4, "<anger>"))
    assert drawn.count("M") == 2 and drawn.count("L") == 1 and "&lt;anger&gt;" in drawn
    assert 'cx="120.0" cy="0.0"' in drawn and "circle" not in str(charts.sparkline([], 0.1, ""))


def listed(page, query):
    text = page.get(f"/calls?first=2026-10-01&last=2026-11-30&{query}").text
    found = re.search(r"<p>([\d,]+) calls?, ", text)
    return int(found[1].replace(",", "")) if found else 0


def test_calls_are_searched_by_length_silence_and_caller(page):
    assert listed(page, "longer=400") == 1 and listed(page, "shorter=400&queue=billing") == 79
    assert listed(page, "silence=30") == 1 and listed(page, "silence=5") == 2
    assert listed(page, "caller=c0ffee") == 2 and listed(page, "caller=c0ffee&longer=400") == 1 and listed(page, "caller=%27+OR+1=1") == 0
    assert 'name="longer" min="0" max="1000000" step="any" value="400"' in page.get("/calls?longer=400").text


@pytest.mark.parametrize("query", ["longer=x", "shorter=-1", "silence=nan", "longer=1e9", "caller=" + "x" * 201])
def test_what_is_no_length_or_caller_is_refused_with_a_sentence(page, query):
    answer = page.get(f"/calls?{query}")
    assert answer.status_code == 400 and "<h1>Bad Request</h1>" in answer.text


def test_lists_have_their_calls_and_say_where_there_is_none(page):
    assert all(f'href="/lists/{name}?' in page.get("/lists").text for name in ("best-calls", "repeat-callers", "mood-turns"))
    best = page.get("/lists/best-calls").text
    assert "id-sales" in best and "Happiness" in best
    assert "c0ffee" in page.get("/lists/repeat-callers?first=2026-10-01&last=2026-11-30").text
    assert "There is none in this period" in page.get("/lists/mood-turns?first=2020-01-01&last=2020-01-02").text
    assert page.get("/lists/none").status_code == 404
