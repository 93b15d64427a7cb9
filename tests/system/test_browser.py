"""The pages in a real browser: filters, links to calls, timeline and audio, hostile names, and accessibility (axe).

Needs Chromium: the system's, or `playwright install chromium`; without it the tests are skipped. A page that logs an error to the
console, requests another origin, or gets a response of 400 or more fails its test.
"""

import base64
import contextlib
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Error, Page, sync_playwright

from ser_tasks.calls.metadata import recording_id
from ser_tasks.dashboard.app import create_app
from ser_tasks.dashboard.playback import Playback
from ser_tasks.demo import CALLS
from ser_tasks.html_page import html_page
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from tests.factories.lakes import DAY, Call, angry, segment, worse, write, write_calls
from tests.factories.year import make_year

DESK, PHONE = {"width": 1280, "height": 800}, {"width": 375, "height": 740}
CALM, CROSS, DOUBTFUL = (0.05, 0.05, 0.85, 0.05), (0.9, 0.0, 0.05, 0.05), (0.4, 0.2, 0.3, 0.1)
CALM_DAYS = 14
OPUS, OPUS_S, FLAC, FLAC_S = "2026-11-18/billing-1001.opus", 42.89, "2026-11-18/billing-1004.flac", 30.05
"""Demo recordings that are decoded for the player, and played as they are; with their lengths."""
PASSWORD = "0123456789abcdef"
GROUPS = {
    "hears-sales": {"queues": ["sales"], "may_play": True},
    "sees-sales": {"queues": ["sales"]},
    "sees-support": {"queues": ["support"]},
}
HOSTILE = [
    "</script><script>alert(1)</script>",
    "\"'><img src=//evil.example/x onerror=alert(2)>",
    "\u202egnitrevni \u2066isolating \u200f",
    "javascript:alert(3)//{{7*7}}&lt;%2e%2e/",
    "long" * 120,
]


# A browser, an app behind an address, a lake


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as driver:
        named = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
        for path in filter(None, [*named, driver.chromium.executable_path]):
            try:
                browser = driver.chromium.launch(executable_path=path)
            except Error as error:
                why = f"{path}: {error.message.splitlines()[0]}"
                continue
            yield browser
            browser.close()
            return
        pytest.skip(f"No Chromium starts: playwright install chromium, or the system's package chromium ({why})")


