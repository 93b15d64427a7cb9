"""The weekly page: one self-contained HTML file, to be mailed, with the figures of the overview for a whole week."""

import functools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from ser_tasks.dashboard.filters import Filters
from ser_tasks.dashboard.overview import figures, heat_map, rows_of
from ser_tasks.dashboard.pages import ENVIRONMENT, Row, percent, queues_of
from ser_tasks.dashboard.queries import OVERVIEW, QUERIES
from ser_tasks.dashboard.snapshot import Snapshot
from ser_tasks.dashboard.today import today
from ser_tasks.dashboard.viewers import OWNER, Viewer, of_groups
from ser_tasks.lake.queues import check
from ser_tasks.settings import Settings

WEEKS = 13
"""Weeks, up to and including the page's own, that the chart, the heat map and lasting changes cover."""
LONG_QUERIES = ("turns", "over_time", "hours")
"""The queries that cover all WEEKS."""


@dataclass(frozen=True)
class Weekly:
    title: str
    text: str
    """The main figures as plain text, for the body of the mail."""
    html: str


def monday_of(week: str) -> date:
    """The first day of a week such as 2026-W47 (ISO 8601). Raises ValueError if it is none."""
    try:
        if not re.fullmatch(r"\d{4}-W\d\d", week):
            raise ValueError
        return date.fromisoformat(f"{week}-1")
    except ValueError:
        raise ValueError(f"{week!r} is not a week: write it as 2026-W47.") from None


def newest_week(last_day: date | None, today: date) -> date:
    """The Monday of the newest complete week, not after the last day with calls."""
    over = today - timedelta(days=today.weekday() + 7)
    return min(over, last_day - timedelta(days=last_day.weekday())) if last_day else over


def name_of(monday: date) -> str:
    """A week's name, as 2026-W47."""
    return f"{monday:%G-W%V}"


def make(
    snapshot: Snapshot, viewer: Viewer, monday: date, site: str | None = None, annotations: Mapping[date, str] | None = None
) -> Weekly:
    """The page of a week, with only rows that the viewer may see. ``site``: the dashboard that its figures link to; None omits links.

    ``annotations``: what happened on a day (SER_ANNOTATIONS).
    """
    filters = Filters(monday, monday + timedelta(days=6), () if viewer.everything else viewer.queues)
    long_filters = replace(filters, first=monday - timedelta(weeks=WEEKS - 1))
    values = filters.parameters | {"unit": "week", "newest": filters.last, "latest": filters.last, "week": monday}
    long_values = values | long_filters.parameters

    def of(name: str) -> list[Row]:
        return rows_of(snapshot, viewer, name, long_values if name in LONG_QUERIES else values)

    shown = figures({name: of(name) for name in OVERVIEW}, values, annotations or {})
    shown |= today(snapshot, viewer, functools.partial(rows_of, snapshot, viewer), values)
    shown["hear"] = [row | {"playable": site is not None and viewer.may_play_queue(row["queue"])} for row in shown["hear"]]
    [totals] = rows_of(snapshot, viewer, "totals", long_values)
    shown |= {
        "heat": heat_map(shown["hours"], totals["share_anger"]),
        "heat_share": totals["share_anger"],
        "without_start": totals["calls"] - sum(row["calls"] for row in shown["hours"]),
    }
    statements = {
        name: QUERIES[name].with_values(long_values if name in LONG_QUERIES else values) for name in OVERVIEW if name != "latest_day"
    }
    title = f"Calls and moods, week {monday.isocalendar().week} of {monday.isocalendar().year}"
    queues = "every queue" if viewer.everything else ", ".join(viewer.queues) or "no queue"
    html = ENVIRONMENT.get_template("weekly.html").render(
        shown,
        title=title,
        queue_names=queues,
        viewer=viewer,
        filters=filters,
        long_filters=long_filters,
        weeks=WEEKS,
        site=site,
        form_token=None,
        statements={QUERIES[name].title: sql for name, sql in statements.items()},
        taken_at=snapshot.taken_at,
        style=(files("ser_tasks.dashboard") / "static" / "style.css").read_text(encoding="utf-8"),
    )
    return Weekly(title, _text(title, queues, filters, shown, site), html)


