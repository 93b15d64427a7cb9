"""The overview: totals, the newest day, moods over time, queues by change, hours of the week, and the quality of the data."""

import functools
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from fastapi import APIRouter, Request, Response

from ser_tasks.dashboard import charts
from ser_tasks.dashboard.filters import Filters, default_filters
from ser_tasks.dashboard.pages import Row, TheFilters, in_zone, page, queues_of
from ser_tasks.dashboard.playback import Playback, PlaybackError
from ser_tasks.dashboard.queries import OVERVIEW, QUERIES
from ser_tasks.dashboard.snapshot import Snapshot
from ser_tasks.dashboard.today import MOSTLY_UNSURE, today
from ser_tasks.dashboard.viewers import OWNER, Viewer, of_groups
from ser_tasks.schemas import EMOTIONS
from ser_tasks.settings import Settings

router = APIRouter()

DAILY_UP_TO = 92
"""Longest period in days that is drawn by day; longer ones are drawn by week."""
FEW_CALLS = 20
"""The heat map shows no share of fewer scored calls: its interval would span most of the scale."""
HEAT_LEVELS = 6
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
PERIODS = {"7 days": 7, "4 weeks": 28, "13 weeks": 91, "a year": 365}


@router.get("/")
def overview(request: Request, filters: TheFilters) -> Response:
    snapshot, viewer = request.state.snapshot, request.state.viewer
    shown = {"filters": filters, "queues": queue_names(request), "periods": periods(filters, snapshot)}
    figures = cached(snapshot, viewer, filters, request.app.state.settings)
    hear = [row | {"playable": playable(request.app.state.playback, row, viewer)} for row in figures["hear"]]
    return page(request, "overview.html", **figures | shown | {"hear": hear, "local": in_zone(request)})


def cached(snapshot: Snapshot, viewer: Viewer, filters: Filters, settings: Settings) -> dict[str, Any]:
    """The figures for a viewer, computed once for each snapshot."""

    def compute() -> dict[str, Any]:
        values = values_of(snapshot, viewer, filters)
        rows = {name: rows_of(snapshot, viewer, name, values) for name in OVERVIEW}
        return figures(rows, values, settings.annotations) | today(snapshot, viewer, functools.partial(rows_of, snapshot, viewer), values)

    shown: dict[str, Any] = snapshot.cached((viewer.queues, viewer.everything, filters), compute)
    return shown


def prepare(snapshot: Snapshot, settings: Settings) -> None:
    """Computes the default period for each group, or for the owner where there is no sign-in, before the first visitor opens it."""
    groups = settings.dashboard_groups if settings.dashboard_secret else {}
    for viewer in [of_groups("", [group], settings) for group in groups] or [OWNER]:
        cached(snapshot, viewer, default_filters(snapshot.last_day), settings)


def playable(playback: Playback, row: Row, viewer: Viewer) -> bool:
    """Whether the viewer may play a call's recording."""
    try:
        playback.may_play(row, viewer)
    except PlaybackError:
        return False
    return True


def queue_names(request: Request) -> list[str]:
    """The queues that the viewer may see, sorted; an empty name stands for calls without a queue."""
    return queues_of(request.state.snapshot, request.state.viewer)


def periods(filters: Filters, snapshot: Snapshot) -> dict[str, Filters]:
    """The predefined periods up to the newest day, by name."""
    newest = snapshot.last_day or filters.last
    return {name: Filters(newest - timedelta(days=days - 1), newest, filters.queues) for name, days in PERIODS.items()}


def values_of(snapshot: Snapshot, viewer: Viewer, filters: Filters) -> dict[str, Any]:
    """The values of the parameters of all queries: those of the filters, and days that depend on the data."""
    sql = f"SELECT max(call_date) AS latest FROM call_emotions WHERE {filters.where}"
    latest = snapshot.query(viewer, sql, filters.parameters)["latest"][0].as_py() or filters.last
    monday = latest - timedelta(days=latest.weekday())
    week = monday if latest.weekday() == 6 else monday - timedelta(days=7)
    unit = "day" if filters.days <= DAILY_UP_TO else "week"
    return filters.parameters | {"unit": unit, "newest": snapshot.last_day or filters.last, "latest": latest, "week": week}


def rows_of(snapshot: Snapshot, viewer: Viewer, name: str, values: dict[str, Any]) -> list[Row]:
    """The rows of a query of QUERIES for a viewer."""
    query = QUERIES[name]
    rows: list[Row] = snapshot.query(viewer, query.sql, {name: values[name] for name in query.parameters}).to_pylist()
    return rows