@contextlib.contextmanager
def served(app):
    """The address of the app, on a free port of this machine."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning", timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextlib.contextmanager
def visiting(chromium: Browser, site: str, viewport: Any = DESK, expected: tuple[int, ...] = (), store: str | None = None, **options: Any):
    """A page in a browser profile of its own. What it may not do is said when it ends; ``expected`` are bad answers that it may get,
    ``store`` is another address that it may ask for sound."""
    wrong: list[str] = []
    context = chromium.new_context(base_url=site, viewport=viewport, locale="en-GB", **options)
    context.set_default_timeout(60_000)
    page = context.new_page()

    def said(message):
        if message.type in ("error", "warning") and not (expected and message.text.startswith("Failed to load resource")):
            wrong.append(f"console: {message.text}")

    def asked(request):
        from_store = store and request.url.startswith(f"{store}/") and request.resource_type == "media"
        if not request.url.startswith(f"{site}/") and not from_store:
            wrong.append(f"request to elsewhere: {request.url[:200]}")

    def answered(response):
        if response.status >= 400 and response.status not in expected:
            wrong.append(f"{response.status} {response.url}")

    def dialog(shown):
        wrong.append(f"dialog: {shown.message}")
        shown.dismiss()

    page.on("console", said)
    page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    page.on("dialog", dialog)
    context.on("request", asked)
    context.on("response", answered)
    try:
        yield page
    finally:
        context.close()
    assert not wrong, "\n".join(wrong)


def recorded(call: Call, key: str, **facts: Any) -> Call:
    """The made-up call with a demo recording behind it."""
    found = next(item for item in open_store(str(CALLS)).list(key))
    for row in (call.recording, call.outcome, *call.segments, call.facts):
        row |= {"recording_id": recording_id(key), "etag": found.etag} | ({"key": key} if "key" in row else {})
    call.facts |= {"channels": 2, "channel_roles": "agent,customer"} | facts
    return call


@dataclass(frozen=True)
class Demo:
    site: str
    lake: str
    app: Any
    opus: str
    """Path of the page of a call whose recording is decoded for the player."""
    flac: str
    """Path of one whose recording is played as it is."""


def made_calls() -> list[Call]:
    """Two calls with demo recordings behind them, one of each other outcome, and two weeks of calm ones in another queue."""
    days = [DAY - timedelta(days=n) for n in range(1, CALM_DAYS + 1)]
    calm = [
        Call(f"calm-{day}-{n}", [segment(0, 20, CALM), segment(24, 28, DOUBTFUL)], queue="support", day=day, chunk=f"of-{day}")
        for day in days
        for n in range(5)
    ]
    escalated = recorded(worse(duration_s=FLAC_S, queue="support"), FLAC, container="FLAC", codec="PCM_16")
    escalated.facts |= {"escalated": True, "deescalated": False, "escalation_z": 3.0}
    return [
        recorded(angry(duration_s=OPUS_S), OPUS, container="OGG", codec="OPUS"),
        escalated,
        Call("silent", [], outcome="no_speech", reason_code="no_speech"),
        Call("mono", [segment(1, 5, role="mixed", channel=0)], outcome="withheld", reason_code="role_mixed", queue="support"),
        Call("broken", [], outcome="quarantined", reason_code="not_audio", duration_s=0.0),
        Call("unlucky", [], outcome="failed", reason_code="store_hang", duration_s=0.0),
        *calm,
    ]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    write_calls(str(folder / "lake"), made_calls())
    app = create_app(str(folder / "lake"), str(CALLS), Settings(scratch=str(folder / "scratch")))
    with served(app) as site:
        yield Demo(site, str(folder / "lake"), app, f"/calls/{recording_id(OPUS)}", f"/calls/{recording_id(FLAC)}")


def tab_to(page: Page, selector: str) -> None:
    """Presses Tab until the element has the focus, as somebody without a mouse. Whatever has it on the way must show it."""
    for _ in range(150):
        page.keyboard.press("Tab")
        found = page.evaluate(
            """selector => { const it = document.activeElement;
            const shows = it.type === 'date' || getComputedStyle(it).outlineStyle !== 'none';  // of a date, the browser marks a part
            return [it.matches(selector), shows, it.outerHTML.slice(0, 200)] }""",
            selector,
        )
        assert found[1] or found[2].startswith("<main"), f"has the focus and does not show it: {found[2]}"
        if found[0]:
            return
    raise AssertionError(f"Tab does not lead to {selector}")


def count_of(text: str) -> int:
    return int(re.search(r"[\d,]+", text)[0].replace(",", ""))


def wait(page: Page, condition: str, limit_s: float = 60) -> None:
    """Waits until it holds in the page. Playwright's own waiting evaluates text inside, which our pages forbid."""
    end = time.monotonic() + limit_s
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"not within {limit_s} s: {condition}"
        page.wait_for_timeout(20)


def sounds(page: Page) -> None:
    """Waits until the player plays, and has decoded sound."""
    wait(page, "!audio.paused && audio.webkitAudioDecodedByteCount > 0 && audio.currentTime > window.began + 0.3")


def began(page: Page) -> float:
    """Where the player began to play: call ``watch`` before."""
    wait(page, "window.began !== null")
    return page.evaluate("window.began")


def watch(page: Page) -> None:
    page.evaluate("window.began = null; audio.addEventListener('playing', () => window.began ??= audio.currentTime)")


def click_at(page: Page, share: float) -> None:
    """Clicks into the timeline's picture, at a share of its width."""
    picture = page.locator("#timeline > svg")
    box = picture.bounding_box()
    picture.click(position={"x": box["width"] * share, "y": box["height"] * 0.4})


