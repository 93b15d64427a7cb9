"""The list of calls and a call's page, without a browser: what they say against what was made. In a browser: test_browser.py."""

import base64
import csv
import html
import io
import json
import re
from datetime import UTC, date, datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from ser_tasks.dashboard.app import create_app
from ser_tasks.dashboard.timeline import clock, draw, span
from ser_tasks.dashboard.viewers import OWNER
from ser_tasks.lake import catalog, read_only
from ser_tasks.settings import Settings
from tests.factories.lakes import DAY, NEWER_MODEL, NIGHT, Call, angry, segment, worse, write_calls, write_good_lake

ANGRY, NEUTRAL, DOUBTFUL = (0.9, 0.0, 0.05, 0.05), (0.05, 0.05, 0.85, 0.05), (0.4, 0.2, 0.3, 0.1)


@pytest.fixture
def lake(tmp_path):
    folder = str(tmp_path / "lake")
    write_good_lake(folder)
    return folder


def browser(lake, **settings):
    return TestClient(create_app(lake, settings=Settings(**settings)), base_url="http://127.0.0.1", client=("127.0.0.1", 50000))


def listed(page, query=""):
    """Call ids in the order of the list."""
    answer = page.get(f"/calls?{query}")
    assert answer.status_code == 200, answer.text
    return re.findall(r'<tr><th scope="row"><a href="[^"]*" title="[^"]*">([^<]*)</a>', answer.text)


# The list


def test_every_outcome_is_listed_with_its_reason(lake):
    with browser(lake) as page:
        assert sorted(listed(page)) == ["angry", "broken", "mono", "silent", "worse"]
        text = page.get("/calls").text
        assert "4 calls, 2 of them scored" in text and "and 1 recording that could not be read" in text
        assert "not scored because agent and caller are on one channel" in text and "not scored because the file is no recording" in text
        assert "not scored because no caller speaks" in text and "role_mixed" not in re.sub(r'title="[^"]*"', "", text)


def test_conditions_narrow_the_list(lake):
    with browser(lake) as page:
        assert listed(page, "outcome=not-scored&sort=call") == ["broken", "mono", "silent"]
        assert listed(page, "queue=support") == ["mono"]
        assert listed(page, "search=WOR") == ["worse"]
        assert listed(page, "search=support") == ["mono"]
        assert listed(page, "search=%25") == [], "a search is no pattern"
        assert listed(page, "escalated=yes") == ["worse"] and listed(page, "escalated=no") == ["angry"]
        assert listed(page, "emotion=happiness") == ["worse"] and listed(page, "emotion=unsure") == ["angry"]
        assert listed(page, "hour=9&outcome=scored&sort=call") == ["angry", "worse"] and listed(page, "hour=10") == []
        assert listed(page, f"weekday={DAY.isoweekday()}&sort=call&outcome=scored") == ["angry", "worse"]
        assert listed(page, "weekday=1") == []
        assert listed(page, "first=2026-11-21&last=2026-11-22") == []


@pytest.mark.parametrize(
    "query", ["emotion=fury", "sort=1;DROP", "hour=24", "weekday=0", "page=0", "page=1e3", "page=²", "search=" + "x" * 201]
)
def test_what_an_address_can_not_say_is_refused_with_a_sentence(lake, query):
    with browser(lake) as page:
        answer = page.get(f"/calls?{query}")
        assert answer.status_code == 400 and "<h1>Bad Request</h1>" in answer.text


def test_short_calls_do_not_lead_an_order_by_share(tmp_path):
    """Ten seconds of anger in a call of 20 s of speech outrank one angry segment that is all of its call."""
    lake = str(tmp_path / "lake")
    calls = [
        Call("short", [segment(0, 1, ANGRY)]),
        Call("long", [segment(4 * n, 4 * n + 4, ANGRY) for n in range(9)] + [segment(36, 40, NEUTRAL)]),
        *(Call(f"calm-{n}", [segment(0, 20, NEUTRAL)]) for n in range(5)),
    ]
    write_calls(lake, calls)
    with browser(lake) as page:
        assert listed(page, "sort=angriest")[0] == "long"
        assert listed(page, "emotion=anger") == ["long", "short"], "a condition on an emotion sorts by it"
        mart = page.app.state.snapshots.current.query(OWNER, "SELECT call_id FROM worst_calls")["call_id"].to_pylist()
        assert "short" not in mart and listed(page, "sort=angriest") == [*mart, "short"], "as the mart ranks them"


