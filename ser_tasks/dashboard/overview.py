"""The first page: the newest day against the usual, moods over time, queues by change, hours of the week, and how good the data are."""

from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Request, Response

from ser_tasks.dashboard import charts
from ser_tasks.dashboard.filters import Filters, usual
from ser_tasks.dashboard.pages import Row, TheFilters, ask, page
from ser_tasks.dashboard.queries import QUESTIONS
from ser_tasks.dashboard.snapshot import Snapshot
from ser_tasks.dashboard.viewers import OWNER, Viewer, of_groups
from ser_tasks.schemas import EMOTIONS
from ser_tasks.settings import Settings

router = APIRouter()

DAILY_UP_TO = 92
"""Days of a period that are drawn day by day; longer ones week by week."""
FEW_CALLS = 20
"""A share of fewer scored calls is not shown in the heat map: its interval would span most of the scale."""
HEAT_LEVELS = 6
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
PERIODS = {"7 days": 7, "4 weeks": 28, "13 weeks": 91, "a year": 365}


@router.get("/")
def overview(request: Request, filters: TheFilters) -> Response:
    snapshot, viewer = request.state.snapshot, request.state.viewer
    shown = {"filters": filters, "queues": queue_names(request), "periods": periods(filters, snapshot)}
    return page(request, "overview.html", **remembered(snapshot, viewer, filters) | shown)


def remembered(snapshot: Snapshot, viewer: Viewer, filters: Filters) -> dict[str, Any]:
    """The figures for a viewer, made once for each snapshot."""

    def made() -> dict[str, Any]:
        values = values_of(snapshot, viewer, filters)
        return figures({name: answer(snapshot, viewer, name, values) for name in QUESTIONS}, values)

    return snapshot.remembered((viewer.queues, viewer.everything, filters), made)


def prepare(snapshot: Snapshot, settings: Settings) -> None:
    """Makes what visitors ask for first, before they come: the usual period, for each group, or for the owner where nobody signs in."""
    groups = settings.dashboard_groups if settings.dashboard_secret else {}
    for viewer in [of_groups("", [group], settings) for group in groups] or [OWNER]:
        remembered(snapshot, viewer, usual(snapshot.last_day))


def queue_names(request: Request) -> list[str]:
    """The queues that the viewer may choose from, by name; an empty one stands for calls without a queue."""
    rows = ask(request, "SELECT DISTINCT coalesce(queue, '') AS queue FROM call_emotions ORDER BY queue")
    return [row["queue"] for row in rows]


def periods(filters: Filters, snapshot: Snapshot) -> dict[str, Filters]:
    """Usual periods up to the newest day, by name."""
    newest = snapshot.last_day or filters.last
    return {name: Filters(newest - timedelta(days=days - 1), newest, filters.queues) for name, days in PERIODS.items()}


def values_of(snapshot: Snapshot, viewer: Viewer, filters: Filters) -> dict[str, Any]:
    """The values of every question's parameters: the filters' own, and the days that follow from the data."""
    sql = f"SELECT max(call_date) AS latest FROM call_emotions WHERE {filters.where}"
    latest = snapshot.ask(viewer, sql, filters.parameters)["latest"][0].as_py() or filters.last
    monday = latest - timedelta(days=latest.weekday())
    week = monday if latest.weekday() == 6 else monday - timedelta(days=7)
    return filters.parameters | {"unit": "day" if filters.days <= DAILY_UP_TO else "week", "latest": latest, "week": week}


def answer(snapshot: Snapshot, viewer: Viewer, name: str, values: dict[str, Any]) -> list[Row]:
    """A question's rows for a viewer."""
    question = QUESTIONS[name]
    return snapshot.ask(viewer, question.sql, {name: values[name] for name in question.parameters}).to_pylist()


def figures(answers: dict[str, list[Row]], values: dict[str, Any]) -> dict[str, Any]:
    """What the overview and the weekly page show of the answers to ``QUESTIONS``."""
    totals = answers["totals"][0]
    over_time = answers["over_time"]
    known = [emotion for emotion in EMOTIONS if totals[f"share_{emotion}"] is not None]
    mix = {emotion: totals[f"share_{emotion}"] for emotion in known}
    nights = answers["nights"]
    return answers | {
        "queues_changed": answers["queues"],
        "queues_turned": answers["turns"],
        "six_days": timedelta(days=6),
        "totals": totals,
        "unit": values["unit"],
        "latest": values["latest"],
        "week": values["week"],
        "week_end": values["week"] + timedelta(days=6),
        "weeks_compared": max(1, (values["week"] - values["first"]).days // 7 + 1 + (values["first"].weekday() > 0)),
        "mix": mix | {"not sure": totals["share_unsure"]} if mix else {},
        "mix_chart": charts.emotion_mix(mix | {"not sure": totals["share_unsure"]}, *_told_mix(mix, totals)) if mix else None,
        "time_chart": charts.shares_over_time(over_time, values["unit"], *_told_time(over_time)) if totals["scored"] else None,
        "heat": heat_map(answers["hours"], totals["share_anger"]),
        "heat_share": totals["share_anger"],
        "weekdays": WEEKDAYS,
        "few_calls": FEW_CALLS,
        "top_latest": min(1.0, 2 * max([row["share_anger"] for row in answers["latest_day"]] + [0.05])),
        "top_queues": max([row["share_anger_high"] for row in answers["queues"]] + [0.05]),
        "missing_nights": [row["night"] for row in nights if row["runs"] is None],
        "bad_nights": [row for row in nights if row["failed_chunks"] or row["checks_failed"] or row["failed"]],
        "without_start": totals["calls"] - sum(row["calls"] for row in answers["hours"]),
    }


def heat_map(hours: list[Row], share_anger: float | None) -> dict[int, dict[int, Row]]:
    """Cells by hour and weekday, for the hours that have calls; ``level`` is the step of the scale, null where calls are few.

    ``apart`` says whether a cell's interval lies above or below the share of all calls.
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


def _told_mix(mix: dict[str, float], totals: Row) -> tuple[str, str]:
    parts = [f"{emotion} {100 * share:.0f} %" for emotion, share in (mix | {"not sure": totals["share_unsure"]}).items()]
    return "What was heard, as shares of scored speech", f"{', '.join(parts)}, over {totals['scored']:,} scored calls."


def _told_time(rows: list[Row]) -> tuple[str, str]:
    def span(column: str) -> str:
        shares = [row[column] for row in rows if row[column] is not None]
        return f"{100 * min(shares):.0f} to {100 * max(shares):.0f} %" if shares else "not scored"

    return (
        "Anger, negativity and what the model is not sure of, over time, with 95 % intervals",
        f"{rows[0]['start']} to {rows[-1]['start']}: anger {span('share_anger')}, negative in all {span('share_negative')}, "
        f"not sure {span('share_unsure')}. The table below has the figures.",
    )
