"""The alerts: asks every rule, and tells each target what began, what stays and what ended since it was told last.

What is told stands in the lake's table ``alerts``: written when a run begins to tell it, and again when the target has taken it.
So an alert that stays is told once (and again after ``remind_after_h``), of two runs at once only one tells it, what a target did
not take is told by the next run, and the other targets hear nothing twice. One that comes and goes is told ``flaps_after`` times.
"""

import contextvars
import functools
import hashlib
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
from ser_tasks.monitoring.alert_rules import FaultyRule, Finding, Rules
from ser_tasks.monitoring.notifiers import Message, NotSent, mail, mail_addresses, post
from ser_tasks.settings import Settings, code_version
from ser_tasks.storage import open_store

Sender = Callable[[Message, Settings], None]
"""Hands a message over, or raises NotSent."""

PAUSES_S = (2.0, 10.0)
"""Before each further try to hand a message over."""
LIMIT_S = 60.0
"""A receiver that has not answered by then is given up for this run, however slowly it still talks."""
TELLING = timedelta(minutes=15)
"""A run is done with a target within this time: what it began to tell earlier, and did not write down as told, it was killed at."""
EARLY = timedelta(minutes=15)
"""So much before its time a reminder is due: a schedule of every 24 hours is never quite on time."""
LAST_TOLD = """
    SELECT *, count(*) FILTER (event = 'began' AND told_at IS NOT NULL AND found_at > $now - INTERVAL 24 HOUR) OVER own AS begins
    FROM alerts
    WINDOW own AS (PARTITION BY rule, subject, target)
    QUALIFY row_number() OVER (PARTITION BY rule, subject, target ORDER BY found_at DESC, told_at DESC NULLS LAST) = 1
"""
"""The last row of each alert and target, and how often it was told as begun within a day."""
LONGEST_TITLE = 150
SEVERITIES = ("error", "warning", "info")
HEADINGS = {"began": "Began", "stays": "Stays", "ended": "Ended"}


@dataclass(frozen=True)
class Telling:
    """A line for one target."""

    finding: Finding
    event: str
    """began, stays or ended."""
    since: datetime
    after: datetime | None = None
    """``found_at`` of what was last written of it for this target."""
    note: str = ""


@dataclass(frozen=True)
class Asked:
    """What a run of the rules found, and what is due to whom."""

    findings: list[Finding]
    faults: list[str]
    """Rules that could not be asked, and why."""
    due: dict[str, list[Telling]]
    """By target; a target that need not be told anything is not in it."""


class Untold(RuntimeError):
    """Some of what was to be told was not, or a rule could not be asked: the next run tries again. Says who, what and why."""


def ask(lake: str, rules: Rules, settings: Settings, now: datetime | None = None) -> Asked:
    """Asks every rule. A rule that cannot be asked stops no other, and its alerts stay as they are."""
    now = now or datetime.now(UTC)
    findings: list[Finding] = []
    faults: list[str] = []
    faulty: set[str] = set()
    with catalog.connect(lake) as connection:
        alert_rules.prepare(connection, lake, settings)
        for rule in rules.rules:
            try:
                findings += alert_rules.ask(connection, rule, now, settings)
            except FaultyRule as error:
                faults.append(str(error))
                faulty.add(rule.name)
        last = read_only.query(connection, LAST_TOLD, {"now": now}).to_pylist()
    return Asked(findings, faults, _due(rules, findings, faulty, last, settings, now))


def tell(lake: str, asked: Asked, rules: Rules, settings: Settings, senders: dict[str, Sender], now: datetime | None = None) -> list[str]:
    """Hands one message to each target that something is due to, and writes down what was told. Returns who was told what.

    ``senders`` has those of targets that are neither ``webhook`` nor an address. Raises Untold, after all others were told.
    """
    now = now or datetime.now(UTC)
    done, troubles = [], list(asked.faults)
    for target, tellings in asked.due.items():
        message = compose(lake, tellings, rules, settings, now)
        try:
            key = _begin_to_tell(lake, target, tellings, now)
        except OSError as error:  # a full disk is told all the same
            key = ""
            troubles.append(f"what {target} is told cannot be written down, and is told again by the next run: {error}")
        if key is None:
            done.append(f"{target}: nothing, another run is telling it")
            continue
        trouble = _hand_over(message, target, senders, settings)
        if key:
            try:
                open_store(lake).write_bytes(key, _rows(target, tellings, now, None if trouble else datetime.now(UTC), trouble))
            except OSError as error:
                troubles.append(f"that {target} was told cannot be written down: {error}")
        if trouble:
            troubles.append(f"{target} was not told of {len(tellings)} alerts: {trouble}")
        else:
            done.append(f"{target}: {message.title}")
    if troubles:
        raise Untold("; ".join(troubles) + ". The next run tries again.")
    return done


