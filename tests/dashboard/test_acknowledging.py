"""Acknowledging an alert on Today: what is stored, who may, what the page says afterwards, and that reminders stop."""

import base64
import html
import re
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from ser_tasks.dashboard import weekly
from ser_tasks.dashboard.app import create_app
from ser_tasks.dashboard.snapshot import Snapshot
from ser_tasks.dashboard.today import in_words
from ser_tasks.dashboard.viewers import OWNER
from ser_tasks.lake import catalog
from ser_tasks.settings import Settings
from tests.factories.lakes import DAY, angry, row, worse, write, write_calls

SECRET = "0123456789abcdef"
GROUPS = {
    "heads": {"queues": "all", "may_acknowledge": True},
    "sales": {"queues": ["sales"], "may_acknowledge": True},
    "eyes": {"queues": "all"},
}
SINCE = datetime(2026, 11, 2, 6, tzinfo=UTC)


def fired(rule, subject, event="began", since=SINCE, after=timedelta(0)):
    message = f"{subject}: 12.0% anger in 40 calls (FROM week_on_week)"
    return row("alerts", rule=rule, subject=subject, severity="warning", event=event, message=message, since=since, found_at=since + after)


@pytest.fixture
def lake(tmp_path):
    folder = str(tmp_path / "lake")
    write_calls(folder, [angry(), worse(queue="support")])
    write(folder, "alerts", [fired("queue_anger", "sales"), fired("queue_anger", "support"), fired("disk", "/scratch")], chunk="a1")
    return folder


def dashboard(lake, **settings):
    return TestClient(
        create_app(lake, None, Settings(**settings)), base_url="http://127.0.0.1", follow_redirects=False, client=("127.0.0.1", 1)
    )


def as_(name, groups):
    proof = base64.b64encode(f"proxy:{SECRET}".encode()).decode()
    return {"Authorization": f"Basic {proof}", "X-Forwarded-User": name, "X-Forwarded-Groups": groups}


def token_of(page):
    return re.search(r'name="form-token" content="([0-9a-f]{64})"', page.text)[1]


def words(page):
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page.text)).split())


def acknowledge(site, rule="queue_anger", subject="sales", headers=None, query=""):
    token = token_of(site.get("/", headers=headers))
    return site.post(f"/alerts/acknowledged{query}", data={"token": token, "rule": rule, "subject": subject}, headers=headers)


def stored(lake):
    sql = "SELECT rule, subject, since, acknowledged_by, target FROM alerts WHERE event = 'acknowledged' ORDER BY ALL"
    with catalog.connect(lake) as connection:
        return connection.execute(sql).fetchall()


def test_an_acknowledged_alert_is_folded_with_who_and_when(lake):
    site = dashboard(lake, reviewer="Ann B.", time_zone="Europe/Berlin")
    before = site.get("/")
    assert "sales : open alert since 2 November (12.0% anger in 40 calls)" in words(before) and "3 open alerts" in words(before)
    assert before.text.count(">Acknowledge</button>") == 3
    answer = acknowledge(site, query="?queue=sales")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?queue=sales#alerts")
    after = site.get("/")
    assert "sales : open alert" not in words(after) and "support : open alert since 2 November" in words(after)
    assert "queue_anger,sales,warning" in site.get("/csv/open_alerts").text
    assert "3 open alerts, 1 acknowledged" in words(after) and after.text.count(">Acknowledge</button>") == 2
    assert re.search(r"sales : 12.0% anger in 40 calls since 2 Nov; acknowledged by Ann B., \d+ \w{3}, \d\d:\d\d", words(after))
    assert stored(lake) == [("queue_anger", "sales", SINCE, "Ann B.", None)]
    assert acknowledge(site).status_code == 303 and len(stored(lake)) == 1, "once is enough"
    assert "3 open alerts, 1 acknowledged" in words(dashboard(lake).get("/")), "another dashboard reads it from the lake"


def test_an_alert_that_fires_anew_is_open_again(lake):
    acknowledge(dashboard(lake))
    later = SINCE + timedelta(days=3)
    write(lake, "alerts", [fired("queue_anger", "sales", "ended", after=timedelta(days=1))], chunk="a2")
    assert "sales : open alert" not in words(dashboard(lake).get("/"))
    write(lake, "alerts", [fired("queue_anger", "sales", since=later)], chunk="a3")
    page = dashboard(lake).get("/")
    assert "sales : open alert since 5 November" in words(page)
    assert "acknowledged by" not in words(page)


def test_who_may_not_acknowledge_sees_no_button_and_is_refused(lake):
    site = TestClient(
        create_app(lake, None, Settings(dashboard_secret=SECRET, dashboard_groups=GROUPS)),
        base_url="http://127.0.0.1",
        follow_redirects=False,
    )
    eyes, sales, heads = as_("eve", "eyes"), as_("sam", "sales"), as_("hal", "heads")
    assert "3 open alerts" in words(site.get("/", headers=eyes)) and ">Acknowledge<" not in site.get("/", headers=eyes).text
    assert acknowledge(site, headers=eyes).status_code == 403
    assert "1 open alert " in words(site.get("/", headers=sales)) and "support" not in site.get("/", headers=sales).text
    for rule, subject in (("queue_anger", "support"), ("disk", "/scratch"), ("queue_anger", ""), ("none", "sales")):
        assert acknowledge(site, rule, subject, headers=sales).status_code == 404
    assert stored(lake) == []
    assert acknowledge(site, headers=sales).status_code == 303 and acknowledge(site, "disk", "/scratch", headers=heads).status_code == 303
    assert [(row[1], row[3]) for row in stored(lake)] == [("/scratch", "hal"), ("sales", "sam")]


def test_a_form_of_another_site_or_without_a_token_is_refused(lake):
    site = dashboard(lake)
    fields = {"rule": "queue_anger", "subject": "sales"}
    assert site.post("/alerts/acknowledged", data=fields).status_code == 403
    good = fields | {"token": token_of(site.get("/"))}
    assert site.post("/alerts/acknowledged", data=good, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert site.get("/alerts/acknowledged").status_code == 405 and stored(lake) == []


def test_a_lake_that_cannot_be_written_is_said(lake, monkeypatch):
    site = dashboard(lake)

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("ser_tasks.monitoring.alerts.open_store", lambda _: type("Full", (), {"create_bytes": full}))
    answer = acknowledge(site)
    assert answer.status_code == 503 and "Not saved" in answer.text and "no space" not in answer.text
    assert "acknowledged by" not in words(site.get("/"))


def test_the_letter_has_open_alerts_alone_and_no_form(lake):
    monday = DAY - timedelta(days=DAY.weekday())
    acknowledge(dashboard(lake))
    made = weekly.make(Snapshot(lake), OWNER, monday, "https://ser.example.org")
    assert "support: open alert since 2 November (12.0% anger in 40 calls)." in made.text and "sales: open alert" not in made.text
    assert "<form" not in made.html


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("sales: 12% anger in 4 calls (FROM week_on_week)", "12% anger in 4 calls"),
        ("1 of 9 recordings failed: FROM outcomes_and_reasons", "1 of 9 recordings failed"),
        ("sales has 3 calls FROM Berlin today", "sales has 3 calls FROM Berlin today"),
        ("other: calm", "other: calm"),
    ],
)
def test_the_line_of_an_alert_has_no_sql(message, said):
    assert in_words(message, "sales") == said
