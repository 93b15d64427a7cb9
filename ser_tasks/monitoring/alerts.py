"""The alerts: evaluates every rule, and notifies each target of alerts that fire, keep firing, or are resolved.

The lake's table ``alerts`` records every notification. A row is written before a notification is sent, and again once the target has
accepted it. An alert that keeps firing is therefore sent once (and again after ``remind_after_h``, until somebody acknowledges it),
concurrent runs never send the same notification twice, the next run retries what a target did not accept, and other targets receive
nothing twice. A flapping alert is sent ``flaps_after`` times a day.
"""

import contextvars
import functools
import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from ser_tasks import schemas
from ser_tasks.lake import catalog, parts, read_only
from ser_tasks.monitoring import alert_rules
from ser_tasks.monitoring.alert_rules import Alert, RuleError, Rules
from ser_tasks.monitoring.notifiers import Message, SendError, mail, mail_addresses, post
from ser_tasks.settings import Settings, code_version
from ser_tasks.storage import open_store

Notifier = Callable[[Message, Settings], None]
"""Sends a message, or raises SendError."""

PAUSES_S = (2.0, 10.0)
"""Waiting time before the second and third attempt to send a message."""
SEND_LIMIT_S = 60.0
"""A target that has not finished accepting a message by then is abandoned for this run, even if it still sends bytes."""
IN_PROGRESS = timedelta(minutes=15)
"""A run is done with a target within this time: a notification without a result that is older was interrupted."""
REMINDER_TOLERANCE = timedelta(minutes=15)
"""A reminder is due this much early, since runs every 24 hours are never exactly 24 hours apart."""
LAST_NOTIFICATIONS = """
    WITH acknowledged AS (
        SELECT rule, subject, max(since) AS acknowledged_since FROM alerts WHERE event = 'acknowledged' GROUP BY rule, subject
    )
    SELECT
        *,
        coalesce(since <= acknowledged_since, false) AS acknowledged,
        count(*) FILTER (event = 'began' AND told_at IS NOT NULL AND found_at > $now - INTERVAL 24 HOUR) OVER own AS begins
    FROM alerts
    LEFT JOIN acknowledged USING (rule, subject)
    WHERE event <> 'acknowledged'
    WINDOW own AS (PARTITION BY rule, subject, target)
    QUALIFY row_number() OVER (PARTITION BY rule, subject, target ORDER BY found_at DESC, told_at DESC NULLS LAST) = 1
"""
"""The last row of each alert and target, whether it was acknowledged since it fires, and how often it was sent as firing in 24 hours."""
MAX_TITLE_CHARACTERS = 150
SEVERITIES = ("error", "warning", "info")
STATES = {"began": "firing", "stays": "reminder", "ended": "resolved"}
"""Events as the table ``alerts`` and the data of a message name them -> the state that people read."""


@dataclass(frozen=True)
class Notification:
    """One alert that is due to one target."""

    alert: Alert
    event: str
    """began, stays or ended; ``STATES`` has the words that people read."""
    since: datetime
    after: datetime | None = None
    """``found_at`` of the last row of this alert for this target."""
    note: str = ""


@dataclass(frozen=True)
class Evaluation:
    """The alerts that the rules found, and the notifications that are due."""

    alerts: list[Alert]
    errors: list[str]
    """Why some rules could not be evaluated."""
    due: dict[str, list[Notification]]
    """Notifications by target; a target without any is absent."""


class NotificationError(RuntimeError):
    """Some notifications were not sent, or some rules not evaluated; the next run tries again. The message says which, and why."""


def evaluate(lake: str, rules: Rules, settings: Settings, now: datetime | None = None) -> Evaluation:
    """Evaluates every rule. A rule that fails stops no other rule, and its alerts keep their state."""
    now = now or datetime.now(UTC)
    alerts: list[Alert] = []
    errors: list[str] = []
    failed_rules: set[str] = set()
    with catalog.connect(lake) as connection:
        alert_rules.prepare(connection, lake, settings)
        read_only.lock(connection, lake)  # rules may come from others
        for rule in rules.rules:
            try:
                alerts += alert_rules.evaluate(connection, rule, now, settings)
            except RuleError as error:
                errors.append(str(error))
                failed_rules.add(rule.name)
        last = read_only.query(connection, LAST_NOTIFICATIONS, {"now": now}).to_pylist()
    return Evaluation(alerts, errors, _due(rules, alerts, failed_rules, last, settings, now))