def of_lake(lake: str, week: str | None, queues: Collection[str], groups: Collection[str], settings: Settings) -> Weekly:
    """The page of a week such as 2026-W47, by default the newest complete one, over a lake.

    It shows these queues and what these groups of SER_DASHBOARD_GROUPS may see, or everything where neither is given. Raises ValueError for
    an unknown group, a queue that no call has, or an invalid week.
    """
    if unknown := [name for name in groups if name not in settings.dashboard_groups]:
        raise ValueError(f"SER_DASHBOARD_GROUPS has no group {unknown[0]!r}: it has {', '.join(settings.dashboard_groups) or 'none'}.")
    viewer = OWNER
    if queues or groups:
        allowed = of_groups("", groups, settings)
        viewer = Viewer("", tuple(sorted({*allowed.queues, *queues})), allowed.everything)
    monday = monday_of(week) if week else None
    snapshot = Snapshot(lake)
    check(queues, queues_of(snapshot, OWNER))
    return make(snapshot, viewer, monday or newest_week(snapshot.last_day, date.today()), settings.dashboard_url, settings.annotations)


def _text(title: str, queues: str, filters: Filters, shown: dict[str, Any], site: str | None) -> str:
    totals = shown["totals"]
    lines = [f"{title}: {filters.first} to {filters.last}, {queues}.", ""]
    if not totals["calls"]:
        lines.append("There are no calls in this week.")
    elif totals["share_anger"] is None:
        lines.append(f"{totals['calls']:,} calls, none of them scored.")
    else:
        if shown["mostly_unsure"]:
            lines.append(f"The model can't tell for {percent(totals['share_unsure'])} of speech: hear the calls below.")
        lines.append(
            f"{totals['calls']:,} calls, {totals['scored']:,} of them scored. Anger: {percent(totals['share_anger'], 1)} of scored speech "
            f"({_interval(totals, 'share_anger')}); not sure: {percent(totals['share_unsure'], 1)}."
        )
    for verdict in ("rose", "fell"):
        for row in shown["queues_changed"]:
            if row["verdict"] == verdict:
                lines.append(
                    f"Anger {verdict} in {row['queue'] or 'calls without a queue'}: {percent(row['share_anger_before'], 1)} to "
                    f"{percent(row['share_anger'], 1)} (change {100 * row['change']:+.1f} points, {100 * row['change_low']:+.1f} to "
                    f"{100 * row['change_high']:+.1f}; {row['calls']:,} calls scored)."
                )
    lines += [
        f"{row['queue'] or 'Calls without a queue'}: {row['text']} ({row['figures']})." for row in shown["news"] if row["kind"] == "alert"
    ]
    for row in shown["queues_turned"]:
        lines.append(
            f"{row['queue'] or 'Calls without a queue'}: {'angrier' if row['verdict'] == 'rose' else 'calmer'} since about the week of "
            f"{row['week']}, anger {percent(row['share_anger_after'], 1)}, before {percent(row['share_anger_before'], 1)}."
        )
    if totals["calls"] and not any(row["verdict"] in ("rose", "fell") for row in shown["queues_changed"]):
        lines.append("No queue changed from the week before by more than chance.")
    if shown["missing_nights"]:
        lines.append("Nights missing: " + ", ".join(map(str, shown["missing_nights"])) + ".")
    if shown["hear"]:
        lines += ["", "Calls worth hearing:"]
        for row in shown["hear"]:
            address = f" {site}/calls/{quote(row['recording_id'])}#t={row['moment_s'] or 0:.1f}" if site else ""
            lines.append(f"- {row['call_id']} ({row['queue'] or 'no queue'}, {row['call_date']}): {row['why']}.{address}")
    lines += ["", shown["left_out_sentence"]] if shown["left_out_sentence"] else []
    behind = f" The calls: {site}/?{filters.query()}" if site else ""
    lines += [
        "",
        f"The page with the charts is attached: open it in a browser.{behind}",
        "A model estimates the figures from the sound of customers' voices. They do not judge single callers, and emotions of people at "
        "work are hidden.",
    ]
    return "\n".join(lines) + "\n"


def _interval(row: dict[str, Any], share: str) -> str:
    return f"{100 * row[f'{share}_low']:.1f} to {100 * row[f'{share}_high']:.1f} %"