# Filters, and the way from a number to a call


def test_filters_stand_in_the_address_and_work_by_keyboard_alone(chromium, demo):
    with visiting(chromium, demo.site) as page:
        page.goto("/")
        tab_to(page, 'input[name=queue][value="support"]')
        page.keyboard.press("Space")
        page.keyboard.press("Enter")
        page.wait_for_url("**queue=support**")
        tab_to(page, "nav a[href^='/calls']")
        page.keyboard.press("Enter")
        page.wait_for_url("**/calls?**queue=support**")
        assert page.is_checked('input[name=queue][value="support"]')
        assert page.locator("main").inner_text().count("72 calls, 71 of them scored") == 1
        tab_to(page, "#search")
        page.keyboard.type("calm-")
        tab_to(page, "#emotion")
        page.keyboard.type("neutral")
        tab_to(page, "button[type=submit]")
        page.keyboard.press("Enter")
        page.wait_for_url("**search=calm-**")
        for said in ("queue=support", "emotion=neutral", "first=2026-", "last=2026-11-20"):
            assert said in page.url
        page.reload()
        assert (page.input_value("#search"), page.input_value("#emotion")) == ("calm-", "neutral")
        assert "70 calls, 70 of them scored" in page.inner_text("main")
        tab_to(page, "a[rel=next]")
        page.keyboard.press("Enter")
        page.wait_for_url("**page=2**")
        assert "Page 2 of 2" in page.inner_text("main") and page.locator("table.calls tbody tr").count() == 20
        page.go_back()
        tab_to(page, "thead th:nth-child(4) a")
        page.keyboard.press("Enter")
        page.wait_for_url("**sort=longest**")
        assert page.get_attribute("thead th:nth-child(4)", "aria-sort") == "descending" and "search=calm-" in page.url
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip", "the first Tab offers to skip the head"


def test_numbers_lead_to_the_calls_behind_them_and_a_call_leads_back(chromium, demo):
    with visiting(chromium, demo.site) as page:
        page.goto("/")
        for title, word in (("Calls", "calls"), ("Scored", "of them scored"), ("Escalated", "call")):
            number = page.locator(f".tiles div:has(dt:text-is('{title}')) a")
            wanted = f"{count_of(number.inner_text()):,} {word}"
            number.click()
            page.wait_for_url("**/calls?**")
            assert wanted in page.inner_text("main"), title
            page.goto("/")
        page.click("text=Show the hours")
        cell = page.locator(".heat a").first
        scored = count_of(re.search(r"([\d,]+) calls? scored", cell.get_attribute("aria-label"))[1])
        cell.click()
        page.wait_for_url("**hour=**")
        assert f"{scored} of them scored" in page.inner_text("main")
        page.goto("/calls?queue=sales&sort=angriest")
        page.click("text=0.80 at 0:02")
        page.wait_for_url(f"**{demo.opus}?**#t=2.0")
        assert page.inner_text("h1") == "angry" and page.inner_text("#now").startswith("0:02 of 0:42: Customer: anger (0.80)")
        page.click("text=Back to the list of calls")
        page.wait_for_url(re.compile(r"/calls\?"))
        assert "queue=sales" in page.url and "sort=angriest" in page.url
        assert page.locator("table.calls tbody tr").count() == 2


def test_a_list_is_downloaded_as_it_is_shown(chromium, demo):
    with visiting(chromium, demo.site) as page:
        page.goto("/calls?search=calm-&sort=call")
        with page.expect_download() as download:
            page.click("text=Download all as CSV")
        lines = download.value.path().read_text(encoding="utf-8-sig").splitlines()
        shown = page.locator("table.calls tbody th").all_inner_texts()
        assert len(lines) == 71 and [line.split(",")[1] for line in lines[1:51]] == shown


# A call


