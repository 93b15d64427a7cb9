"""Judging calls in a real browser: by keys alone, blind, on a desk and a phone, and what was played in the listening log."""

import os

import pytest

from ser_tasks.calls.metadata import recording_id
from ser_tasks.dashboard.app import create_app
from ser_tasks.demo import CALLS
from ser_tasks.lake import catalog
from ser_tasks.monitoring import access_log
from ser_tasks.settings import Settings
from tests.factories.lakes import write_calls
from tests.system.test_browser import DESK, FLAC, PHONE, chromium, made_calls, obstacles, served, tab_to, visiting, wait

__all__ = ["chromium"]

CALL = recording_id(FLAC)


@pytest.fixture
def site(tmp_path):
    calls = made_calls()
    for call in calls:
        if call.facts is not None and call.facts["outcome"] == "scored":
            call.facts["call_anger"] = call.facts["peak_anger"] * 0.9
    write_calls(str(tmp_path / "lake"), calls)
    settings = Settings(scratch=str(tmp_path / "scratch"), reviewer="Ann")
    with served(create_app(str(tmp_path / "lake"), str(CALLS), settings)) as address:
        yield address, str(tmp_path / "lake")


def ask(lake, sql):
    with catalog.connect(lake) as connection:
        return connection.execute(sql).fetchall()


def picture(page, name):
    """Keeps a picture, where somebody wants to look at it."""
    if folder := os.environ.get("SER_TEST_PICTURES"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def said(page, text):
    wait(page, f"document.getElementById('review-said').textContent.startsWith({text!r})")


def test_a_call_is_judged_by_two_keys_each(chromium, site):
    address, lake = site
    with visiting(chromium, address) as page:
        page.goto(f"/calls/{CALL}#t=37")
        page.keyboard.press("h")
        said(page, "Saved: heard, the whole call")
        page.keyboard.press("w")
        said(page, "Which emotion?")
        page.keyboard.press("7")
        said(page, "Saved: sadness, the whole call")
        page.evaluate("go(17, false)")
        page.keyboard.press("s")
        said(page, "You judge 0:16")
        page.keyboard.press("a")
        said(page, "Saved: anger, 0:16")
        page.keyboard.press("t")
        page.keyboard.type("loud, shouts")
        page.keyboard.press("Enter")
        said(page, "Saved: note")
        assert page.locator("#review-judged tbody tr").count() == 4
        picture(page, "call-1280")
    found = ask(lake, "SELECT verdict, emotion, note, start_s IS NULL, reviewer FROM reviews ORDER BY reviewed_at")
    assert found == [
        ("heard", None, None, True, "Ann"),
        ("wrong", "sadness", None, True, "Ann"),
        ("agree", "anger", None, False, "Ann"),
        ("note", None, "loud, shouts", False, "Ann"),
    ]


def test_from_an_empty_queue_to_a_measured_precision_by_keyboard(chromium, site):
    address, lake = site
    with visiting(chromium, address) as page:
        page.goto("/reviews")
        tab_to(page, "#calls")
        page.keyboard.press("Control+a")
        page.keyboard.type("6")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_url("**/reviews?sample=*")
        picture(page, "queue-1280")
        for number in range(6):
            following = page.locator("#next-call").get_attribute("href")
            if number == 0:
                tab_to(page, "#next-call")
            page.keyboard.press("Enter" if number == 0 else "j")
            page.wait_for_url(f"**{following}")
            page.wait_for_load_state()
            if number == 0:
                picture(page, "blind-1280")
            page.keyboard.press("w")
            page.keyboard.press("1" if number % 2 else "6")
            said(page, "Saved: ")
        picture(page, "judged-1280")
        page.goto("/reviews/precision")
        assert "judged" in page.locator(".lead, #precision-table").first.inner_text()
        picture(page, "precision-1280")
    assert ask(lake, "SELECT count(*), count(DISTINCT recording_id), bool_and(blind) FROM reviews") == [(6, 6, True)]
    assert ask(lake, "SELECT sum(judged_calls) FROM measured_precision WHERE list = 'all calls'") == [(6,)]


def count_updates(page, player: str) -> None:
    page.evaluate(
        f"window.heard = 0; {player}.addEventListener('timeupdate', () => {{ if (!{player}.paused && !{player}.seeking) heard++; }})"
    )


def play_and_pause(page, player: str) -> None:
    """Waits until some of it is heard, pauses, and waits until the server has answered the report. Call ``count_updates`` before."""
    wait(page, f"window.heard >= 3 && !{player}.seeking")
    with page.expect_response("**/listened") as answered:
        page.evaluate(f"{player}.pause()")
    assert answered.value.status == 204


def test_what_was_played_is_in_the_listening_log(chromium, site):
    address, lake = site
    with visiting(chromium, address) as page:
        page.goto(f"/calls/{CALL}/review")
        count_updates(page, "audio")
        page.evaluate("go(4, true)")
        play_and_pause(page, "audio")
    [entry] = [each for each in access_log.read(access_log.folder_of(lake, Settings())) if each.kind == "listened"]
    assert entry.call == CALL
    assert 3.5 <= float(entry.from_s) < float(entry.to_s) < 23.6
    assert entry.began < entry.at


def test_without_scripts_the_buttons_store_reviews(chromium, site):
    address, lake = site
    with visiting(chromium, address, java_script_enabled=False) as page:
        page.goto(f"/calls/{CALL}/review")
        page.locator('button[value="emotion:fear"]').click()
        page.wait_for_url("**/review#review")
        assert "fear" in page.locator("#review-judged").inner_text()
    assert ask(lake, "SELECT emotion, blind FROM reviews") == [("fear", True)]


def test_review_pages_are_accessible_and_fit_a_phone(chromium, site):
    address, _ = site
    found = []
    for scheme in ("light", "dark"):
        with visiting(chromium, address, color_scheme=scheme) as page:
            page.goto("/reviews")
            page.locator("form.filters button").click()
            page.wait_for_url("**/reviews?sample=*")
            sample = page.url.partition("sample=")[2]
            for name, path in {
                "queue": f"/reviews?sample={sample}",
                "blind": f"/calls/{CALL}/review?sample={sample}",
                "call": f"/calls/{CALL}",
                "precision": "/reviews/precision",
            }.items():
                page.goto(path)
                if name == "blind":
                    page.keyboard.press("w")
                    page.keyboard.press("1")
                    said(page, "Saved")
                for size in (DESK, PHONE):
                    page.set_viewport_size(size)
                    picture(page, f"{name}-{scheme}-{size['width']}")
                    found += obstacles(page, f"{path} {scheme} {size['width']}", size)
    assert not found, "\n".join(found)


def test_what_is_played_on_the_first_page_is_in_the_listening_log_too(chromium, site):
    address, lake = site
    with visiting(chromium, address) as page:
        page.goto("/")
        count_updates(page, "sound")
        page.locator(f'a.play[data-src*="{CALL}"]').first.click()
        play_and_pause(page, "sound")
    kinds = {each.kind for each in access_log.read(access_log.folder_of(lake, Settings())) if each.call == CALL}
    assert {"listening", "listened"} <= kinds