def test_a_long_list_is_paged_and_every_call_is_on_one_page(tmp_path):
    lake = str(tmp_path / "lake")
    write_calls(lake, [Call(f"call-{n:03}", [segment(0, 2, NEUTRAL)]) for n in range(120)])
    with browser(lake) as page:
        pages = [listed(page, f"sort=call&page={n}") for n in (1, 2, 3)]
        assert [len(each) for each in pages] == [50, 50, 20]
        assert sum(pages, []) == [f"call-{n:03}" for n in range(120)]
        assert "The list ends before this page" in page.get("/calls?page=4").text
        following = re.search(r'<a href="([^"]*)" rel="next"', page.get("/calls?sort=call&search=call").text)[1].replace("&amp;", "&")
        assert "page=2" in following and "search=call" in following and "sort=call" in following


def test_the_download_has_every_row_of_the_list_and_runs_in_no_spreadsheet(tmp_path):
    lake = str(tmp_path / "lake")
    calls = [Call(f"call-{n:03}", [segment(0, 2, NEUTRAL)]) for n in range(60)] + [
        Call("=HYPERLINK(1)", [segment(0, 2, ANGRY)], queue="+1")
    ]
    write_calls(lake, [*calls, Call("broken", [], outcome="quarantined", reason_code="not_audio")])
    with browser(lake) as page:
        answer = page.get("/calls.csv?sort=call")
        assert answer.content.startswith(b"\xef\xbb\xbf")  # Excel recognises UTF-8 by it
        rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
        assert answer.headers["content-disposition"].startswith("attachment")
        assert len(rows) == 62
        assert rows[0] | {"call_id": "'=HYPERLINK(1)", "queue": "'+1", "share_anger": "1"} == rows[0]
        assert [row["reason_code"] for row in rows if row["outcome"] == "quarantined"] == ["not_audio"]
        assert len(list(csv.reader(io.StringIO(page.get("/calls.csv?emotion=anger").text)))) == 2


def test_the_sql_that_is_shown_makes_what_is_shown(lake):
    """As an analyst would copy it, hostile values and all."""
    with browser(lake) as page, catalog.connect(lake) as connection:

        def shown(address):
            return html.unescape(re.search(r"<pre>(.*?)</pre>", page.get(address).text, re.DOTALL)[1])

        for query in ("sort=call", "outcome=scored&sort=angriest&queue=sales&queue=support", "search=x' OR 1=1 --"):
            found = read_only.query(connection, shown(f"/calls?{query}")).to_pylist()
            assert [row["call_id"] for row in found] == listed(page, query)
        *of_call, of_segments = shown("/calls/id-angry").strip().removesuffix(";").split(";\n")
        for sql in of_call:
            assert read_only.query(connection, sql)["call_id"].to_pylist() == ["angry"]
        assert read_only.query(connection, of_segments)["start_s"].to_pylist() == [2, 10, 20, 36]


def test_the_best_calls_lead_to_their_happiest_moment(lake):
    with browser(lake) as page:
        text = page.get("/calls?sort=happiness&outcome=scored").text
        assert listed(page, "sort=happiness&outcome=scored")[0] == "worse"
        assert "Peak happiness" in text and "0.80 at 0:00" in text and re.search(r"/calls/id-worse\?[^\"]*#t=0.0", text)
        assert "Peak happiness" not in page.get("/calls").text


def test_hours_and_days_are_those_of_the_site(tmp_path):
    """A call at 23:30 UTC on Friday is one of 00:30 on Saturday in Berlin; parts of older code do not say the hour."""
    lake = str(tmp_path / "lake")
    call = Call("late", [segment(0, 2, NEUTRAL)])
    call.facts |= {"started_at": datetime(2026, 11, 20, 23, 30, tzinfo=UTC), "call_date": date(2026, 11, 21), "local_hour": None}
    write_calls(lake, [call])
    with browser(lake, time_zone="Europe/Berlin") as page:
        assert listed(page, "hour=0&weekday=6") == ["late"] and listed(page, "hour=23") == [] and listed(page, "weekday=5") == []
        assert "<span>2026-11-21</span> <span>00:30</span>" in page.get("/calls").text


# A call


