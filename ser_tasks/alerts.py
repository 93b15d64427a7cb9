"""The alerts: asks every rule, and tells each target what began, what stays and what ended since it was told last.

What was told stands in the lake's table ``alerts``, written after it was told. So an alert that stays is told once (and again
after ``remind_after_h``), one that a target did not take is told by the next run, and the other targets hear nothing twice.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from ser_tasks import alert_rules, catalog, parts, schemas
from ser_tasks.alert_rules import FaultyRule, Finding, Rules
from ser_tasks.senders import Message, NotSent, mail, mail_addresses, post
from ser_tasks.settings import Settings, code_version
from ser_tasks.store import open_store

Sender = Callable[[Message, Settings], None]
"""Hands a message over, or raises NotSent."""

PAUSES_S = (2.0, 10.0)
"""Before each further try to hand a message over."""
EARLY = timedelta(minutes=15)
"""So much before its time a reminder is due: a schedule of every 24 hours is never quite on time."""
LAST_TOLD = """
    FROM alerts QUALIFY row_number() OVER (PARTITION BY rule, subject, target ORDER BY found_at DESC, told_at DESC NULLS LAST) = 1
"""
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
        last = catalog.query(connection, LAST_TOLD).to_pylist()
    return Asked(findings, faults, _due(rules, findings, faulty, last, settings, now))


def tell(lake: str, asked: Asked, rules: Rules, settings: Settings, senders: dict[str, Sender], now: datetime | None = None) -> list[str]:
    """Hands one message to each target that something is due to, and writes down what was told. Returns who was told what.

    ``senders`` has those of targets that are neither ``webhook`` nor an address. Raises Untold, after all others were told.
    """
    now = now or datetime.now(UTC)
    done, troubles = [], list(asked.faults)
    for target, tellings in asked.due.items():
        message = compose(lake, tellings, rules, settings, now)
        trouble = _hand_over(message, target, senders, settings)
        _write_down(lake, target, tellings, now, trouble)
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
                lines.append(f"  {found.severity}  {name}: {found.message}{since}")
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
    remind_after = None if rules.remind_after_h is None else timedelta(hours=rules.remind_after_h) - EARLY
    for finding in findings:
        for target in to[finding.rule]:
            before = told.pop((finding.rule, finding.subject, target), None)
            if before is None or before["event"] == "ended":
                due.setdefault(target, []).append(Telling(finding, "began", now))
            elif before["told_at"] is None:
                due.setdefault(target, []).append(Telling(finding, before["event"], before["since"]))
            elif remind_after is not None and now - before["found_at"] >= remind_after:
                due.setdefault(target, []).append(Telling(finding, "stays", before["since"]))
    used = {target for each in to.values() for target in each}
    for (rule, subject, target), before in told.items():  # what no rule finds any more
        over = before["event"] == "ended" and before["told_at"] is not None
        if over or rule in faulty or target not in used:
            continue
        why = "" if target in to.get(rule, ()) else " (no longer among the rules)"
        ended = Finding(rule, subject, before["severity"], before["message"].removesuffix(why) + why)
        due.setdefault(target, []).append(Telling(ended, "ended", before["since"]))
    return due


def _hand_over(message: Message, target: str, senders: dict[str, Sender], settings: Settings) -> str | None:
    """Tries three times; returns why the target did not take it, None where it did."""
    for pause_s in (*PAUSES_S, None):
        try:
            if target in senders:
                senders[target](message, settings)
            elif target == "webhook":
                post(message, settings)
            elif "@" in target:
                mail(message, target, settings)
            elif target == "mail":
                return "SER_MAIL_TO is not set: give the addresses that get the alerts"
            else:
                return f"nothing here can tell {target}"
            return None
        except NotSent as error:
            if pause_s is None:
                return str(error)
            time.sleep(pause_s)
    raise AssertionError("unreachable")


def _write_down(lake: str, target: str, tellings: list[Telling], now: datetime, trouble: str | None) -> None:
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
            "told_at": None if trouble else datetime.now(UTC),
            "why_not_told": trouble,
            "code_version": code_version(),
        }
        for telling in tellings
    ]
    name = f"{now:%Y%m%dT%H%M%S%f}-{hashlib.sha256(target.encode()).hexdigest()[:8]}"
    key = f"{parts.folder('alerts', day=now.date())}{name}.parquet"
    open_store(lake).write_bytes(key, parts.encode("alerts", schemas.table("alerts", rows)))


def _order(telling: Telling) -> tuple[int, str, str]:
    return SEVERITIES.index(telling.finding.severity), telling.finding.rule, telling.finding.subject
