"""Today: queues that changed, calls to hear with reasons that were measured, what was not scored, and what a year without stories says."""

import html
import re
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from ser_tasks.dashboard import today, weekly
from ser_tasks.dashboard.app import create_app
from ser_tasks.dashboard.snapshot import Snapshot
from ser_tasks.dashboard.today import reasons
from ser_tasks.dashboard.viewers import OWNER, Viewer
from ser_tasks.dashboard.words import OUTCOMES, REASONS, why
from ser_tasks.schemas import OUTCOMES as ALL_OUTCOMES
from ser_tasks.settings import Settings
from tests.factories.lakes import DAY, Call, row, segment, write, write_calls
from tests.factories.year import make_year
from tests.system.test_operations import reason_codes

ANGRY, NEUTRAL = (0.9, 0.0, 0.1, 0.0), (0.05, 0.05, 0.85, 0.05)


def browser(lake, recordings=None):
    return TestClient(create_app(str(lake), recordings, settings=Settings()), base_url="http://127.0.0.1", client=("127.0.0.1", 50000))


def words(part):
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", part)).split())


def part_of(text):
    [found] = re.findall(r'<section aria-labelledby="today".*?</section>', text, re.DOTALL)
    return found


def spoken(start_s, end_s, anger=0.1, arousal=0.2, loudness_dbfs=-30.0, label="neutral"):
    known = {"start_s": start_s, "end_s": end_s, "anger": anger, "arousal_score": arousal, "loudness_dbfs": loudness_dbfs}
    return known | {"label": label}


CALL = {"moment_s": 123.0, "call_anger": 0.8, "share_anger": 0.2, "escalated": None, "onset_s": None, "emotion_role": "customer"}


def test_every_reason_code_has_words_and_no_other():
    assert set(REASONS) == reason_codes() and set(OUTCOMES) == set(ALL_OUTCOMES)
    assert why("withheld", "no_notice") == "the caller was not told" and why("withheld", "a_new_one") == "a new one"
    assert not [text for text in REASONS.values() if "_" in text or text[0].isupper()]


def test_the_reason_says_what_was_measured():
    opening = [spoken(0, 6), spoken(8, 14)]
    call = [*opening, spoken(123, 131, 0.9, 0.8, -20.0), spoken(133, 139, 0.7, 0.8, -20.0)]
    assert reasons(CALL, call) == "louder and more agitated than the caller's own opening; 14 s of likely anger, most at 2:03"
    quiet = [*opening, spoken(123, 131, 0.9, 0.3, -29.0)]
    assert reasons(CALL, quiet) == "8 s of likely anger at 2:03"
    unknown = [*opening, spoken(123, 131, 0.9, None, None)]
    assert reasons(CALL, unknown) == "8 s of likely anger at 2:03"
    assert reasons(CALL | {"escalated": True, "onset_s": 61.5}, quiet).endswith("; gets worse from 1:01 on")


def test_the_reason_claims_no_rise_where_the_moment_is_the_opening():
    assert reasons(CALL | {"moment_s": 0.0}, [spoken(0, 6, 0.9, 0.9, -10.0), spoken(8, 12)]) == "6 s of likely anger at 0:00"


def test_speech_that_is_labelled_anger_is_never_called_hardly_angry():
    """Its label and the probability of the call are two measures: neither hides what the other says."""
    call = [spoken(0, 6), spoken(8, 14), spoken(123, 131, 0.3, label="anger"), spoken(140, 143, 0.2, label="anger")]
    assert reasons(CALL | {"call_anger": 0.04}, call) == "11 s of possible anger, most at 2:03"
    assert reasons(CALL | {"call_anger": 0.6}, call) == "11 s of likely anger, most at 2:03"
    assert reasons(CALL | {"call_anger": 0.04}, [*call, spoken(150, 152, 0.6, label="anger")]) == "13 s of likely anger, most at 2:03"
    unsure = [*call[:2], spoken(123, 131, 0.3, label="unsure")]
    assert reasons(CALL | {"call_anger": 0.04}, unsure) == "hardly angry, most so at 2:03 (4 % likely)"


def test_the_reason_without_segments_is_that_of_the_call():
    assert reasons(CALL, []) == "likely angry at 2:03 (80 % likely)"
    assert reasons(CALL | {"call_anger": 0.3}, []) == "perhaps angry at 2:03 (30 % likely)"
    assert reasons(CALL | {"call_anger": 0.0004}, []) == "hardly angry, most so at 2:03 (less than 1 % likely)"
    assert reasons(CALL | {"call_anger": None}, []) == "anger in 20 % of the speech, most at 2:03"


@pytest.fixture
def lake(tmp_path):
    lake = str(tmp_path / "lake")
    calls = [
        Call("loud", [segment(0, 12, NEUTRAL), segment(20, 32, ANGRY, loudness_dbfs=-10.0)], queue="sales", chunk="c1"),
        *(Call(f"calm-{n}", [segment(0, 12, NEUTRAL)], queue="billing", chunk="c1") for n in range(11)),
        Call("short", [segment(0, 6, (0.3, 0.3, 0.2, 0.2))], queue="sales", chunk="c1"),
        Call("untold", [], outcome="withheld", reason_code="no_notice", queue="sales", chunk="c1"),
    ]
    calls[0].facts |= {"escalated": False, "call_anger": 0.9, "call_anger_at_s": 20.0, "anger_seconds": 12.0}
    calls[-2].facts |= {"call_anger": 0.99, "call_anger_at_s": 0.0}
    write_calls(lake, calls)
    return lake


