"""When notifications are sent: firing, reminder, resolved; no storm, nothing twice, nothing lost; real receivers on loopback."""

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
from ser_tasks.monitoring.alert_rules import Alert, Rules
from ser_tasks.monitoring.alerts import Notification, NotificationError, dry_run, evaluate, notify
from ser_tasks.monitoring.notifiers import SendError
from ser_tasks.settings import Settings
from ser_tasks.storage import LocalStore, open_store
from tests.factories.lakes import NIGHT, run_row, write
from tests.support.receivers import HangingReceiver, MailReceiver, WebhookReceiver

NOW = datetime(2026, 11, 21, 6, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def quick_and_direct(monkeypatch):
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


def once(lake: str, page: Rules, settings: Settings, now: datetime = NOW, notifiers: dict | None = None) -> list[str]:
    return notify(lake, evaluate(lake, page, settings, now), page, settings, notifiers or {}, now)


def rows(lake: str, columns: str = "subject, event, target, told_at IS NOT NULL") -> list[tuple]:
    if not Path(lake, "alerts").exists():
        return []
    with duckdb.connect() as connection:
        parts = f"read_parquet('{lake}/alerts/*/*.parquet')"
        return connection.execute(f"SELECT {columns} FROM {parts} ORDER BY found_at, target, rule, subject").fetchall()


def test_a_storm_is_one_message_and_its_end_is_one_more(lake):
    """A thousand queues leave their range in one night, stay there for two, and come back."""
    storm = rules({"name": "queue_anger", "severity": "warning"} | finds(*[f"queue {number:04}" for number in range(1000)]))
    with WebhookReceiver() as receiver:
        settings = Settings(alert_webhook_url=receiver.url)
        once(lake, storm, settings)
        [message] = receiver.taken
        assert message["title"] == "[warning] ser alerts: 1000 firing"
        lines = message["text"].splitlines()
        assert len(lines) < 20 and lines[-1] == "  and 990 more of queue_anger: FROM alerts"
        assert (len(message["began"]), message["counts"]["began"], len(message["text"]) < 2000) == (10, 1000, True)
        assert once(lake, storm, settings, NOW + timedelta(hours=3)) == []
        assert len(receiver.taken) == 1
        assert len(rows(lake)) == 1000
        once(lake, rules({"name": "queue_anger", "severity": "warning"} | finds()), settings, NOW + timedelta(hours=6))
        assert [each["title"] for each in receiver.taken[1:]] == ["[info] ser alerts: 1000 resolved"]
        assert once(lake, rules({"name": "queue_anger"} | finds()), settings, NOW + timedelta(hours=9)) == []
        assert receiver.asked == 2


def test_a_firing_alert_is_reminded_of_and_resolved(lake):
    page, none = rules(finds("a"), remind_after_h=24), rules(finds(), remind_after_h=24)
    with WebhookReceiver() as receiver:
        settings = Settings(alert_webhook_url=receiver.url)
        for hours in (0, 1, 23, 24 - 0.1, 25, 47, 48):  # the schedule is never quite on time
            once(lake, page, settings, NOW + timedelta(hours=hours))
        once(lake, none, settings, NOW + timedelta(hours=49))
        once(lake, none, settings, NOW + timedelta(hours=50))
        once(lake, page, settings, NOW + timedelta(hours=51))
    titles = ["[error] ser alert r0 firing: a", "[error] ser alert r0 reminder: a", "[error] ser alert r0 reminder: a"]
    titles += ["[info] ser alert r0 resolved: a", "[error] ser alert r0 firing: a"]
    assert [each["title"] for each in receiver.taken] == titles
    assert "a (since 2026-11-21 06:00)" in receiver.taken[3]["text"]
    assert [event for _, event, _, _ in rows(lake)] == ["began", "stays", "stays", "ended", "began"]


def test_without_reminders_an_alert_is_sent_once(lake):
    page = rules(finds("a"), remind_after_h=None)
    with WebhookReceiver() as receiver:
        for day in range(4):
            once(lake, page, Settings(alert_webhook_url=receiver.url), NOW + day * DAY)
    assert len(receiver.taken) == 1


def test_each_target_gets_its_alerts_the_worst_first(lake, tmp_path):
    page = rules(
        {"name": "disk", "severity": "info"} | finds("d"),
        {"name": "late", "to": ["mail", "webhook", "mail"]} | finds("l"),
        {"name": "sales", "to": ["lead@example.org"], "severity": "warning"} | finds("s"),
    )
    with WebhookReceiver() as receiver, MailReceiver(tmp_path) as mail:
        settings = Settings(alert_webhook_url=receiver.url, **smtp(mail.port), mail_to="Ops <ops@example.org>, night@example.org")
        once(lake, page, settings)
    assert [line.split()[0] for line in receiver.taken[0]["text"].splitlines()[3:]] == ["error", "info"]
    subjects = {to: letter["Subject"] for to, letter in mail.letters}
    late = "[error] ser alert late firing: l"
    assert subjects == {"ops@example.org": late, "night@example.org": late, "lead@example.org": "[warning] ser alert sales firing: s"}


def smtp(port: int) -> dict:
    return {"smtp_host": "127.0.0.1", "smtp_port": port, "smtp_security": "none", "mail_from": "ser@example.org"}


def test_if_one_of_two_notifiers_fails_the_other_sends_nothing_twice(lake, tmp_path):
    page = rules({"to": ["webhook", "mail"]} | finds("a"), {"to": ["webhook", "mail"]} | finds("b"))
    with WebhookReceiver() as receiver, MailReceiver(tmp_path) as mail:
        settings = Settings(alert_webhook_url=receiver.url, **smtp(mail.port), mail_to="ops@example.org")
        mail.down = True
        with pytest.raises(NotificationError, match=r"ops@example.org was not notified of 2 alerts: the mail server .* answered 451"):
            once(lake, page, settings)
        assert (len(receiver.taken), mail.asked, mail.letters) == (1, 3, [])  # three tries
        assert {row[0] for row in rows(lake, "why_not_told") if row[0]} == {f"the mail server 127.0.0.1:{mail.port} answered 451"}
        with pytest.raises(NotificationError):
            once(lake, page, settings, NOW + DAY / 24)
        mail.down = False
        once(lake, page, settings, NOW + DAY / 12)
        once(lake, page, settings, NOW + DAY / 6)
        assert len(receiver.taken) == 1
        [(_, letter)] = mail.letters
        assert letter["Subject"] == "[error] ser alerts: 2 firing"
    found = [row for row in rows(lake) if row[2] == "ops@example.org"]
    assert found == [(s, "began", "ops@example.org", sent) for sent in (False, False, True) for s in ("a", "b")]


def test_an_alert_that_fired_and_ended_while_a_target_was_down_is_sent_as_resolved(lake):
    with WebhookReceiver() as receiver:
        settings = Settings(alert_webhook_url=receiver.url)
        receiver.answers = [500] * 6
        with pytest.raises(NotificationError, match="the webhook at http://127.0.0.1 answered 500"):
            once(lake, rules(finds("a")), settings)
        with pytest.raises(NotificationError):
            once(lake, rules(finds()), settings, NOW + DAY)
        once(lake, rules(finds()), settings, NOW + 2 * DAY)
        assert once(lake, rules(finds()), settings, NOW + 3 * DAY) == []
    [message] = receiver.taken
    assert message["title"] == "[info] ser alert r0 resolved: a" and "since 2026-11-21 06:00" in message["text"]


def test_a_failing_target_is_retried_within_a_run(lake):
    with WebhookReceiver() as receiver:
        receiver.answers = [503, 503]
        once(lake, rules(finds("a")), Settings(alert_webhook_url=receiver.url))
    assert (receiver.asked, len(receiver.taken)) == (3, 1)


def test_flapping_alerts_are_sent_a_few_times_a_day(lake):
    """A hundred queues that are found at one time and not at the next, each two hours for two days; then it is quiet."""
    found = rules({"name": "flaps"} | finds(*[f"q{number}" for number in range(100)]))
    none = rules({"name": "flaps"} | finds())
    with WebhookReceiver() as receiver:
        settings = Settings(alert_webhook_url=receiver.url)
        for number in range(24):
            once(lake, none if number % 2 else found, settings, NOW + timedelta(hours=2 * number))
        first_day = [each for each in receiver.taken if each["asked_at"] < (NOW + DAY).isoformat()]
        assert [each["title"].split(": ")[1] for each in first_day] == [
            "100 firing",
            "100 resolved",
            "100 firing",
            "100 resolved",
            "100 firing",
        ]
        assert "q0 (flapping: fired 3 times in 24 hours, reported as resolved only once it stays quiet)" in first_day[-1]["text"]
        assert "flapping: fired" not in first_day[-2]["text"]
        assert len(receiver.taken) <= 12  # not 24
        sent = len(receiver.taken)
        for hour in range(49, 97, 6):
            once(lake, none, settings, NOW + timedelta(hours=hour))
        assert [each["title"] for each in receiver.taken[sent:]] == ["[info] ser alerts: 100 resolved"]


def test_of_two_concurrent_runs_one_sends(lake):
    page = rules(finds("a"), finds("b"))
    with WebhookReceiver() as receiver:
        receiver.wait_s = 0.5
        settings = Settings(alert_webhook_url=receiver.url)
        evaluations = [evaluate(lake, page, settings, now) for now in (NOW, NOW + timedelta(seconds=1))]
        with ThreadPoolExecutor() as pool:
            done = list(pool.map(lambda each: notify(lake, each, page, settings, {}, NOW), evaluations))
        assert sorted(line.partition(":")[2] for [line] in done) == [" [error] ser alerts: 2 firing", " nothing, another run is sending it"]
        assert once(lake, page, settings, NOW + timedelta(seconds=2)) == []
    assert (receiver.asked, rows(lake)) == (1, [("a", "began", "webhook", True), ("b", "began", "webhook", True)])


def test_what_a_killed_run_was_sending_is_sent_by_a_later_one(lake, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    page = rules(finds("a"))
    with WebhookReceiver() as receiver:
        settings = Settings(alert_webhook_url=receiver.url)
        with monkeypatch.context() as patched:
            patched.setattr(alerts, "send", interrupted)
            with pytest.raises(KeyboardInterrupt):
                once(lake, page, settings)
        assert once(lake, page, settings, NOW + timedelta(minutes=5)) == []  # that run may still be sending it
        once(lake, page, settings, NOW + timedelta(minutes=20))
    assert [each["title"] for each in receiver.taken] == ["[error] ser alert r0 firing: a"]


@pytest.mark.parametrize("how", ["silent", "dripping"])
def test_a_target_that_hangs_is_abandoned_and_the_next_is_notified(lake, tmp_path, monkeypatch, how):
    monkeypatch.setattr(alerts, "SEND_LIMIT_S", 0.6)
    monkeypatch.setattr(notifiers, "TIMEOUT_S", 0.15 if how == "silent" else 30)
    page = rules({"to": ["webhook", "ops@example.org"]} | finds("a"))
    with HangingReceiver(drips=how == "dripping") as receiver, MailReceiver(tmp_path) as mail:
        settings = Settings(alert_webhook_url=receiver.url, **smtp(mail.port))
        why = "did not answer" if how == "silent" else "did not finish within 0.6 s"
        with pytest.raises(NotificationError, match=f"webhook was not notified of 1 alerts: .*{why}"):
            once(lake, page, settings)
        assert receiver.asked == (3 if how == "silent" else 1)  # a message that may have been accepted is not sent again at once
    assert [to for to, _ in mail.letters] == ["ops@example.org"]


def test_alerts_are_sent_even_if_the_lake_cannot_be_written(lake, monkeypatch):
    """The disk is full: that is when an alert is needed."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with WebhookReceiver() as receiver:
        settings = Settings(alert_webhook_url=receiver.url)
        monkeypatch.setattr(LocalStore, "create_bytes", full)
        with pytest.raises(
            NotificationError, match="the notifications to webhook cannot be recorded, and the next run sends them again: .*No space left"
        ):
            once(lake, rules(finds("a")), settings)
        assert len(receiver.taken) == 1


def test_a_rule_has_its_own_reminder_interval(lake):
    page = rules({"name": "month", "remind_after_h": None} | finds("a"), {"name": "day"} | finds("b"), remind_after_h=24)
    with WebhookReceiver() as receiver:
        for day in range(3):
            once(lake, page, Settings(alert_webhook_url=receiver.url), NOW + day * DAY)
    assert [each["title"] for each in receiver.taken[1:]] == ["[error] ser alert day reminder: b"] * 2


def test_an_unconfigured_target_is_named_and_stops_no_other(lake):
    page = rules({"to": ["prefect"]} | finds("a"), {"to": ["mail"]} | finds("a"), {"to": ["webhook"]} | finds("a"))
    with WebhookReceiver() as receiver:
        with pytest.raises(NotificationError, match="no notifier here serves prefect.*SER_MAIL_TO has no address"):
            once(lake, page, Settings(alert_webhook_url=receiver.url))
        assert len(receiver.taken) == 1
    with pytest.raises(NotificationError, match="SER_ALERT_WEBHOOK_URL is not set"):
        once(lake, rules(finds("b")), Settings())


def test_a_rule_that_fails_stops_no_other_and_resolves_no_alert(lake):
    both = rules(finds("a"), finds("b"))
    faulty = rules({"sql": "FROM nowhere"}, finds())
    with WebhookReceiver() as receiver:
        settings = Settings(alert_webhook_url=receiver.url)
        once(lake, both, settings)
        with pytest.raises(NotificationError, match="rule r0: .*nowhere"):
            once(lake, faulty, settings, NOW + DAY / 2)
        assert receiver.taken[-1]["title"] == "[info] ser alert r1 resolved: b"
    with pytest.raises(ValueError, match="nowhere"):
        dry_run(lake, faulty, Settings())


def test_an_alert_of_a_removed_rule_is_resolved(lake):
    with WebhookReceiver() as receiver:
        settings = Settings(alert_webhook_url=receiver.url)
        once(lake, rules({"name": "old"} | finds("a")), settings)
        once(lake, rules({"name": "new"} | finds()), settings, NOW + DAY / 24)
        once(lake, rules({"name": "new"} | finds()), settings, NOW + DAY / 12)
    assert [each["title"] for each in receiver.taken[1:]] == ["[info] ser alert old resolved: a (no longer among the rules)"]


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
    assert [finding.kind for finding in examine(lake).findings] == ["broken_part"]


def test_a_dry_run_sends_and_writes_nothing(lake):
    page = rules(finds("a"))
    with WebhookReceiver() as receiver:
        text = dry_run(lake, page, Settings(alert_webhook_url=receiver.url), NOW)
        assert receiver.asked == 0 and rows(lake) == []
    assert "To webhook: [error] ser alert r0 firing: a" in text


def test_what_comes_from_outside_stays_text_in_every_message(lake, tmp_path):
    hostile = "q\nSubject: x\r\nBcc: all@example.org <b>"
    page = rules({"sql": f"SELECT '{hostile}' AS subject", "to": ["webhook", "mail"]})
    with WebhookReceiver() as receiver, MailReceiver(tmp_path) as mail:
        once(lake, page, Settings(alert_webhook_url=receiver.url, **smtp(mail.port), mail_to="ops@example.org"))
    assert receiver.taken[0]["began"][0]["subject"] == "q Subject: x Bcc: all@example.org <b>"
    [(to, letter)] = mail.letters
    assert (to, letter["Bcc"], letter.get_content_type()) == ("ops@example.org", None, "text/plain")
    assert letter["Subject"] == "[error] ser alert r0 firing: q Subject: x Bcc: all@example.org <b>"


def test_no_secret_is_in_a_row_a_message_a_log_or_an_error(lake, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    page = rules({"to": ["webhook", "mail"]} | finds("a"))
    with WebhookReceiver("secret-path") as receiver, MailReceiver(tmp_path) as mail:
        made = {"smtp_user": "night", "smtp_password": "secret-password", "mail_to": "ops@example.org"}
        settings = Settings(alert_webhook_url=receiver.url, **smtp(mail.port) | {"smtp_security": "starttls"}, **made)
        receiver.answers = [500] * 3
        with pytest.raises(NotificationError) as caught:
            once(lake, page, settings)
        with pytest.raises(NotificationError):
            once(lake, page, settings, NOW + DAY)
        message = {name: value for name, value in receiver.taken[0].items() if name != "path"}
    for text in (str(caught.value), str(rows(lake, "*")), str(message), caplog.text, repr(settings)):
        assert "secret-" not in text
    assert "the mail server" in str(rows(lake, "*"))


def test_the_command_checks_sends_and_reports(lake, tmp_path, monkeypatch):
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
        assert answer.exit_code == 0 and "To webhook: [error] ser alert checks firing: Run r1: 1 checks" in answer.output
        assert receiver.asked == 0
        answer = CliRunner().invoke(app, command)
        assert answer.exit_code == 0 and "Sent to webhook: [error] ser alert checks firing" in answer.output
        answer = CliRunner().invoke(app, command)
        assert answer.exit_code == 0 and "No notification was due." in answer.output
        assert len(receiver.taken) == 1
    file.write_text(file.read_text().replace("[webhook]", "[prefect]"))
    answer = CliRunner().invoke(app, command)
    assert answer.exit_code == 1 and "prefect was not notified of 1 alerts: PREFECT_API_URL is not set" in answer.output
    file.write_text(file.read_text().replace("severity", "severty"))
    for options in ([], ["--dry-run"]):
        answer = CliRunner().invoke(app, [*command, *options])
        assert answer.exit_code == 2 and "rule checks: there is no key 'severty'" in answer.output


def test_an_event_that_no_server_accepts_is_a_send_error(monkeypatch):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    notification = Notification(Alert("r", "", "error", "a"), "began", NIGHT)
    message = alerts.compose("lake", [notification], Rules(rules=()), Settings(), NIGHT)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}), pytest.raises(SendError, match="did not accept the event"):
        flow.send_event(message, Settings())


def test_reminders_end_where_somebody_acknowledged_the_alert_until_it_fires_anew(lake):
    sent = []

    def passed(found, now):
        sent.clear()
        page = rules(finds(*found), remind_after_h=24, to=["prefect"])
        once(lake, page, Settings(), now, {"prefect": lambda message, _: sent.append(message.data)})
        return [(state, each["subject"]) for message in sent for state in alerts.STATES for each in message[state]]

    assert passed(["sales", "support"], NOW) == [("began", "sales"), ("began", "support")]
    alerts.acknowledge(lake, Alert("r0", "sales", "error", "sales"), NOW, "ann")
    assert passed(["sales", "support"], NOW + DAY) == [("stays", "support")]
    assert passed(["support"], NOW + 2 * DAY) == [("stays", "support"), ("ended", "sales")], "that it is resolved is said all the same"
    assert passed(["sales", "support"], NOW + 3 * DAY) == [("began", "sales"), ("stays", "support")]
    assert passed(["sales", "support"], NOW + 4 * DAY) == [("stays", "sales"), ("stays", "support")]