def test_the_timeline_shows_speech_and_emotions_and_can_be_navigated(chromium, demo):
    with visiting(chromium, demo.site) as page:
        page.goto(demo.opus)
        labels = page.locator("#timeline .label").all_text_contents()
        for wanted in ("Customer speaks", "Agent speaks", "Both speak", "emotion probabilities", "Negativity by quarter", "Loudness"):
            assert any(wanted in label for label in labels), (wanted, labels)
        box = page.locator("#timeline > svg").bounding_box()
        places = {".role-customer": (2, 40), ".role-agent": (10, 14), ".emotion-anger": (2, 40), ".pause": (0, OPUS_S)}
        for shape, (start_s, end_s) in places.items():
            found = page.locator(f"#timeline {shape}").bounding_box()
            assert found["x"] == pytest.approx(box["x"] + box["width"] * start_s / OPUS_S, abs=2), shape
            assert found["width"] == pytest.approx(box["width"] * (end_s - start_s) / OPUS_S, abs=4), shape
        click_at(page, 21 / OPUS_S)
        assert page.inner_text("#now").startswith("0:21 of 0:42: Customer: not sure (0.40)") or page.evaluate("audio.currentTime > 20.9")
        page.evaluate("audio.pause()")
        timeline = page.locator("#timeline")
        timeline.focus()
        for key, place in (("Home", 0), ("n", 2), ("n", 10), ("p", 2), ("ArrowRight", 7), ("End", OPUS_S), ("ArrowLeft", OPUS_S - 5)):
            page.keyboard.press(key)
            assert float(timeline.get_attribute("aria-valuenow")) == pytest.approx(place, abs=0.1), key
            head = page.locator("#playhead").bounding_box()
            assert head["x"] == pytest.approx(box["x"] + box["width"] * place / OPUS_S, abs=3), key
        assert timeline.get_attribute("aria-valuetext") == "0:37, Customer: neutral (0.70)"
        page.click("text=Zoom in")
        assert page.locator("#timeline > svg").bounding_box()["width"] == pytest.approx(4 * box["width"], rel=0.01)
        assert page.evaluate("document.documentElement.scrollWidth") == 1280
        head = page.locator("#playhead").bounding_box()
        assert 0 < head["x"] < 1280, "the place is still in view"


@pytest.mark.parametrize("name", ["opus", "flac"])
def test_a_demo_call_plays_from_where_one_clicks(chromium, demo, name):
    with visiting(chromium, demo.site) as page:
        page.goto(getattr(demo, name))
        watch(page)
        click_at(page, 0.25)
        long_s = page.evaluate("Number(timeline.dataset.duration)")
        assert began(page) == pytest.approx(long_s / 4, abs=0.5)
        sounds(page)
        assert page.evaluate("Math.abs(audio.duration - timeline.dataset.duration)") < 0.2
        link = page.evaluate("audio.currentSrc")
        assert link.startswith(demo.site)
        watch(page)
        page.click("section[aria-labelledby=segments] summary")
        page.click("table.segments tbody tr:last-child a")
        wait(page, f"audio.currentTime >= {long_s * 0.6}")
        page.focus("#timeline")
        page.keyboard.press("Space")
        wait(page, "audio.paused")
        at = page.evaluate("audio.currentTime")
        page.keyboard.press("Space")
        wait(page, f"!audio.paused && audio.currentTime > {at}")


def test_an_expired_link_is_renewed_silently(chromium, demo, monkeypatch):
    made = Playback.link
    links = []

    def link(self, call, path, *viewer):
        links.append(path)
        good = made(self, call, path, *viewer)
        return good if not path or links.count(path) > 1 else re.sub("until=[0-9]+", "until=1", good)

    monkeypatch.setattr(Playback, "link", link)
    with visiting(chromium, demo.site, expected=(403,)) as page:
        page.goto(demo.opus)
        watch(page)
        click_at(page, 0.5)
        assert began(page) == pytest.approx(OPUS_S / 2, abs=0.5)
        sounds(page)
        assert page.is_hidden("#problem")
    assert [path for path in links if path] == [f"{demo.opus}/sound"] * 2


