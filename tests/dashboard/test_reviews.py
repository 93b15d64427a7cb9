"""Judging calls on the dashboard: what is stored, who may, what the blind page does not contain, and how the measured precision moves."""

import base64
import os
import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from ser_tasks.dashboard.app import create_app
from ser_tasks.lake import catalog
from ser_tasks.monitoring import access_log
from ser_tasks.settings import Settings
from tests.factories.lakes import angry, segment, worse, write_calls

SECRET = "0123456789abcdef"
GROUPS = {
    "leads": {"queues": "all", "may_play": True},
    "sales": {"queues": ["sales"], "may_play": True},
    "eyes": {"queues": "all"},
    "ears": {"queues": "all", "may_play": True, "may_review": False},
}
STRETCH = "1:2.0:6.0"
SCORES = re.compile(r"anger|happiness|sadness|0\.80|80 %|not sure|probab|negativ|emotion-", re.IGNORECASE)


@pytest.fixture
def lake(tmp_path):
    folder = str(tmp_path / "lake")
    calls = [angry(), worse(queue="support")]
    for call in calls:
        call.facts["call_anger"] = 0.875
    write_calls(folder, calls)
    return folder


def dashboard(lake, **settings):
    return TestClient(
        create_app(lake, None, Settings(**settings)), base_url="http://127.0.0.1", follow_redirects=False, client=("127.0.0.1", 1)
    )


def proxied(lake):
    return TestClient(
        create_app(lake, None, Settings(dashboard_secret=SECRET, dashboard_groups=GROUPS)),
        base_url="http://127.0.0.1",
        follow_redirects=False,
    )


def as_(name, groups):
    proof = base64.b64encode(f"proxy:{SECRET}".encode()).decode()
    return {"Authorization": f"Basic {proof}", "X-Forwarded-User": name, "X-Forwarded-Groups": groups}


def token_of(page):
    return re.search(r'name="token" value="([0-9a-f]{64})"', page.text)[1]


def ask(lake, sql):
    with catalog.connect(lake) as connection:
        return connection.execute(sql).fetchall()


def judge(site, call="id-angry", headers=None, **fields):
    token = token_of(site.get(f"/calls/{call}", headers=headers))
    return site.post(f"/calls/{call}/reviews", data={"token": token} | fields, headers=headers)


def test_each_verdict_is_stored_with_who_and_what_the_model_said(lake):
    site = dashboard(lake, reviewer="Ann B.")
    for fields in (
        {"do": "heard"},
        {"do": "agree"},
        {"do": "emotion:neutral", "stretch": STRETCH, "note": " a  note "},
        {"do": "emotion:anger", "stretch": STRETCH},
        {"do": "note", "note": "loud"},
    ):
        assert judge(site, **fields).status_code == 303
    found = ask(
        lake,
        "SELECT verdict, emotion, start_s, end_s, channel, note, model_emotion, model_score, reviewer, blind FROM reviews "
        "ORDER BY reviewed_at",
    )
    assert [row[0] for row in found] == ["heard", "agree", "wrong", "agree", "note"]
    assert found[1][1:] == ("anger", None, None, None, None, "anger", 0.875, "Ann B.", False)
    assert found[2][1:6] == ("neutral", 2.0, 6.0, 1, "a  note")
    assert found[2][6] == "anger"
    assert found[2][7] == pytest.approx(0.8)
    page = site.get("/calls/id-angry").text
    assert "a  note" in page
    assert "Ann B." in page


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"do": "emotion:boredom"}, "no emotion"),
        ({"do": "perhaps"}, "no verdict"),
        ({}, "no verdict"),
        ({"do": "note"}, "empty"),
        ({"do": "note", "note": "x" * 501}, "501 characters"),
        ({"do": "agree", "stretch": "1:20.0:22.0"}, "not sure here"),
        ({"do": "agree", "blind": "yes"}, "nothing to agree with"),
        ({"do": "heard", "stretch": "0:10.0:14.0"}, "no such stretch"),  # an agent's
        ({"do": "heard", "stretch": "1:0.0:1.0"}, "no such stretch"),
    ],
)
def test_what_cannot_be_stored_is_refused_in_words(lake, fields, message):
    answer = judge(dashboard(lake), **fields)
    assert answer.status_code == 400
    assert message in answer.text
    assert ask(lake, "SELECT count(*) FROM reviews") == [(0,)]