def test_a_calls_page_says_what_the_lake_holds(lake):
    with browser(lake) as page:
        text = page.get("/calls/id-angry").text
        for said in (
            "angry",
            "Based on",
            "3 segments, 10 s of speech",
            "40 %",
            "20 %",
            "cnn_lstm-1-aaaa",
            "customers_only",
            "mfcc40-1",
            "0.80 at 0:02",
        ):
            assert said in text, said
        assert text.count('class="emotion-anger"') >= 1 and 'href="#t=2.0"' in text
        assert "emotions of people at work are hidden here" in text and "never scored" not in text
        rows = re.findall(r'<tr data-start="([\d.]+)">.*?</tr>', text, re.DOTALL)
        assert [float(start) for start in rows] == [2, 10, 20, 36]
        agent = re.search(r'<tr data-start="10.0">.*?</tr>', text, re.DOTALL)[0]
        assert (
            "Agent" in agent
            and "anger" not in agent
            and "0." not in re.sub("<[^>]*>", "", agent).replace("-20.0 dBFS", "").replace("30.0 dB", "")
        )


def test_what_was_said_is_shown_to_those_who_may_play_the_call(tmp_path):
    said = [{"start_s": 2.0, "end_s": 4.0, "role": "customer", "said": "Where <is> my invoice?"}]
    lake = tmp_path / "lake"
    call = Call("talk", [segment(2, 8, ANGRY)])
    call.facts["words"] = json.dumps(said)
    write_calls(str(lake), [call])
    with browser(str(lake)) as page:
        text = page.get("/calls/id-talk").text
        assert "What was said" in text and "Where &lt;is&gt; my invoice?" in text and 'id="find-words"' in text
    groups = {"leads": {"queues": "all", "may_play": False}}
    secret = "0123456789abcdef"
    basic = base64.b64encode(f"x:{secret}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}", "X-Forwarded-User": "ann", "X-Forwarded-Groups": "leads"}
    with browser(str(lake), dashboard_secret=secret, dashboard_groups=groups) as page:
        text = page.get("/calls/id-talk", headers=headers).text
        assert "talk" in text and "invoice" not in text


def test_the_sentiment_of_the_callers_words_is_beside_the_voice(tmp_path):
    lake, said = str(tmp_path / "lake"), [("customer", "No good.", -0.4), ("agent", "I am sorry.", -0.3), ("customer", "Fine.", 0.2)]
    felt, plain = Call("felt", [segment(2, 8, ANGRY)]), Call("plain", [segment(2, 8, ANGRY)])
    turns = [{"start_s": 2.0, "end_s": 4.0, "role": role, "said": text, "sentiment": value} for role, text, value in said]
    felt.facts |= {"customer_words_sentiment": -0.1, "customer_words_lowest_at_s": 123.4, "call_anger_fused": 0.42}
    felt.facts["words"] = json.dumps(turns)
    plain.facts["words"] = json.dumps([{name: value for name, value in turn.items() if name != "sentiment"} for turn in turns])
    write_calls(lake, [felt, plain])
    with browser(lake) as page:
        text = page.get("/calls/id-felt").text
        assert '<a href="#t=123.4">negative at 2:03</a>' in text and "by voice, turns and words</dt><dd>42" in text
        assert text.count("negative words") == 1, "neither of the agent nor of a turn that is not negative"
        text = page.get("/calls/id-plain").text
        assert "I am sorry." in text and "negative" not in text.replace("Negativity", "") and "by voice, turns" not in text


def test_calls_that_are_not_scored_say_why(lake):
    with browser(lake) as page:
        assert "Not scored because agent and caller are on one channel." in page.get("/calls/id-mono").text
        assert "Not scored because the file is no recording." in page.get("/calls/id-broken").text
        assert "Not scored because no caller speaks." in page.get("/calls/id-silent").text
        for name in ("id-broken", "id-silent"):
            assert "The lake has no segments of this call" in page.get(f"/calls/{name}").text


def test_there_is_no_page_of_a_call_that_is_not_there(lake):
    with browser(lake) as page:
        for path in ("/calls/none", "/calls/none/recording", "/calls/none/sound", "/calls/none/playable", "/calls/id-angry?segments=2"):
            assert page.get(path).status_code == 404
        assert page.get("/calls/id-angry?segments=x").status_code == 400


def test_all_versions_of_a_call_are_listed(tmp_path):
    lake = str(tmp_path / "lake")
    write_calls(lake, [angry(), angry(model=NEWER_MODEL, scored_at=NIGHT + timedelta(days=1))])
    with browser(lake) as page:
        text = page.get("/calls/id-angry").text
        assert "All versions of this call" in text
        assert text.index("crnn-2-bbbb", text.index("All versions")) < text.index("cnn_lstm-1-aaaa", text.index("All versions"))


