"""What is told when: once, again after a while, when it ends; no storm, nothing twice, nothing lost; real receivers on loopback."""

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from flows import alerts as flow
from flows.cli import app
from ser_tasks.maintenance import retention
from ser_tasks.maintenance.compaction import compact
from ser_tasks.maintenance.doctor import examine
from ser_tasks.monitoring import alerts, notifiers
from ser_tasks.monitoring.alert_rules import Finding, Rules
from ser_tasks.monitoring.alerts import Telling, Untold, ask, rehearse, tell
from ser_tasks.monitoring.notifiers import NotSent
from ser_tasks.settings import Settings
from ser_tasks.storage import LocalStore, open_store
from tests.factories.lakes import NIGHT, run_row, write
from tests.support.receivers import HangingReceiver, MailReceiver, WebhookReceiver

NOW = datetime(2026, 11, 21, 6, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def quick_and_direct(quick_views, monkeypatch):
    """No pauses between tries, and no proxy between us and loopback."""
    monkeypatch.setattr(alerts, "PAUSES_S", (0.0, 0.0))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def lake(tmp_path):
    """A lake without a row; rules of these tests find what their SQL says."""
    return str(tmp_path / "lake")


def rules(*made: dict, **page) -> Rules:
    filled = [{"name": f"r{number}", "severity": "error", "message": "{subject}"} | rule for number, rule in enumerate(made)]
    return Rules.model_validate({"to": ["webhook"], **page, "rules": filled})


def finds(*subjects: str) -> dict:
    values = ", ".join(f"('{subject}')" for subject in subjects)
    return {"sql": f"SELECT * FROM (VALUES {values}) AS t(subject)" if subjects else "SELECT 'x' AS subject WHERE false"}


def once(lake: str, page: Rules, settings: Settings, now: datetime = NOW, senders: dict | None = None) -> list[str]:
    return tell(lake, ask(lake, page, settings, now), page, settings, senders or {}, now)


def rows(lake: str, columns: str = "subject, event, target, told_at IS NOT NULL") -> list[tuple]:
    if not Path(lake, "alerts").exists():
        return []
    with duckdb.connect() as connection:
        parts = f"read_parquet('{lake}/alerts/*/*.parquet')"
        return connection.execute(f"SELECT {columns} FROM {parts} ORDER BY found_at, target, rule, subject").fetchall()


def test_a_storm_is_one_message_told_once_and_its_end_is_one_more(lake):
    """A thousand queues leave their range in one night, stay there for two, and come back."""
    storm = rules({"name": "queue_anger", "severity": "warning"} | finds(*[f"queue {number:04}" for number in range(1000)]))
    with WebhookReceiver() as receiver:
        settings = Settings(alert_webhook_url=receiver.url)
        once(lake, storm, settings)
        [message] = receiver.taken
        assert message["title"] == "[warning] ser alerts: 1000 began"
        lines = message["text"].splitlines()
        assert len(lines) < 20 and lines[-1] == "  and 990 more of queue_anger: FROM alerts"
        assert (len(message["began"]), message["counts"]["began"], len(message["text"]) < 2000) == (10, 1000, True)
        assert once(lake, storm, settings, NOW + timedelta(hours=3)) == []
        assert len(receiver.taken) == 1
        assert len(rows(lake)) == 1000
        once(lake, rules({"name": "queue_anger", "severity": "warning"} | finds()), settings, NOW + timedelta(hours=6))
        assert [each["title"] for each in receiver.taken[1:]] == ["[info] ser alerts: 1000 ended"]
        assert once(lake, rules({"name": "queue_anger"} | finds()), settings, NOW + timedelta(hours=9)) == []
        assert receiver.asked == 2


def test_an_alert_that_stays_is_told_again_after_a_while_and_when_it_ends(lake):
    page, none = rules(finds("a"), remind_after_h=24), rules(finds(), remind_after_h=24)
    with WebhookReceiver() as receiver:
        settings = Settings(alert_webhook_url=receiver.url)
        for hours in (0, 1, 23, 24 - 0.1, 25, 47, 48):  # the schedule is never quite on time
            once(lake, page, settings, NOW + timedelta(hours=hours))
        once(lake, none, settings, NOW + timedelta(hours=49))
        once(lake, none, settings, NOW + timedelta(hours=50))
        once(lake, page, settings, NOW + timedelta(hours=51))
    titles = ["[error] ser alert r0 began: a", "[error] ser alert r0 stays: a", "[error] ser alert r0 stays: a"]
    titles += ["[info] ser alert r0 ended: a", "[error] ser alert r0 began: a"]
    assert [each["title"] for each in receiver.taken] == titles
    assert "a (since 2026-11-21 06:00)" in receiver.taken[3]["text"]
    assert [event for _, event, _, _ in rows(lake)] == ["began", "stays", "stays", "ended", "began"]


def test_without_reminders_an_alert_is_told_once(lake):
    page = rules(finds("a"), remind_after_h=None)
    with WebhookReceiver() as receiver:
        for day in range(4):
            once(lake, page, Settings(alert_webhook_url=receiver.url), NOW + day * DAY)
    assert len(receiver.taken) == 1


def test_who_gets_what_and_in_which_order(lake, tmp_path):
    page = rules(
        {"name": "disk", "severity": "info"} | finds("d"),
        {"name": "late", "to": ["mail", "webhook", "mail"]} | finds("l"),
        {"name": "sales", "to": ["lead@example.org"], "severity": "warning"} | finds("s"),
    )
    with WebhookReceiver() as receiver, MailReceiver(tmp_path) as mail:
        settings = Settings(alert_webhook_url=receiver.url, **smtp(mail.port), mail_to="Ops <ops@example.org>, night@example.org")
        once(lake, page, settings)
    assert [line.split()[0] for line in receiver.taken[0]["text"].splitlines()[3:]] == ["error", "info"]
    told = {to: letter["Subject"] for to, letter in mail.letters}
    late = "[error] ser alert late began: l"
    assert told == {"ops@example.org": late, "night@example.org": late, "lead@example.org": "[warning] ser alert sales began: s"}


def smtp(port: int) -> dict:
    return {"smtp_host": "127.0.0.1", "smtp_port": port, "smtp_security": "none", "mail_from": "ser@example.org"}


def test_where_one_of_two_senders_fails_the_other_is_not_told_twice(lake, tmp_path):
    page = rules({"to": ["webhook", "mail"]} | finds("a"), {"to": ["webhook", "mail"]} | finds("b"))
    with WebhookReceiver() as receiver, MailReceiver(tmp_path) as mail:
        settings = Settings(alert_webhook_url=receiver.url, **smtp(mail.port), mail_to="ops@example.org")
        mail.down = True
        with pytest.raises(Untold, match=r"ops@example.org was not told of 2 alerts: the mail server .* answered 451"):
            once(lake, page, settings)
        assert (len(receiver.taken), mail.asked, mail.letters) == (1, 3, [])  # three tries
        assert {row[0] for row in rows(lake, "why_not_told") if row[0]} == {f"the mail server 127.0.0.1:{mail.port} answered 451"}
        with pytest.raises(Untold):
            once(lake, page, settings, NOW + DAY / 24)
        mail.down = False
        once(lake, page, settings, NOW + DAY / 12)
        once(lake, page, settings, NOW + DAY / 6)
        assert len(receiver.taken) == 1
        [(_, letter)] = mail.letters
        assert letter["Subject"] == "[error] ser alerts: 2 began"
    found = [row for row in rows(lake) if row[2] == "ops@example.org"]
    assert found == [(s, "began", "ops@example.org", told) for told in (False, False, True) for s in ("a", "b")]


def test_an_alert_that_began_and_ended_while_a_sender_was_down_is_told(lake):
    with WebhookReceiver() as receiver:
        settings = Settings(alert_webhook_url=receiver.url)
        receiver.answers = [500] * 6
        with pytest.raises(Untold, match="the webhook at http://127.0.0.1 answered 500"):
            once(lake, rules(finds("a")), settings)
        with pytest.raises(Untold):
            once(lake, rules(finds()), settings, NOW + DAY)
        once(lake, rules(finds()), settings, NOW + 2 * DAY)
        assert once(lake, rules(finds()), settings, NOW + 3 * DAY) == []
    [message] = receiver.taken
    assert message["title"] == "[info] ser alert r0 ended: a" and "since 2026-11-21 06:00" in message["text"]


def test_a_sender_that_comes_back_within_a_run_is_tried_again(lake):
    with WebhookReceiver() as receiver:
        receiver.answers = [503, 503]
        once(lake, rules(finds("a")), Settings(alert_webhook_url=receiver.url))
    assert (receiver.asked, len(receiver.taken)) == (3, 1)


def test_what_comes_and_goes_is_told_a_few_times_a_day(lake):
    """A hundred queues that are found at one time and not at the next, each two hours for two days; then it is quiet."""
    found = rules({"name": "flaps"} | finds(*[f"q{number}" for number in range(100)]))
    none = rules({"name": "flaps"} | finds())
    with WebhookReceiver() as receiver:
        settings = Settings(alert_webhook_url=receiver.url)
        for number in range(24):
            once(lake, none if number % 2 else found, settings, NOW + timedelta(hours=2 * number))
        first_day = [each for each in receiver.taken if each["asked_at"] < (NOW + DAY).isoformat()]
        assert [each["title"].split(": ")[1] for each in first_day] == ["100 began", "100 ended", "100 began", "100 ended", "100 began"]
        assert "q0 (it comes and goes: 3 times in 24 hours, its end is not told before it is quiet)" in first_day[-1]["text"]
        assert "comes and goes" not in first_day[-2]["text"]
        assert len(receiver.taken) <= 12  # not 24
        told = len(receiver.taken)
        for hour in range(49, 97, 6):
            once(lake, none, settings, NOW + timedelta(hours=hour))
        assert [each["title"] for each in receiver.taken[told:]] == ["[info] ser alerts: 100 ended"]


def test_of_two_runs_at_once_one_tells(lake):
    page = rules(finds("a"), finds("b"))
    with WebhookReceiver() as receiver:
        receiver.wait_s = 0.5
        settings = Settings(alert_webhook_url=receiver.url)
        asked = [ask(lake, page, settings, NOW), ask(lake, page, settings, NOW + timedelta(seconds=1))]
        with ThreadPoolExecutor() as pool:
            done = list(pool.map(lambda each: tell(lake, each, page, settings, {}, NOW), asked))
        assert sorted(line.partition(":")[2] for [line] in done) == [" [error] ser alerts: 2 began", " nothing, another run is telling it"]
        assert once(lake, page, settings, NOW + timedelta(seconds=2)) == []
    assert (receiver.asked, rows(lake)) == (1, [("a", "began", "webhook", True), ("b", "began", "webhook", True)])


def test_what_a_killed_run_had_begun_to_tell_is_told_by_a_later_one(lake, monkeypatch):
    page = rules(finds("a"))
    with WebhookReceiver() as receiver:
        settings = Settings(alert_webhook_url=receiver.url)
        with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
            killed.setattr(alerts, "_hand_over", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            once(lake, page, settings)
        assert once(lake, page, settings, NOW + timedelta(minutes=5)) == []  # it may be at it still
        once(lake, page, settings, NOW + timedelta(minutes=20))
    assert [each["title"] for each in receiver.taken] == ["[error] ser alert r0 began: a"]


@pytest.mark.parametrize("how", ["silent", "dripping"])
def test_a_receiver_that_hangs_is_given_up_and_the_next_is_told(lake, tmp_path, monkeypatch, how):
    monkeypatch.setattr(alerts, "LIMIT_S", 0.6)
    monkeypatch.setattr(notifiers, "TIMEOUT_S", 0.15 if how == "silent" else 30)
    page = rules({"to": ["webhook", "ops@example.org"]} | finds("a"))
    with HangingReceiver(drips=how == "dripping") as receiver, MailReceiver(tmp_path) as mail:
        settings = Settings(alert_webhook_url=receiver.url, **smtp(mail.port))
        why = "gave no answer" if how == "silent" else "was not done within 0.6 s"
        with pytest.raises(Untold, match=f"webhook was not told of 1 alerts: .*{why}"):
            once(lake, page, settings)
        assert receiver.asked == (3 if how == "silent" else 1)  # what may have been taken is not sent again at once
    assert [to for to, _ in mail.letters] == ["ops@example.org"]


def test_a_lake_that_takes_nothing_more_is_told_all_the_same(lake, monkeypatch):
    """The disk is full: that is when an alert is needed."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with WebhookReceiver() as receiver:
        settings = Settings(alert_webhook_url=receiver.url)
        monkeypatch.setattr(LocalStore, "create_bytes", full)
        with pytest.raises(Untold, match="what webhook is told cannot be written down, and is told again by the next run: .*No space left"):
            once(lake, rules(finds("a")), settings)
        assert len(receiver.taken) == 1


def test_a_rule_has_its_own_time_of_reminding(lake):
    page = rules({"name": "month", "remind_after_h": None} | finds("a"), {"name": "day"} | finds("b"), remind_after_h=24)
    with WebhookReceiver() as receiver:
        for day in range(3):
            once(lake, page, Settings(alert_webhook_url=receiver.url), NOW + day * DAY)
    assert [each["title"] for each in receiver.taken[1:]] == ["[error] ser alert day stays: b"] * 2


def test_what_is_not_set_up_is_named_and_stops_no_other(lake):
    page = rules({"to": ["prefect"]} | finds("a"), {"to": ["mail"]} | finds("a"), {"to": ["webhook"]} | finds("a"))
    with WebhookReceiver() as receiver:
        with pytest.raises(Untold, match="nothing here can tell prefect.*SER_MAIL_TO holds no address"):
            once(lake, page, Settings(alert_webhook_url=receiver.url))
        assert len(receiver.taken) == 1
    with pytest.raises(Untold, match="SER_ALERT_WEBHOOK_URL is not set"):
        once(lake, rules(finds("b")), Settings())


def test_a_rule_that_cannot_be_asked_stops_no_other_and_ends_no_alert(lake):
    both = rules(finds("a"), finds("b"))
    faulty = rules({"sql": "FROM nowhere"}, finds())
    with WebhookReceiver() as receiver:
        settings = Settings(alert_webhook_url=receiver.url)
        once(lake, both, settings)
        with pytest.raises(Untold, match="rule r0: .*nowhere"):
            once(lake, faulty, settings, NOW + DAY / 2)
        assert receiver.taken[-1]["title"] == "[info] ser alert r1 ended: b"
    with pytest.raises(ValueError, match="nowhere"):
        rehearse(lake, faulty, Settings())


def test_an_alert_of_a_rule_that_is_gone_ends(lake):
    with WebhookReceiver() as receiver:
        settings = Settings(alert_webhook_url=receiver.url)
        once(lake, rules({"name": "old"} | finds("a")), settings)
        once(lake, rules({"name": "new"} | finds()), settings, NOW + DAY / 24)
        once(lake, rules({"name": "new"} | finds()), settings, NOW + DAY / 12)
    assert [each["title"] for each in receiver.taken[1:]] == ["[info] ser alert old ended: a (no longer among the rules)"]


def test_the_doctor_the_compaction_and_the_retention_know_the_table(lake):
    with WebhookReceiver() as receiver:
        once(lake, rules(finds("a")), Settings(alert_webhook_url=receiver.url))
    store = open_store(lake)
    [part] = Path(lake, "alerts").rglob("*.parquet")
    assert examine(lake, deep=True).findings == []
    compact(store, Settings(), older_than_days=0, listing_s=0, reading_s=0)
    assert part.exists()
    settings, day = Settings(keep_calls_days=30), NOW.date()
    assert retention.expired(store, settings, day + 30 * DAY) == []
    [gone] = retention.expired(store, settings, day + 31 * DAY)
    assert (gone.table, gone.day, len(gone.keys)) == ("alerts", day, 1)
    part.write_bytes(part.read_bytes()[:-9])
    assert [finding.what for finding in examine(lake).findings] == ["broken_part"]


def test_a_rehearsal_tells_and_writes_nothing(lake):
    page = rules(finds("a"))
    with WebhookReceiver() as receiver:
        text = rehearse(lake, page, Settings(alert_webhook_url=receiver.url), NOW)
        assert receiver.asked == 0 and rows(lake) == []
    assert "To webhook: [error] ser alert r0 began: a" in text


def test_what_comes_from_outside_stays_text_in_every_message(lake, tmp_path):
    hostile = "q\nSubject: x\r\nBcc: all@example.org <b>"
    page = rules({"sql": f"SELECT '{hostile}' AS subject", "to": ["webhook", "mail"]})
    with WebhookReceiver() as receiver, MailReceiver(tmp_path) as mail:
        once(lake, page, Settings(alert_webhook_url=receiver.url, **smtp(mail.port), mail_to="ops@example.org"))
    assert receiver.taken[0]["began"][0]["subject"] == "q Subject: x Bcc: all@example.org <b>"
    [(to, letter)] = mail.letters
    assert (to, letter["Bcc"], letter.get_content_type()) == ("ops@example.org", None, "text/plain")
    assert letter["Subject"] == "[error] ser alert r0 began: q Subject: x Bcc: all@example.org <b>"


def test_no_secret_is_in_a_row_a_message_a_log_or_an_error(lake, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    page = rules({"to": ["webhook", "mail"]} | finds("a"))
    with WebhookReceiver("secret-path") as receiver, MailReceiver(tmp_path) as mail:
        made = {"smtp_user": "night", "smtp_password": "secret-password", "mail_to": "ops@example.org"}
        settings = Settings(alert_webhook_url=receiver.url, **smtp(mail.port) | {"smtp_security": "starttls"}, **made)
        receiver.answers = [500] * 3
        with pytest.raises(Untold) as caught:
            once(lake, page, settings)
        with pytest.raises(Untold):
            once(lake, page, settings, NOW + DAY)
        message = {name: value for name, value in receiver.taken[0].items() if name != "path"}
    for text in (str(caught.value), str(rows(lake, "*")), str(message), caplog.text, repr(settings)):
        assert "secret-" not in text
    assert "the mail server" in str(rows(lake, "*"))


def test_the_command_checks_tells_and_says_how_it_went(lake, tmp_path, monkeypatch):
    for name in ("PREFECT_API_URL", "SER_ALERTS", "SER_SMTP_HOST", "SER_MAIL_TO"):
        monkeypatch.delenv(name, raising=False)
    write(lake, "runs", [run_row(checks_failed=1, failed_chunks=0)], chunk="r1")
    file = tmp_path / "rules.yaml"
    file.write_text(
        "to: [webhook]\nrules:\n  - {name: checks, ready: check_failed, severity: error, message: 'Run {run_id}: {checks_failed} checks'}\n"
    )
    command = ["alerts", "--lake", lake, "--rules", str(file)]
    with WebhookReceiver() as receiver:
        monkeypatch.setenv("SER_ALERT_WEBHOOK_URL", receiver.url)
        answer = CliRunner().invoke(app, [*command, "--dry-run"])
        assert answer.exit_code == 0 and "To webhook: [error] ser alert checks began: Run r1: 1 checks" in answer.output
        assert receiver.asked == 0
        answer = CliRunner().invoke(app, command)
        assert answer.exit_code == 0 and "Told webhook: [error] ser alert checks began" in answer.output
        answer = CliRunner().invoke(app, command)
        assert answer.exit_code == 0 and "Nobody had to be told anything." in answer.output
        assert len(receiver.taken) == 1
    file.write_text(file.read_text().replace("[webhook]", "[prefect]"))
    answer = CliRunner().invoke(app, command)
    assert answer.exit_code == 1 and "prefect was not told of 1 alerts: PREFECT_API_URL is not set" in answer.output
    file.write_text(file.read_text().replace("severity", "severty"))
    for options in ([], ["--dry-run"]):
        answer = CliRunner().invoke(app, [*command, *options])
        assert answer.exit_code == 2 and "rule checks: there is no key 'severty'" in answer.output


def test_an_event_that_no_server_takes_is_not_told(monkeypatch):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    telling = Telling(Finding("r", "", "error", "a"), "began", NIGHT)
    message = alerts.compose("lake", [telling], Rules(rules=()), Settings(), NIGHT)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}), pytest.raises(NotSent, match="did not take the event"):
        flow.send_event(message, Settings())