def test_only_the_dashboards_own_pages_can_write(lake):
    site = dashboard(lake)
    token = token_of(site.get("/calls/id-angry"))
    address, good = "/calls/id-angry/reviews", {"token": token, "do": "heard"}
    assert site.post(address, data={"do": "heard"}).status_code == 403
    assert site.post(address, data=good | {"token": "0" * 64}).status_code == 403
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}):
        assert site.post(address, data=good, headers=headers).status_code == 403
    assert site.post(address, json=good).status_code == 415
    assert site.post(address, data=good | {"note": "x" * 20_000}).status_code == 413
    assert site.post(address, content=b"do=%ff", headers={"Content-Type": "application/x-www-form-urlencoded"}).status_code == 400
    assert site.post("/calls/id-angry", data=good).status_code == 405
    assert site.put(address, data=good).status_code == 405
    assert ask(lake, "SELECT count(*) FROM reviews") == [(0,)]
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://127.0.0.1"}, {"Origin": "null"}):
        assert site.post(address, data=good, headers=headers).status_code == 303
    assert ask(lake, "SELECT count(*) FROM reviews") == [(3,)]


def test_a_token_is_of_one_viewer(lake):
    site = proxied(lake)
    token = token_of(site.get("/calls/id-angry", headers=as_("ann", "leads")))
    answer = site.post("/calls/id-angry/reviews", data={"token": token, "do": "heard"}, headers=as_("ben", "leads"))
    assert answer.status_code == 403
    assert site.post("/calls/id-angry/reviews", data={"token": token, "do": "heard"}, headers=as_("ann", "leads")).status_code == 303
    assert ask(lake, "SELECT reviewer FROM reviews") == [("ann",)]


def test_who_may_judge_what(lake):
    site = proxied(lake)
    assert judge(site, "id-angry", as_("sue", "sales"), do="heard").status_code == 303
    token = token_of(site.get("/calls/id-angry", headers=as_("sue", "sales")))
    for groups, call in (("sales", "id-worse"), ("eyes", "id-angry"), ("ears", "id-angry"), ("none", "id-angry")):
        name = "sue"
        answer = site.post(f"/calls/{call}/reviews", data={"token": token, "do": "heard"}, headers=as_(name, groups))
        assert answer.status_code in (403, 404), groups
        page = site.get(f"/calls/{call}/review", headers=as_(name, groups))
        assert page.status_code in (403, 404), groups
    for groups in ("eyes", "ears"):
        page = site.get("/calls/id-angry", headers=as_("sue", groups))
        assert page.status_code == 200
        assert "review-form" not in page.text
        assert ">Review<" not in page.text
        assert site.get("/reviews", headers=as_("sue", groups)).status_code == 403
        assert site.get("/reviews/precision", headers=as_("sue", groups)).status_code == 403
    assert ask(lake, "SELECT call_id, reviewer FROM reviews") == [("angry", "sue")]


def test_the_blind_page_contains_no_score_before_the_judgement(lake):
    site = dashboard(lake)
    page = site.get("/calls/id-angry/review")
    assert page.status_code == 200
    body = page.text[page.text.index("<main") : page.text.index('<fieldset id="emotions"')] + page.text[page.text.index("</fieldset>") :]
    body = body.replace("A model estimates emotions from customers' voices", "").replace("What the model said", "")
    assert not SCORES.search(body), SCORES.search(body)
    assert "Customer speaks" in page.text
    token = token_of(page)
    answer = site.post("/calls/id-angry/reviews", data={"token": token, "do": "emotion:sadness", "blind": "yes"})
    assert answer.headers["location"] == "/calls/id-angry/review#review"
    after = site.get("/calls/id-angry/review").text
    assert "0.88" in after  # of the call, which was judged
    assert "0.80" not in after  # of a stretch, which was not
    assert ask(lake, "SELECT verdict, blind FROM reviews") == [("wrong", True)]
    for stretch in ("", STRETCH):  # who judges again has seen the score; of the stretch they have not
        site.post("/calls/id-angry/reviews", data={"token": token, "do": "emotion:anger", "blind": "yes", "stretch": stretch})
    assert ask(lake, "SELECT start_s, blind FROM reviews ORDER BY reviewed_at") == [(None, True), (None, False), (2.0, True)]