def notify(
    lake: str,
    evaluation: Evaluation,
    rules: Rules,
    settings: Settings,
    notifiers: dict[str, Notifier],
    now: datetime | None = None,
) -> list[str]:
    """Sends one message to each target with notifications due, and records them. Returns a line for each target.

    ``notifiers`` serve targets other than ``webhook`` and e-mail addresses. Raises NotificationError after all targets were tried.
    """
    now = now or datetime.now(UTC)
    done, errors = [], list(evaluation.errors)
    for target, notifications in evaluation.due.items():
        message = compose(lake, notifications, rules, settings, now)
        try:
            key = _claim(lake, target, notifications, now)
        except OSError as error:  # with a full disk, alerts are still sent
            key = ""
            errors.append(f"the notifications to {target} cannot be recorded, and the next run sends them again: {error}")
        if key is None:
            done.append(f"{target}: nothing, another run is sending it")
            continue
        problem = send(message, target, notifiers, settings)
        if key:
            try:
                open_store(lake).write_bytes(key, _rows(target, notifications, now, None if problem else datetime.now(UTC), problem))
            except OSError as error:
                errors.append(f"the notifications sent to {target} cannot be recorded: {error}")
        if problem:
            errors.append(f"{target} was not notified of {len(notifications)} alerts: {problem}")
        else:
            done.append(f"{target}: {message.title}")
    if errors:
        raise NotificationError("; ".join(errors) + ". The next run tries again.")
    return done


def acknowledge(lake: str, alert: Alert, since: datetime, name: str) -> dict[str, Any]:
    """Records that ``name`` has seen an alert that fires since ``since``, and returns the row: there are no more reminders of it until it
    fires anew. Raises OSError where the lake cannot be written."""
    now = datetime.now(UTC)
    [row] = _row_of_each([Notification(alert, "acknowledged", since)], None, now)
    row |= {"acknowledged_by": name}
    key = f"{parts.folder('alerts', day=now.date())}{secrets.token_hex(10)}.parquet"
    open_store(lake).create_bytes(key, parts.encode("alerts", schemas.table("alerts", [row])))
    return row


def compose(lake: str, notifications: list[Notification], rules: Rules, settings: Settings, now: datetime) -> Message:
    """One message of all notifications due to a target: by state, then by severity, at most ``lines_a_rule`` lines for each rule."""
    counts = {event: sum(each.event == event for each in notifications) for event in STATES}
    open_severities = [each.alert.severity for each in notifications if each.event != "ended"]
    severity = min(open_severities, key=SEVERITIES.index) if open_severities else "info"
    counted = ", ".join(f"{count} {STATES[event]}" for event, count in counts.items() if count)
    zone = ZoneInfo(settings.time_zone)
    lines = [f"Lake {lake}, {now.astimezone(zone):%Y-%m-%d %H:%M} {settings.time_zone}"]
    data: dict[str, Any] = {"severity": severity, "lake": lake, "asked_at": now.isoformat(), "counts": counts}
    for event, state in STATES.items():
        of_event = sorted((each for each in notifications if each.event == event), key=_order)
        data[event] = []
        if of_event:
            lines += ["", state.capitalize()]
        for name, group in groupby(of_event, key=lambda each: each.alert.rule):
            of_rule = list(group)
            for each in of_rule[: rules.lines_a_rule]:
                alert = each.alert
                since = "" if event == "began" else f" (since {each.since.astimezone(zone):%Y-%m-%d %H:%M})"
                lines.append(f"  {alert.severity}  {name}: {alert.message}{since}{each.note}")
                data[event].append({"rule": name, "subject": alert.subject, "severity": alert.severity, "message": alert.message})
            left_out = len(of_rule) - rules.lines_a_rule
            if left_out > 0:
                lines.append(f"  and {left_out} more of {name}: FROM alerts")
    first = notifications[0]
    only = f"{first.alert.rule} {STATES[first.event]}: {first.alert.message}"
    title = f"[{severity}] ser alerts: {counted}" if len(notifications) > 1 else f"[{severity}] ser alert {only}"
    return Message(title[:MAX_TITLE_CHARACTERS], "\n".join(lines) + "\n", data)


def dry_run(lake: str, rules: Rules, settings: Settings, now: datetime | None = None) -> str:
    """The messages that ``notify`` would send, as text. Sends and writes nothing. Raises ValueError for rules that fail."""
    now = now or datetime.now(UTC)
    evaluation = evaluate(lake, rules, settings, now)
    if evaluation.errors:
        raise ValueError("; ".join(evaluation.errors))
    pages = [f"{len(rules.rules)} rules evaluated, {len(evaluation.alerts)} alerts found."]
    for target, notifications in evaluation.due.items():
        message = compose(lake, notifications, rules, settings, now)
        pages.append(f"To {target}: {message.title}\n{message.text}")
    return "\n".join(pages if evaluation.due else [*pages, "No notification would be sent."])


def targets(rules: Rules, settings: Settings) -> dict[str, list[str]]:
    """The targets of each rule, by its name; ``mail`` becomes each address of SER_MAIL_TO."""
    mail_targets = mail_addresses(settings) or ["mail"]
    return {
        rule.name: list(dict.fromkeys(each for to in rule.to or rules.to for each in (mail_targets if to == "mail" else [to])))
        for rule in rules.rules
    }