def test_a_recording_in_s3_plays_by_a_presigned_link(chromium, s3, tmp_path):
    store = open_store(f"s3://{s3.bucket('calls')}/2026")
    store.write_bytes(FLAC, (CALLS / FLAC).read_bytes())
    call = recorded(worse(duration_s=FLAC_S), FLAC, container="FLAC", codec="PCM_16")
    for row in (call.recording, call.outcome, call.facts, *call.segments):
        row["etag"] = next(item.etag for item in store.list(FLAC))
    write_calls(str(tmp_path / "lake"), [call])
    app = create_app(str(tmp_path / "lake"), store.uri, Settings(scratch=str(tmp_path / "scratch")))
    with served(app) as site, visiting(chromium, site, store=s3.endpoint_url) as page:
        page.goto(f"/calls/{recording_id(FLAC)}")
        with page.expect_request(f"{s3.endpoint_url}/**") as asked:
            watch(page)
            click_at(page, 0.5)
        assert "X-Amz-Expires=300" in asked.value.url and "referer" not in asked.value.all_headers()
        assert began(page) == pytest.approx(FLAC_S / 2, abs=0.5)
        sounds(page)
        assert "X-Amz" not in page.content() and s3.secret_key not in page.content()


def test_a_deleted_recording_is_reported_on_the_page(chromium, tmp_path):
    (tmp_path / "calls" / OPUS).parent.mkdir(parents=True)
    shutil.copy2(CALLS / OPUS, tmp_path / "calls" / OPUS)
    write_calls(str(tmp_path / "lake"), [recorded(angry(duration_s=OPUS_S), OPUS, container="OGG", codec="OPUS")])
    app = create_app(str(tmp_path / "lake"), str(tmp_path / "calls"), Settings(scratch=str(tmp_path / "scratch")))
    with served(app) as site, visiting(chromium, site, expected=(404,)) as page:
        page.goto(f"/calls/{recording_id(OPUS)}")
        wait(page, "problem.hidden")
        (tmp_path / "calls" / OPUS).unlink()
        click_at(page, 0.5)
        page.wait_for_selector("#problem:visible")
        assert "no longer in the store" in page.inner_text("#problem") and page.is_hidden("#audio")


def test_a_call_of_an_hour_is_shown_and_paged(chromium, tmp_path):
    spoken = [segment(4.0 * n, 4.0 * n + 3, (CALM, CROSS, DOUBTFUL)[n % 3]) for n in range(0, 900, 2)]
    spoken += [segment(4.0 * n, 4.0 * n + 3, role="agent", channel=0) for n in range(1, 900, 2)]
    write_calls(str(tmp_path), [Call("hour", spoken, duration_s=3600.0)])
    with served(create_app(str(tmp_path))) as site, visiting(chromium, site, PHONE) as page:
        page.goto("/calls/id-hour#t=3000")
        assert page.inner_text("#now").startswith("50:00 of 1:00:00: Customer")
        assert page.evaluate("document.documentElement.scrollWidth") == 375
        page.click("section[aria-labelledby=segments] summary")
        assert "Page 1 of 5" in page.inner_text("#main") and page.evaluate("document.documentElement.scrollWidth") == 375
        page.click("text=Later")
        page.wait_for_url("**segments=2**")
        assert page.inner_text("table.segments tbody tr:first-child th") == "13:20"


# Who sees and hears what


def signed_in(group: str) -> dict[str, str]:
    """The headers that the sign-in proxy sets."""
    basic = base64.b64encode(f"x:{PASSWORD}".encode()).decode()
    return {"Authorization": f"Basic {basic}", "X-Forwarded-User": "ann", "X-Forwarded-Groups": group}