def compose(lake: str, tellings: list[Telling], rules: Rules, settings: Settings, now: datetime) -> Message:
    """One message of everything that is due to a target: by event, the worst first, ``lines_a_rule`` lines of each rule."""
    counts = {event: sum(telling.event == event for telling in tellings) for event in HEADINGS}
    open_ = [telling.finding.severity for telling in tellings if telling.event != "ended"]
    severity = min(open_, key=SEVERITIES.index) if open_ else "info"
    counted = ", ".join(f"{count} {event}" for event, count in counts.items() if count)
    zone = ZoneInfo(settings.time_zone)
    lines = [f"Lake {lake}, {now.astimezone(zone):%Y-%m-%d %H:%M} {settings.time_zone}"]
    data: dict[str, Any] = {"severity": severity, "lake": lake, "asked_at": now.isoformat(), "counts": counts}
    for event, heading in HEADINGS.items():
        own = sorted((each for each in tellings if each.event == event), key=_order)
        data[event] = []
        if own:
            lines += ["", heading]
        for name, group in groupby(own, key=lambda telling: telling.finding.rule):
            of_rule = list(group)
            for telling in of_rule[: rules.lines_a_rule]:
                found = telling.finding
                since = "" if event == "began" else f" (since {telling.since.astimezone(zone):%Y-%m-%d %H:%M})"
                lines.append(f"  {found.severity}  {name}: {found.message}{since}{telling.note}")
                data[event].append({"rule": name, "subject": found.subject, "severity": found.severity, "message": found.message})
            if left_out := len(of_rule) - rules.lines_a_rule:
                lines += [f"  and {left_out} more of {name}: FROM alerts"] if left_out > 0 else []
    only = f"{tellings[0].finding.rule} {tellings[0].event}: {tellings[0].finding.message}"
    title = f"[{severity}] ser alerts: {counted}" if len(tellings) > 1 else f"[{severity}] ser alert {only}"
    return Message(title[:LONGEST_TITLE], "\n".join(lines) + "\n", data)


def rehearse(lake: str, rules: Rules, settings: Settings, now: datetime | None = None) -> str:
    """What would be told to whom, as text. Nothing is sent or written. Raises ValueError where rules are faulty."""
    now = now or datetime.now(UTC)
    asked = ask(lake, rules, settings, now)
    if asked.faults:
        raise ValueError("; ".join(asked.faults))
    pages = [f"{len(rules.rules)} rules asked, {len(asked.findings)} alerts found."]
    for target, tellings in asked.due.items():
        message = compose(lake, tellings, rules, settings, now)
        pages.append(f"To {target}: {message.title}\n{message.text}")
    return "\n".join(pages if asked.due else [*pages, "Nobody would be told anything."])


def targets(rules: Rules, settings: Settings) -> dict[str, list[str]]:
    """Who is told of each rule; ``mail`` is each address of SER_MAIL_TO on its own."""
    found: dict[str, list[str]] = {}
    for rule in rules.rules:
        named = [each for to in rule.to or rules.to for each in ((mail_addresses(settings) or ["mail"]) if to == "mail" else [to])]
        found[rule.name] = list(dict.fromkeys(named))
    return found