def test_the_calls_to_hear_come_with_moment_reason_and_a_link(lake):
    with browser(lake) as page:
        part = part_of(page.get("/").text)
        rows = [words(each) for each in re.findall(r"<li>.*?</li>", part, re.DOTALL)]
        assert len(rows) == 10 and part.index("calm-") < part.index("<details>"), "five at once, ten in all"
        assert rows[0].endswith("louder than the caller's own opening; 12 s of likely anger at 0:20") and "loud" in rows[0]
        assert 'href="/calls/id-loud#t=20.0"' in part and "id-short" not in part
        assert "1 of 14 calls not scored: 1 because the caller was not told." in words(part)


def test_a_call_is_played_from_the_list_only_by_those_who_may(lake, tmp_path):
    (tmp_path / "recordings").mkdir()
    with browser(lake) as page:
        assert "data-src" not in page.get("/").text
    with browser(lake, str(tmp_path / "recordings")) as page:
        text = page.get("/").text
        assert 'data-src="/calls/id-loud/recording" data-at="20.0"' in text and 'aria-label="Play loud at 0:20"' in text
        assert page.get("/static/today.js").status_code == 200


def test_an_open_alert_is_said_to_those_who_see_its_queue(lake):
    since = datetime(2026, 11, 2, 6, tzinfo=UTC)

    def alert(subject, event, at):
        return row("alerts", rule="queue_anger", subject=subject, event=event, message=f"{subject} is angry", since=since, found_at=at)

    write(lake, "alerts", [alert("sales", "began", since), alert("billing", "began", since)], chunk="a1")
    write(lake, "alerts", [alert("billing", "ended", since + timedelta(days=1))], chunk="a2")
    with browser(lake) as page:
        part = words(part_of(page.get("/").text))
        assert "sales : open alert since 2 November (sales is angry)" in part and "billing : " not in part
    assert Snapshot(lake).query(Viewer("", ("billing",)), "SELECT DISTINCT subject FROM alerts")["subject"].to_pylist() == ["billing"]


def test_where_most_is_unsure_the_page_says_so_first(tmp_path):
    lake = str(tmp_path / "lake")
    unsure = [segment(n * 4, n * 4 + 4, (0.3, 0.3, 0.2, 0.2)) for n in range(9)]
    write_calls(lake, [Call("a", [*unsure, segment(36, 40, NEUTRAL)])])
    with browser(lake) as page:
        text = page.get("/").text
        assert "The model can't tell for 90 % of speech." in text and text.index("can't tell") < text.index("Calls worth hearing")
        assert '<dl class="tiles back">' in text
    made = weekly.make(Snapshot(lake), OWNER, DAY - timedelta(days=DAY.weekday()))
    assert "The model can't tell for 90 % of speech" in made.text and "can't tell for 90 %" in made.html


def test_the_letter_has_the_same_list_with_links(lake):
    monday = DAY - timedelta(days=DAY.weekday())
    made = weekly.make(Snapshot(lake), OWNER, monday, "https://ser.example.org")
    assert "- loud (sales, 2026-11-20): louder than the caller's own opening; 12 s of likely anger at 0:20." in made.text
    link = "https://ser.example.org/calls/id-loud#t=20.0"
    assert link in made.text and f'href="{link}"' in made.html
    assert made.text.count("\n- ") == 10 and "1 of 14 calls not scored: 1 because the caller was not told." in made.text
    assert "<script" not in made.html


@pytest.mark.slow
def test_of_a_year_without_stories_nothing_is_told(tmp_path):
    make_year(tmp_path, segments=False, stories=False)
    with browser(tmp_path) as page:
        for period in ("", "?first=2025-01-01&last=2025-12-31"):
            assert "No queue became angrier or calmer; no alert on a queue is open." in part_of(page.get(f"/{period}").text)


def test_where_all_is_scored_nothing_is_said_of_the_rest():
    shown = {"left_out": [], "left_out_calls": 0, "recent_calls": 3}
    assert today.not_scored(shown) == ""


def test_what_happened_on_a_day_is_on_the_time_line(lake):
    what = {str(DAY): "new IVR <b>", "2020-01-01": "long ago"}
    settings = Settings(annotations=what)
    with TestClient(create_app(lake, settings=settings), base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as page:
        [part] = re.findall(r'<section aria-labelledby="time".*?</section>', page.get("/").text, re.DOTALL)
        assert f"{DAY:%-d %B %Y}: new IVR &lt;b&gt;." in part and "long ago" not in part and "<b>" not in part
        assert len(re.findall(r"<text[^>]*>new IVR", part)) == 2, "in the wide and in the narrow chart"
    made = weekly.make(Snapshot(lake), OWNER, DAY - timedelta(days=DAY.weekday()), annotations=settings.annotations)
    assert "new IVR" in made.html