def test_a_viewer_of_one_queue_reaches_no_call_of_another_by_its_address(chromium, demo, tmp_path):
    settings = Settings(dashboard_secret=PASSWORD, dashboard_groups=GROUPS, scratch=str(tmp_path))
    with served(create_app(demo.lake, str(CALLS), settings)) as site:
        with visiting(chromium, site, extra_http_headers=signed_in("hears-sales")) as page:
            page.goto("/calls")
            assert sorted(page.locator("table.calls tbody th").all_inner_texts()) == ["angry", "silent"]
            page.goto(demo.opus)
            watch(page)
            click_at(page, 0.5)
            sounds(page)
            link = page.evaluate("fetch(audio.src, {method: 'GET'}).then(answer => answer.url)")
        with visiting(chromium, site, expected=(400, 404), extra_http_headers=signed_in("sees-support")) as page:
            for path in (demo.opus, f"{demo.opus}/recording", f"{demo.opus}/playable", f"{demo.opus}/sound", link):
                answer = page.goto(path)
                assert answer.status == 404, path
                assert "no such call" in page.inner_text("body") and "angry" not in page.content()
            page.goto(f"/calls?queue=sales&first={DAY}&last={DAY}")
            assert "No call has the queue 'sales'" in page.inner_text("main")
            assert page.locator("input[name=queue][value=sales]:not(:checked)").count() == 0
            page.goto("/")
            assert "sales" not in page.inner_text("main")
        with visiting(chromium, site, expected=(403,), extra_http_headers=signed_in("sees-sales")) as page:
            page.goto(demo.opus)
            assert "not listen" in page.inner_text("#problem") and page.locator("audio").count() == 0
            for path in (f"{demo.opus}/recording", link):
                assert page.goto(path).status == 403
        with visiting(chromium, site, expected=(401,)) as page:
            for path in ("/", "/calls", demo.opus, link):
                assert page.goto(path).status == 401 and "angry" not in page.content()


def test_calls_that_may_not_be_played_have_no_player_and_say_why(chromium, demo):
    with visiting(chromium, demo.site) as page:
        for name, why in (("mono", "withheld"), ("broken", "quarantined"), ("unlucky", "failed")):
            page.goto(f"/calls/id-{name}")
            assert f"the call is {why}" in page.inner_text("#problem") and page.locator("audio").count() == 0


# What others wrote, and what is not there


def test_names_that_others_wrote_are_shown_and_do_nothing(chromium, tmp_path):
    calls = []
    for number, name in enumerate(HOSTILE):
        call = Call(f"n{number}", [segment(0, 4, CROSS), segment(5, 9, role="agent", channel=0)], queue=name)
        for row in (call.outcome, call.facts, *call.segments):
            row["call_id"] = name
        call.facts |= {"language": name, "codec": name, "container": name, "channel_roles": name, "customer_pseudonym": "c" * 32}
        call.outcome["reason"] = name
        calls.append(call)
    write_calls(str(tmp_path), calls)
    with served(create_app(str(tmp_path), str(CALLS))) as site, visiting(chromium, site) as page:
        for path in ["/", "/calls", *(f"/calls/id-n{number}" for number in range(len(HOSTILE)))]:
            page.goto(path)
            for size in (PHONE, DESK):
                page.set_viewport_size(size)
                assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], path
            if path.startswith("/calls/"):
                assert page.text_content("h1") == HOSTILE[int(path[-1])]
        assert page.locator("img, iframe, object").count() == 0 and "49" not in page.inner_text("h1")
        page.goto("/calls")
        boxes = page.locator("input[name=queue]")
        assert sorted(boxes.evaluate_all("all => all.map(it => it.value)")) == sorted(HOSTILE)
        for number, name in enumerate(HOSTILE):
            boxes.evaluate_all("(all, name) => all.forEach(it => it.checked = it.value === name)", name)
            with page.expect_navigation():
                page.click("button[type=submit]")
            links = page.eval_on_selector_all("table.calls tbody th a", "all => all.map(it => it.getAttribute('href'))")
            assert [link.partition("?")[0] for link in links] == [f"/calls/id-n{number}"], name