def test_blind_reviewers_do_not_see_what_others_heard(lake):
    site = proxied(lake)
    assert judge(site, headers=as_("ann", "leads"), do="emotion:sadness", note="sobs").status_code == 303
    page = site.get("/calls/id-angry/review", headers=as_("ben", "leads")).text
    assert "sobs" not in page
    assert "ann" not in re.findall(r"\w+", page)


def test_with_a_script_the_answer_is_what_was_said(lake):
    site = dashboard(lake)
    token = token_of(site.get("/calls/id-angry"))
    answer = site.post("/calls/id-angry/reviews", data={"token": token, "do": "heard"}, headers={"Accept": "application/json"})
    assert answer.json()["saved"] == "Saved: heard, the whole call."
    assert "heard" in answer.json()["html"]
    hostile = site.post(
        "/calls/id-angry/reviews", data={"token": token, "do": "note", "note": "<script>x</script>"}, headers={"Accept": "application/json"}
    )
    assert "<script>" not in hostile.json()["html"]


def test_a_sample_is_drawn_judged_and_moves_the_precision(lake):
    site = dashboard(lake, reviewer="ann")
    queue = site.get("/reviews")
    assert "No sample was drawn yet" in queue.text
    token = token_of(queue)
    refused = site.post("/reviews/samples", data={"token": token, "first": "2020-01-01", "last": "2020-01-02", "calls": "5"})
    assert refused.status_code == 400
    assert "No scored call" in refused.text
    drawn = site.post("/reviews/samples", data={"token": token, "first": "2026-11-01", "last": "2026-11-28", "calls": "5"})
    assert drawn.status_code == 303
    queue = site.get(drawn.headers["location"])
    assert "2 calls, 0 judged by you" in queue.text
    assert not re.search(r"stratum|uncertain|0\.88", queue.text)
    sample = drawn.headers["location"].partition("sample=")[2]
    assert "Nothing was judged" in site.get("/reviews/precision").text
    for number, (call, heard) in enumerate((("id-angry", "anger"), ("id-worse", "neutral")), 1):
        page = site.get(f"/calls/{call}/review?sample={sample}")
        data = {"token": token_of(page), "do": f"emotion:{heard}", "blind": "yes", "sample": sample}
        assert site.post(f"/calls/{call}/reviews", data=data).status_code == 303
        assert f"{number} judged by you" in site.get("/reviews").text
        expected = {1: "100 %", 2: "50 %"}[number]
        assert f"{expected} are angry calls" in site.get("/reviews/precision").text
    assert ask(lake, "SELECT precision, judged_calls FROM measured_precision WHERE list = 'to hear'") == [(0.5, 2)]
    assert "Every call of this sample is judged by you" in site.get(f"/calls/id-angry/review?sample={sample}").text


def test_those_limited_to_a_queue_draw_and_judge_only_that_one(lake):
    site = proxied(lake)
    token = token_of(site.get("/reviews", headers=as_("sue", "sales")))
    period = {"token": token, "first": "2026-11-01", "last": "2026-11-28", "calls": "5"}
    other = site.post("/reviews/samples", data=period | {"queue": "support"}, headers=as_("sue", "sales"))
    assert other.status_code == 400
    assert site.post("/reviews/samples", data=period, headers=as_("sue", "sales")).status_code == 303
    assert ask(lake, "SELECT DISTINCT call_id, drawn_by FROM review_samples") == [("angry", "sue")]
    everything = token_of(site.get("/reviews", headers=as_("ann", "leads")))
    location = site.post("/reviews/samples", data=period | {"token": everything}, headers=as_("ann", "leads")).headers["location"]
    assert "1 call, 0 judged" in site.get(location, headers=as_("sue", "sales")).text
    assert "2 calls, 0 judged" in site.get(location, headers=as_("ann", "leads")).text


def test_a_lake_that_cannot_be_written_is_said_and_pages_work(lake, monkeypatch):
    from ser_tasks.storage.local import LocalStore

    site = dashboard(lake)

    def refuse(self, key, data):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(LocalStore, "create_bytes", refuse)
    answer = judge(site, do="heard")
    assert answer.status_code == 503
    assert "could not write to the lake" in answer.text
    assert site.get("/calls/id-angry").status_code == 200
    monkeypatch.undo()
    assert judge(site, do="heard").status_code == 303


