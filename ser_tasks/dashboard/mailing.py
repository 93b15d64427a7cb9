"""Mails the weekly page: one page for each address of SER_WEEKLY_TO, with the rows of its queues only, once a week.

A copy of each mailed page is kept in the lake, as ``reports/day=<Monday>/weekly-<hash of the address>.html``. It is written after
the mail server has accepted the message. Where the copy exists, the page is not mailed again unless ``again`` asks for it.
"""

import hashlib
from collections.abc import Callable
from datetime import date, datetime
from zoneinfo import ZoneInfo

from ser_tasks.dashboard import weekly as page
from ser_tasks.dashboard.snapshot import Snapshot
from ser_tasks.dashboard.viewers import Viewer, of_groups
from ser_tasks.monitoring.notifiers import Message, SendError, mail_page
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store


class MailingError(RuntimeError):
    """At least one address did not receive the page. All others did; the next run retries those that did not."""


def mail_week(lake: str, week: str | None, again: bool, dry_run: bool, say: Callable[[str], None]) -> list[str]:
    """Mails the page of a week such as 2026-W47 (None: the newest complete week) to every address that has not received it.

    ``again`` also mails it to addresses that have; ``dry_run`` sends and writes nothing. ``say`` receives a line for each address
    as it is done. Returns those lines. Raises ValueError for an invalid week or invalid settings, and MailingError after all
    other addresses were mailed.
    """
    settings = Settings()
    monday = page.monday_of(week) if week else None
    viewers = recipients(settings)
    store, snapshot = open_store(lake), Snapshot(lake)
    monday = monday or page.newest_week(snapshot.last_day, datetime.now(ZoneInfo(settings.time_zone)).date())
    made: dict[tuple[tuple[str, ...], bool], page.Weekly] = {}
    done, errors = [], []
    for address, viewer in viewers.items():
        copy = key_of(monday, address)
        known = store.exists(copy)
        if known and not again:
            done.append(f"{address} has already received {page.name_of(monday)}")
        else:
            seen = (viewer.queues, viewer.everything)
            if seen not in made:
                made[seen] = page.make(snapshot, viewer, monday, settings.dashboard_url, settings.annotations)
            error = None if dry_run else _mail(made[seen], address, monday, settings, known)
            if error:
                errors.append(f"{address}: {error}")
                continue
            if not dry_run:
                store.write_bytes(copy, made[seen].html.encode())
            queues = "every queue" if viewer.everything else ", ".join(viewer.queues) or "no queue"
            done.append(f"{address} {'would get' if dry_run else 'was mailed'} {page.name_of(monday)}: {queues}")
        say(done[-1])
    if errors:
        raise MailingError(f"{page.name_of(monday)} was not mailed to {'; '.join(errors)}. The next run tries again.")
    return done


def recipients(settings: Settings) -> dict[str, Viewer]:
    """Each address of SER_WEEKLY_TO with the rights of its groups. Raises ValueError if there are none, or for an unknown group."""
    if not settings.weekly_to:
        raise ValueError('SER_WEEKLY_TO is not set: name the recipients, such as {"lead@example.org": ["billing-leads"]}.')
    for address, groups in settings.weekly_to.items():
        for group in groups:
            if group not in settings.dashboard_groups:
                raise ValueError(f"SER_WEEKLY_TO gives {address} the group {group!r}, which is not in SER_DASHBOARD_GROUPS: add it there.")
    return {address: of_groups(address, groups, settings) for address, groups in settings.weekly_to.items()}


def key_of(monday: date, address: str) -> str:
    """The lake key of the copy of the page mailed to an address."""
    return f"reports/day={monday}/weekly-{hashlib.sha256(address.encode()).hexdigest()[:16]}.html"


def _mail(made: page.Weekly, address: str, monday: date, settings: Settings, known: bool) -> str | None:
    """Mails the page. Returns why the mail server did not accept it, or None if it did."""
    text = made.text + ("\nYou have received this page before; it was sent again on request.\n" if known else "")
    try:
        mail_page(made.html, Message(made.title, text), address, settings, f"calls-and-moods-{page.name_of(monday)}.html")
    except SendError as error:
        return str(error)
    return None