def test_the_same_callers_calls_are_listed_without_a_pseudonym(tmp_path):
    lake = str(tmp_path / "lake")
    calls = [angry(), worse(), Call("stranger", [segment(0, 2, NEUTRAL)])]
    for call, caller in zip(calls, ("c" * 32, "c" * 32, None), strict=True):
        call.facts |= {"customer_pseudonym": caller}
    write_calls(lake, calls)
    with browser(lake) as page:
        text = page.get("/calls/id-angry").text
        assert "The same caller" in text and "/calls/id-worse" in text and "/calls/id-stranger" not in text and "c" * 32 not in text
        assert "The same caller" not in page.get("/calls/id-stranger").text


def test_what_others_wrote_is_only_text(tmp_path):
    lake, hostile = str(tmp_path / "lake"), "</script><img src=//evil.example/x onerror=alert(1)>"
    call = Call(hostile, [segment(0, 2, NEUTRAL)], queue=hostile)
    call.facts |= {"language": hostile, "codec": hostile, "container": hostile, "channel_roles": hostile, "key": hostile}
    write_calls(lake, [call])
    with browser(lake) as page:
        for text in (page.get("/calls").text, page.get(f"/calls/id-{hostile}".replace("/", "%2F")).text):
            assert "<img" not in text and text.count("</script>") <= 2


def test_an_agents_emotion_is_nowhere_even_where_the_lake_holds_it(tmp_path):
    lake = str(tmp_path / "lake")
    write_calls(lake, [Call("agent", [segment(0, 4, ANGRY, role="agent", channel=0)], emotion_role="agent", policy="everyone")])
    with browser(lake) as page:
        text = page.get("/calls/id-agent").text
        assert "emotion-anger" not in text and "0.90" not in text and "Agent speaks" in text
        assert "0.9" not in page.get("/calls.csv").text


# The timeline


def test_pauses_and_overlaps_are_where_they_are():
    segments = [segment(1, 5), segment(4, 8, role="agent"), segment(9.5, 12), segment(12, 14, role="agent"), segment(20, 21)]
    timeline = draw(segments, 30, None, [None] * 4)
    assert timeline.overlaps == [(4, 5)]
    assert timeline.pauses == [(14, 20), (21, 30)]
    assert timeline.roles == ["customer", "agent"]


def test_bands_stack_to_one_and_the_unsure_are_hatched_instead():
    segments = [segment(0, 4, (0.8, 0.0, 0.1, 0.1)), segment(6, 8, DOUBTFUL), segment(8, 9, ANGRY, role="agent")]
    svg = draw(segments, 10, "customer", [0.9, None, 0.5, 0.5]).svg
    anger = re.search(r'class="emotion-anger" d="([^"]*)"', svg)[1]
    assert anger == "M0.00 24.0H4.00V120.0H0.00z", "0.8 of 120 pixels, from the bottom, the customer's alone"
    assert re.search(r'class="emotion-neutral" d="([^"]*)"', svg)[1] == "M0.00 12.0H4.00V24.0H0.00z"
    assert re.search(r'clipPathUnits="objectBoundingBox"><path d="([^"]*)"', svg)[1] == "M0.600000 0H0.800000V1H0.600000z"
    assert "no speech" in svg and "0.90" in svg


def test_a_call_of_hours_is_drawn_by_few_shapes():
    segments = [segment(4.0 * n, 4.0 * n + 3, NEUTRAL if n % 3 else DOUBTFUL, role="customer" if n % 2 else "agent") for n in range(5000)]
    timeline = draw(segments, 20_000, "customer", [0.2] * 4)
    assert timeline.svg.count("<path") < 20 and len(timeline.svg) < 700_000
    assert clock(20_000) == "5:33:20" and "5:00:00" in timeline.svg


def test_times_are_written_as_on_a_player():
    assert [clock(seconds) for seconds in (0, 59.9, 60, 3599, 3600, 36_061)] == ["0:00", "0:59", "1:00", "59:59", "1:00:00", "10:01:01"]
    assert [span(seconds) for seconds in (0, 299, 300, 17_999, 18_000)] == ["0 s", "299 s", "5 min", "300 min", "5 h"]


def test_segments_of_a_long_call_are_paged(tmp_path):
    lake = str(tmp_path / "lake")
    write_calls(lake, [Call("long", [segment(4.0 * n, 4.0 * n + 3, NEUTRAL) for n in range(450)], duration_s=1800.0)])
    with browser(lake) as page:
        counts = [page.get(f"/calls/id-long?segments={n}").text.count("<tr data-start") for n in (1, 2, 3)]
        assert counts == [200, 200, 50]
