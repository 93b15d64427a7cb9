"""Mails the weekly page."""

import hashlib
from collections.abc import Callable
from datetime import date, datetime
from zoneinfo import ZoneInfo

from ser_tasks.dashboard import weekly as page
from ser_tasks.dashboard.snapshot import Snapshot
from ser_tasks.dashboard.viewers import Viewer, of_groups
from ser_tasks.monitoring.notifiers import Message, NotSent, mail_page
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store


class Unmailed(RuntimeError):
    """Somebody did not get the page. Everybody else did; the next mail_week mails those who did not."""


def mail_week(lake: str, week: str | None, again: bool, dry_run: bool, say: Callable[[str], None]) -> list[str]:
    """The same without a flow."""
    settings = Settings()
    monday = page.monday_of(week) if week else None
    viewers = recipients(settings)
    store, snapshot = open_store(lake), Snapshot(lake)
    monday = monday or page.newest_week(snapshot.last_day, datetime.now(ZoneInfo(settings.time_zone)).date())
    made: dict[tuple[tuple[str, ...], bool], page.Weekly] = {}
    done, troubles = [], []
    for address, viewer in viewers.items():
        copy = key_of(monday, address)
        known = store.exists(copy)
        if known and not again:
            done.append(f"{address} has had {page.name_of(monday)} already")
        else:
            seen = (viewer.queues, viewer.everything)
            if seen not in made:
                made[seen] = page.make(snapshot, viewer, monday, settings.dashboard_url)
            trouble = None if dry_run else _mail(made[seen], address, monday, settings, known)
            if trouble:
                troubles.append(f"{address}: {trouble}")
                continue
            if not dry_run:
                store.write_bytes(copy, made[seen].html.encode())
            queues = "every queue" if viewer.everything else ", ".join(viewer.queues) or "no queue"
            done.append(f"{address} {'would get' if dry_run else 'was mailed'} {page.name_of(monday)}: {queues}")
        say(done[-1])
    if troubles:
        raise Unmailed(f"{page.name_of(monday)} was not mailed to {'; '.join(troubles)}. The next mail_week tries again.")
    return done


def recipients(settings: Settings) -> dict[str, Viewer]:
    """Who is mailed, and with whose rights. Raises ValueError where nobody is, or where a group is not known."""
    if not settings.weekly_to:
        raise ValueError('SER_WEEKLY_TO is not set: say who gets the page, as {"lead@example.org": ["billing-leads"]}.')
    for address, groups in settings.weekly_to.items():
        for group in groups:
            if group not in settings.dashboard_groups:
                raise ValueError(f"SER_WEEKLY_TO gives {address} the group {group!r}, which is not in SER_DASHBOARD_GROUPS: add it there.")
    return {address: of_groups(address, groups, settings) for address, groups in settings.weekly_to.items()}


def key_of(monday: date, address: str) -> str:
    """Where the copy of what was mailed lies in the lake."""
    return f"reports/day={monday}/weekly-{hashlib.sha256(address.encode()).hexdigest()[:16]}.html"


def _mail(made: page.Weekly, address: str, monday: date, settings: Settings, known: bool) -> str | None:
    """Mails the page; returns why it was not taken, None where it was."""
    text = made.text + ("\nYou have had this page before; it was asked for again.\n" if known else "")
    try:
        mail_page(made.html, Message(made.title, text), address, settings, f"calls-and-moods-{page.name_of(monday)}.html")
    except NotSent as error:
        return str(error)
    return None