def test_an_empty_lake_has_pages_that_say_so(chromium, tmp_path):
    with served(create_app(str(tmp_path / "nowhere"))) as site:
        for size in (DESK, PHONE):
            with visiting(chromium, site, size) as page:
                for path in ("/", "/calls"):
                    page.goto(path)
                    assert "no calls here yet" in page.inner_text("main")
                    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]


def test_half_a_night_shows_what_is_done_and_later_the_rest(chromium, tmp_path):
    lake, rest = str(tmp_path), worse(chunk="c2")
    write_calls(lake, [angry()])
    write(lake, "recordings", [rest.recording], chunk="manifest-000002")
    write(lake, "call_emotions", [rest.facts], chunk="c2")
    app = create_app(lake)
    with served(app) as site, visiting(chromium, site) as page:
        page.goto("/calls")
        assert page.locator("table.calls tbody th").all_inner_texts() == ["angry"]
        page.goto("/")
        assert "1" in page.inner_text("main .tiles")
        write(lake, "segments", rest.segments, chunk="c2")
        write(lake, "outcomes", [rest.outcome], chunk="c2")
        assert app.state.snapshots.refresh()
        page.goto("/calls?sort=call")
        assert page.locator("table.calls tbody th").all_inner_texts() == ["angry", "worse"]


# Who can use them, and where


def obstacles(page: Page, name: str, size: dict[str, int]) -> list[str]:
    """What axe calls serious or critical on a page, and whether the page scrolls sideways."""
    found = [f"{name} overflows"] if page.evaluate("document.documentElement.scrollWidth") > size["width"] else []
    for each in Axe().run(page).response["violations"]:
        if each["impact"] in ("serious", "critical"):
            found += [f"{name}: {each['id']}: {node['html'][:160]}" for node in each["nodes"][:3]]
    return found


def test_pages_are_accessible_and_nothing_overflows_at_any_width(chromium, demo):
    """axe finds nothing serious on any kind of page, on a desk, on a phone, and in the dark; what it calls minor is let be."""
    most = ["/", "/queues", "/queues/sales", "/lists/best-calls", "/calls", demo.opus, "/sql/totals"]
    rest = ["/lists", "/lists/mood-turns", "/calls?longer=1", "/calls?page=9", "/calls/id-mono", "/calls/id-unlucky", "/calls/none"]
    found = []
    for scheme, paths, sizes in (("light", [*most, *rest, "/sql/worst_calls"], (DESK, PHONE)), ("dark", most, (DESK,))):
        with visiting(chromium, demo.site, expected=(404,), color_scheme=scheme) as page:
            for path in paths:
                page.goto(path)
                for size in sizes:
                    page.set_viewport_size(size)
                    found += obstacles(page, f"{path} {scheme} {size['width']}", size)
    assert not found, "\n".join(found)


def test_a_view_is_saved_under_a_name_and_found_again(chromium, demo):
    with visiting(chromium, demo.site) as page:
        page.goto("/calls?queue=sales&sort=angriest")
        page.click("text=Views")
        page.fill("#view-name", "Angry <sales>")
        page.keyboard.press("Enter")
        page.goto("/")
        page.click("text=Views")
        page.click("#views-list a")
        page.wait_for_url("**/calls?queue=sales&sort=angriest")
        page.click("text=Views")
        page.click("text=Remove")
        assert page.locator("#views-list li").count() == 0


def test_a_call_to_hear_plays_at_its_moment_without_leaving_the_page(chromium, demo):
    with visiting(chromium, demo.site) as page:
        page.goto("/")
        button = page.locator("a.play[data-src]").first
        at = float(button.get_attribute("data-at"))
        button.focus()
        page.keyboard.press("Enter")
        wait(page, f"document.getElementById('today-audio').currentTime > {at} + 0.2")
        assert page.is_visible("#today-player") and page.url.rstrip("/") == demo.site
        assert page.evaluate("document.getElementById('today-audio').currentTime") < at + 30