def test_a_read_only_folder_is_said_before_anybody_judges(lake, monkeypatch):
    site = dashboard(lake)
    assert "may not write to the lake" not in site.get("/calls/id-angry").text
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)
    assert "may not write to the lake" in site.get("/calls/id-angry").text


def test_a_call_that_was_erased_meanwhile_is_not_judged(lake):
    site = dashboard(lake)
    token = token_of(site.get("/calls/id-angry"))
    for path in Path(lake, "outcomes").rglob("*.parquet"):
        path.unlink()
    answer = site.post("/calls/id-angry/reviews", data={"token": token, "do": "heard"})
    assert answer.status_code == 409
    assert "no longer in the lake" in answer.text


def test_reviews_of_another_process_appear_and_removed_ones_vanish(lake):
    site, other = dashboard(lake, reviewer="ann"), dashboard(lake, reviewer="ben")
    assert judge(other, do="note", note="from ben").status_code == 303
    assert "from ben" in site.get("/calls/id-angry").text
    for path in Path(lake, "reviews").rglob("*.parquet"):
        path.unlink()
    assert "from ben" not in site.get("/calls/id-angry").text


def test_no_page_offers_an_agents_speech_to_judge(tmp_path):
    call = angry()
    call.segments.append(
        dict(
            segment(24, 30, (0.9, 0, 0.1, 0), role="agent", channel=0),
            **{k: call.segments[0][k] for k in ("recording_id", "etag", "chunk_id", "call_id", "model", "policy")},
        )
    )
    write_calls(str(tmp_path), [call])
    site = dashboard(str(tmp_path))
    for address in ("/calls/id-angry", "/calls/id-angry/review"):
        assert 'value="0:24.0:30.0"' not in site.get(address).text
    assert judge(site, do="emotion:anger", stretch="0:24.0:30.0").status_code == 400


# The listening log


def test_what_was_played_is_logged_from_when_to_when(tmp_path):
    folder = str(tmp_path / "lake")
    (tmp_path / "calls").mkdir()
    write_calls(folder, [angry(), worse(queue="support")])
    site = TestClient(
        create_app(folder, str(tmp_path / "calls"), Settings(dashboard_secret=SECRET, dashboard_groups=GROUPS)),
        base_url="http://127.0.0.1",
        follow_redirects=False,
    )
    token = re.search(r'name="form-token" content="(\w+)"', site.get("/calls/id-angry", headers=as_("sue", "sales")).text)[1]
    report = {"token": token, "from_s": "3.0", "to_s": "12.5", "elapsed_s": "10"}
    assert site.post("/calls/id-angry/listened", data=report, headers=as_("sue", "sales")).status_code == 204
    assert site.post("/calls/id-worse/listened", data=report, headers=as_("sue", "sales")).status_code == 404
    assert site.post("/calls/id-angry/listened", data=report, headers=as_("sue", "eyes")).status_code == 403
    for wrong in ({"from_s": "x"}, {"to_s": "-1"}, {"elapsed_s": "1e9"}, {"elapsed_s": "nan"}):
        assert site.post("/calls/id-angry/listened", data=report | wrong, headers=as_("sue", "sales")).status_code == 400
    [entry] = [each for each in access_log.read(access_log.folder_of(folder, Settings())) if each.kind == "listened"]
    assert (entry.who, entry.call, entry.from_s, entry.to_s) == ("sue", "id-angry", "3.0", "12.5")
    assert entry.began < entry.at


def test_what_is_judged_from_today_moves_a_figure_of_its_own(lake):
    site = dashboard(lake, reviewer="Ann")
    assert "chose themselves" not in site.get("/reviews/precision").text
    judge(site, do="emotion:anger")
    one = re.sub("<[^>]*>", "", re.search(r'<p id="chosen">.*?</p>', site.get("/reviews/precision").text)[0])
    assert one.startswith("Of 1 call that reviewers chose themselves, from the list to hear or elsewhere, 100 % is angry (21 to 100 %).")
    judge(site, "id-worse", do="emotion:sadness")
    judge(site, "id-worse", do="emotion:anger", stretch="1:0.0:4.0")
    both = re.sub("<[^>]*>", "", re.search(r'<p id="chosen">.*?</p>', site.get("/reviews/precision").text)[0])
    assert "Of 2 calls that reviewers chose themselves, from the list to hear or elsewhere, 50 % are angry (9 to 91 %)." in both
    assert "Nothing was judged from the review queue yet" in site.get("/reviews/precision").text