def send(message: Message, target: str, notifiers: dict[str, Notifier], settings: Settings) -> str | None:
    """Sends a message with up to three attempts. Returns why the target did not accept it, or None if it did."""
    if target in notifiers:
        attempt = functools.partial(notifiers[target], message, settings)
    elif target == "webhook":
        attempt = functools.partial(post, message, settings)
    elif "@" in target:
        attempt = functools.partial(mail, message, target, settings)
    elif target == "mail":
        return "SER_MAIL_TO has no address: set the recipients of the alerts"
    else:
        return f"no notifier here serves {target}"
    for pause_s in (*PAUSES_S, None):
        try:
            _within_limit(attempt)
            return None
        except TimeoutError:
            return f"it did not finish within {SEND_LIMIT_S:g} s; it may have accepted the message"
        except SendError as error:
            if pause_s is None:
                return str(error)
            time.sleep(pause_s)
    raise AssertionError("unreachable")


def _due(
    rules: Rules, alerts: list[Alert], failed_rules: set[str], last: list[dict[str, Any]], settings: Settings, now: datetime
) -> dict[str, list[Notification]]:
    due: dict[str, list[Notification]] = {}
    targets_by_rule = targets(rules, settings)
    last_rows = {(row["rule"], row["subject"], row["target"]): row for row in last}
    remind_after_h = {rule.name: rules.reminds_after_h(rule) for rule in rules.rules}
    for alert in alerts:
        hours = remind_after_h[alert.rule]
        for target in targets_by_rule[alert.rule]:
            before = last_rows.pop((alert.rule, alert.subject, target), None)
            if before is not None and _in_progress(before, now):
                continue
            if before is None or before["event"] == "ended":
                times = 1 + (before["begins"] if before else 0)
                note = f" (flapping: fired {times} times in 24 hours, reported as resolved only once it stays quiet)"
                note = note if times >= rules.flaps_after else ""
                after = before["found_at"] if before else None
                due.setdefault(target, []).append(Notification(alert, "began", now, after, note))
            elif before["told_at"] is None:
                due.setdefault(target, []).append(Notification(alert, before["event"], before["since"], before["found_at"]))
            elif (
                hours is not None and not before["acknowledged"] and now - before["found_at"] >= timedelta(hours=hours) - REMINDER_TOLERANCE
            ):
                due.setdefault(target, []).append(Notification(alert, "stays", before["since"], before["found_at"]))
    used_targets = {target for each in targets_by_rule.values() for target in each}
    for (rule, subject, target), before in last_rows.items():  # alerts that no rule finds any more
        over = before["event"] == "ended" and before["told_at"] is not None
        flaps = before["told_at"] is not None and before["begins"] >= rules.flaps_after
        if over or flaps or rule in failed_rules or target not in used_targets or _in_progress(before, now):
            continue
        why = "" if target in targets_by_rule.get(rule, ()) else " (no longer among the rules)"
        ended = Alert(rule, subject, before["severity"], before["message"].removesuffix(why) + why)
        due.setdefault(target, []).append(Notification(ended, "ended", before["since"], before["found_at"]))
    return due


def _in_progress(row: dict[str, Any], now: datetime) -> bool:
    """Whether another run is sending this notification."""
    return row["told_at"] is None and row["why_not_told"] is None and now - row["found_at"] < IN_PROGRESS


def _within_limit(attempt: Callable[[], None]) -> None:
    """Calls ``attempt``. Raises TimeoutError after SEND_LIMIT_S, and abandons its thread: a socket's timeout covers a single read only."""
    result: Future[None] = Future()

    def work() -> None:
        try:
            attempt()
            result.set_result(None)
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True).start()
    result.result(SEND_LIMIT_S)


def _claim(lake: str, target: str, notifications: list[Notification], now: datetime) -> str | None:
    """Records that this run sends these notifications. Returns the part's key, or None where another run was first.

    The key follows from the notifications, so concurrent runs compete for the same one.
    """
    identity = sorted((each.alert.rule, each.alert.subject, each.event, str(each.after)) for each in notifications)
    name = hashlib.sha256(repr((target, identity)).encode()).hexdigest()[:20]
    key = f"{parts.folder('alerts', day=now.date())}{name}.parquet"
    return key if open_store(lake).create_bytes(key, _rows(target, notifications, now)) else None


def _rows(
    target: str, notifications: list[Notification], now: datetime, sent_at: datetime | None = None, problem: str | None = None
) -> bytes:
    """A part of the table ``alerts``. Neither ``sent_at`` nor ``problem``: the notifications are being sent."""
    return parts.encode("alerts", schemas.table("alerts", _row_of_each(notifications, target, now, sent_at, problem)))


def _row_of_each(
    notifications: list[Notification], target: str | None, now: datetime, sent_at: datetime | None = None, problem: str | None = None
) -> list[dict[str, Any]]:
    return [
        {
            "rule": each.alert.rule,
            "subject": each.alert.subject,
            "severity": each.alert.severity,
            "event": each.event,
            "message": each.alert.message,
            "since": each.since,
            "target": target,
            "found_at": now,
            "told_at": sent_at,
            "why_not_told": problem,
            "acknowledged_by": None,
            "code_version": code_version(),
        }
        for each in notifications
    ]


def _order(notification: Notification) -> tuple[int, str, str]:
    return SEVERITIES.index(notification.alert.severity), notification.alert.rule, notification.alert.subject