def test_today_is_above_the_fold_and_the_page_is_short(chromium, demo):
    for size, longest in ((DESK | {"height": 800}, 2200), (PHONE | {"width": 375, "height": 812}, 4000)):
        with visiting(chromium, demo.site, size) as page:
            page.goto("/")
            end = page.evaluate("document.querySelector('.hear').getBoundingClientRect().bottom")
            assert end <= size["height"], size
            assert page.evaluate("document.documentElement.scrollHeight") <= longest


def test_print_has_the_figures_and_no_buttons(chromium, demo):
    with visiting(chromium, demo.site) as page:
        page.emulate_media(media="print")
        for path, kept, left_out in (
            ("/", "h1", "nav, form"),
            ("/calls", "table.calls", "nav, form"),
            (demo.opus, "#timeline > svg", "audio, nav, button"),
        ):
            page.goto(path)
            assert page.is_visible(kept), path
            assert not [each.inner_text() for each in page.locator(left_out).all() if each.is_visible()], path
            assert page.pdf(format="A4").startswith(b"%PDF")


# What takes minutes


@pytest.mark.slow
def test_the_demo_from_its_command_to_its_sound(chromium, tmp_path):
    lake = str(tmp_path / "lake")
    subprocess.run([sys.executable, "-c", "from flows.cli import app; app()", "demo", "--lake", lake], check=True, capture_output=True)
    with served(create_app(lake, str(CALLS), Settings(scratch=str(tmp_path / "scratch")))) as site, visiting(chromium, site) as page:
        page.goto("/")
        page.click(".tiles a >> nth=0")
        page.wait_for_url("**/calls?**")
        assert "12 calls, 10 of them scored" in page.inner_text("main")
        ids = page.eval_on_selector_all("table.calls tbody th a", "all => all.map(it => it.getAttribute('href').split('?')[0])")
        played = 0
        for path in ids:
            page.goto(path)
            if page.locator("audio").count():
                watch(page)
                click_at(page, 0.3)
                sounds(page)
                assert began(page) == pytest.approx(page.evaluate("0.3 * timeline.dataset.duration"), abs=0.5)
                played += 1
        assert played == 11, "all but the one whose caller was not informed"


@pytest.mark.slow
def test_a_million_calls_are_searched_sorted_paged_and_opened(chromium, tmp_path):
    made = make_year(tmp_path / "lake", 1_000_000, segments=False)
    assert made["outcomes"] > 950_000
    with served(create_app(str(tmp_path / "lake"))) as site, visiting(chromium, site) as page:
        page.goto("/?first=2025-01-01&last=2025-12-31")
        assert count_of(page.inner_text(".tiles a >> nth=0")) == made["call_emotions"]
        page.goto("/calls?first=2025-01-01&last=2025-12-31&sort=angriest")
        assert count_of(page.inner_text("main p >> text=/of them scored/")) == made["call_emotions"]
        page.click("a[rel=next]")
        page.wait_for_url("**page=2**")
        page.fill("#search", "2025-07-21/BILLING-")
        with page.expect_navigation():
            page.click("button[type=submit]")
        names = page.locator("table.calls tbody th").all_inner_texts()
        assert len(names) == 50 and all(name.startswith("2025-07-21/billing-") for name in names)
        page.click("table.calls tbody th a >> nth=0")
        page.wait_for_selector("h1.callid")
        assert page.inner_text("h1") == names[0]


def test_a_report_does_not_scroll_sideways_on_a_phone(chromium):
    """Its widest tables do, each in a box of its own that the keyboard reaches."""
    wide = " | ".join(f"column {number} of the table" for number in range(12))
    text = f"# Night 2026{'x' * 80}\n\n| {wide} |\n|{'---|' * 12}\n| {wide} |\n\n"
    text += f"`ser sql --lake {'s3://lake/' * 12}`\n\n```\n{'wide ' * 60}\n```\n"
    context = chromium.new_context(viewport={"width": 375, "height": 812})
    page = context.new_page()
    page.set_content(html_page("Night", text, {}))
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "wide"
    assert page.evaluate("(box => box.scrollWidth > box.clientWidth)(document.activeElement)")
    context.close()