def figures_of(snapshot: Snapshot, viewer: Viewer, names: tuple[str, ...], values: dict[str, Any]) -> dict[str, Any]:
    """The rows of some queries by name, with the values of figures/today.html, computed once for each snapshot."""

    def compute() -> dict[str, Any]:
        rows = functools.partial(rows_of, snapshot, viewer)
        return {name: rows(name, values) for name in names} | today(snapshot, viewer, rows, values)

    key = (viewer.queues, viewer.everything, names, *(str(value) for value in values.values()))
    shown: dict[str, Any] = snapshot.cached(key, compute)
    return shown


def figures(rows: dict[str, list[Row]], values: dict[str, Any], annotations: Mapping[date, str]) -> dict[str, Any]:
    """The values that the overview and the weekly page show, from the rows of ``QUERIES`` by name."""
    totals = rows["totals"][0]
    over_time = rows["over_time"]
    known = [emotion for emotion in EMOTIONS if totals[f"share_{emotion}"] is not None]
    mix = {emotion: totals[f"share_{emotion}"] for emotion in known}
    nights = rows["nights"]
    return rows | {
        "queues_changed": rows["queues"],
        "queues_turned": rows["turns"],
        "six_days": timedelta(days=6),
        "totals": totals,
        "unit": values["unit"],
        "latest": values["latest"],
        "week": values["week"],
        "week_end": values["week"] + timedelta(days=6),
        "mostly_unsure": totals["share_unsure"] is not None and totals["share_unsure"] > MOSTLY_UNSURE,
        "mix": mix | {"not sure": totals["share_unsure"]} if mix else {},
        "mix_chart": charts.emotion_mix(mix | {"not sure": totals["share_unsure"]}, *_describe_mix(mix, totals)) if mix else None,
        "time_chart": charts.shares_over_time(over_time, values["unit"], *_describe_time(over_time), annotations)
        if totals["scored"]
        else None,
        "annotations": annotations_of(over_time, annotations),
        "heat": heat_map(rows["hours"], totals["share_anger"]),
        "heat_share": totals["share_anger"],
        "weekdays": WEEKDAYS,
        "few_calls": FEW_CALLS,
        "top_latest": min(1.0, 2 * max([row["share_anger"] for row in rows["latest_day"]] + [0.05])),
        "top_queues": max([row["share_anger_high"] for row in rows["queues"]] + [0.05]),
        "missing_nights": [row["night"] for row in nights if row["runs"] is None],
        "bad_nights": [row for row in nights if row["failed_chunks"] or row["checks_failed"] or row["failed"]],
        "without_start": totals["calls"] - sum(row["calls"] for row in rows["hours"]),
    }


def annotations_of(over_time: list[Row], annotations: Mapping[date, str]) -> list[tuple[date, str]]:
    """What happened on days of the time line, oldest first."""
    if not over_time:
        return []
    return sorted(
        (day, text) for day, text in annotations.items() if over_time[0]["start"] <= day <= over_time[-1]["start"] + timedelta(days=6)
    )


def heat_map(hours: list[Row], share_anger: float | None) -> dict[int, dict[int, Row]]:
    """Cells by hour and weekday, for hours with calls. ``level`` is the step of the colour scale, None if there are too few calls.

    ``apart`` is "above" or "below" if the cell's interval lies above or below the share of all calls, else empty.
    """
    steps = [row["share_anger"] for row in hours if row["scored"] >= FEW_CALLS]
    largest = max(steps, default=0) or 1
    cells: dict[int, dict[int, Row]] = {}
    for row in hours:
        enough = row["scored"] >= FEW_CALLS and share_anger is not None
        level = min(HEAT_LEVELS - 1, int(HEAT_LEVELS * row["share_anger"] / largest)) if enough else None
        apart = (
            "above"
            if enough and row["share_anger_low"] > share_anger
            else "below"
            if enough and row["share_anger_high"] < share_anger
            else ""
        )
        cells.setdefault(row["hour"], {})[row["weekday"]] = row | {"level": level, "apart": apart}
    return dict(sorted(cells.items()))


def _describe_mix(mix: dict[str, float], totals: Row) -> tuple[str, str]:
    parts = [f"{emotion} {100 * share:.0f} %" for emotion, share in (mix | {"not sure": totals["share_unsure"]}).items()]
    return "Emotions as shares of scored speech", f"{', '.join(parts)}, over {totals['scored']:,} scored calls."


def _describe_time(rows: list[Row]) -> tuple[str, str]:
    def span(column: str) -> str:
        shares = [row[column] for row in rows if row[column] is not None]
        return f"{100 * min(shares):.0f} to {100 * max(shares):.0f} %" if shares else "not scored"

    return (
        'Anger, negative emotions and "not sure" over time, with 95 % intervals',
        f"{rows[0]['start']} to {rows[-1]['start']}: anger {span('share_anger')}, negative emotions {span('share_negative')}, "
        f"not sure {span('share_unsure')}. The table below has the values.",
    )