def _due(
    rules: Rules, findings: list[Finding], faulty: set[str], last: list[dict[str, Any]], settings: Settings, now: datetime
) -> dict[str, list[Telling]]:
    due: dict[str, list[Telling]] = {}
    to = targets(rules, settings)
    told = {(row["rule"], row["subject"], row["target"]): row for row in last}
    remind_after_h = {rule.name: rules.reminds_after_h(rule) for rule in rules.rules}
    for finding in findings:
        for target in to[finding.rule]:
            before = told.pop((finding.rule, finding.subject, target), None)
            if before is not None and _being_told(before, now):
                continue
            if before is None or before["event"] == "ended":
                times = 1 + (before["begins"] if before else 0)
                note = f" (it comes and goes: {times} times in 24 hours, its end is not told before it is quiet)"
                note = note if times >= rules.flaps_after else ""
                due.setdefault(target, []).append(Telling(finding, "began", now, before and before["found_at"], note))
            elif before["told_at"] is None:
                due.setdefault(target, []).append(Telling(finding, before["event"], before["since"], before["found_at"]))
            elif (hours := remind_after_h[finding.rule]) is not None and now - before["found_at"] >= timedelta(hours=hours) - EARLY:
                due.setdefault(target, []).append(Telling(finding, "stays", before["since"], before["found_at"]))
    used = {target for each in to.values() for target in each}
    for (rule, subject, target), before in told.items():  # what no rule finds any more
        over = before["event"] == "ended" and before["told_at"] is not None
        flaps = before["told_at"] is not None and before["begins"] >= rules.flaps_after
        if over or flaps or rule in faulty or target not in used or _being_told(before, now):
            continue
        why = "" if target in to.get(rule, ()) else " (no longer among the rules)"
        ended = Finding(rule, subject, before["severity"], before["message"].removesuffix(why) + why)
        due.setdefault(target, []).append(Telling(ended, "ended", before["since"], before["found_at"]))
    return due


def _being_told(row: dict[str, Any], now: datetime) -> bool:
    """Whether another run is at it."""
    return row["told_at"] is None and row["why_not_told"] is None and now - row["found_at"] < TELLING


def _hand_over(message: Message, target: str, senders: dict[str, Sender], settings: Settings) -> str | None:
    """Tries three times; returns why the target did not take it, None where it did."""
    if target in senders:
        send = functools.partial(senders[target], message, settings)
    elif target == "webhook":
        send = functools.partial(post, message, settings)
    elif "@" in target:
        send = functools.partial(mail, message, target, settings)
    elif target == "mail":
        return "SER_MAIL_TO holds no address: give those that get the alerts"
    else:
        return f"nothing here can tell {target}"
    for pause_s in (*PAUSES_S, None):
        try:
            _within_the_limit(send)
            return None
        except TimeoutError:
            return f"it was not done within {LIMIT_S:g} s; it may have taken the message all the same"
        except NotSent as error:
            if pause_s is None:
                return str(error)
            time.sleep(pause_s)
    raise AssertionError("unreachable")


def _within_the_limit(send: Callable[[], None]) -> None:
    """Calls it in a thread that is left behind after LIMIT_S. Raises TimeoutError then: a socket's own limit holds for each byte only."""
    answer: Future[None] = Future()

    def work() -> None:
        try:
            answer.set_result(send())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True).start()
    answer.result(LIMIT_S)


def _begin_to_tell(lake: str, target: str, tellings: list[Telling], now: datetime) -> str | None:
    """Writes that these are being told, and returns the part's key, whose name follows from them; None where another run was quicker."""
    what = sorted((each.finding.rule, each.finding.subject, each.event, str(each.after)) for each in tellings)
    name = hashlib.sha256(repr((target, what)).encode()).hexdigest()[:20]
    key = f"{parts.folder('alerts', day=now.date())}{name}.parquet"
    return key if open_store(lake).create_bytes(key, _rows(target, tellings, now)) else None


def _rows(target: str, tellings: list[Telling], now: datetime, told_at: datetime | None = None, trouble: str | None = None) -> bytes:
    """A part of the table ``alerts``; with neither a time nor a trouble it says that they are being told."""
    rows = [
        {
            "rule": telling.finding.rule,
            "subject": telling.finding.subject,
            "severity": telling.finding.severity,
            "event": telling.event,
            "message": telling.finding.message,
            "since": telling.since,
            "target": target,
            "found_at": now,
            "told_at": told_at,
            "why_not_told": trouble,
            "code_version": code_version(),
        }
        for telling in tellings
    ]
    return parts.encode("alerts", schemas.table("alerts", rows))


def _order(telling: Telling) -> tuple[int, str, str]:
    return SEVERITIES.index(telling.finding.severity), telling.finding.rule, telling.finding.subject
