"""The queues: each beside the others, this period beside the one before, over 13 weeks. Ticked queues are shown side by side."""

from datetime import date, timedelta
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response

from ser_tasks.dashboard import charts
from ser_tasks.dashboard.filters import Filters
from ser_tasks.dashboard.overview import figures_of, playable, queue_names, values_of
from ser_tasks.dashboard.pages import Row, TheFilters, page, percent

router = APIRouter()

WEEKS = 13
SIDE_BY_SIDE = 4
"""Up to so many queues have their weeks in one table, side by side."""


@router.get("/queues")
def queues(request: Request, filters: TheFilters) -> Response:
    """All queues, ranked by their level of anger, or those of the address side by side."""
    return _page(request, filters, None)


@router.get("/queues/{name:path}")
def queue(request: Request, name: str, filters: TheFilters) -> Response:
    """A queue's page. Raises HTTPException 404 for a queue without a call that the viewer may see."""
    if name not in queue_names(request):
        raise HTTPException(404, f"No call that you may see has the queue {name[:60]!r}.")
    return _page(request, Filters(filters.first, filters.last, (name,)), name)


def _page(request: Request, filters: Filters, name: str | None) -> Response:
    snapshot, viewer = request.state.snapshot, request.state.viewer
    values = values_of(snapshot, viewer, filters)
    compared = figures_of(snapshot, viewer, ("compared_queues", "queue_weeks"), values)
    rows, weekly = compared["compared_queues"], compared["queue_weeks"]
    weeks = _weeks(filters.last)
    by_queue: dict[str | None, dict[date, Row]] = {}
    for row in weekly:
        by_queue.setdefault(row["queue"], {})[row["week"]] = row
    top = max([row["share_anger"] for row in weekly] + [0.05])
    shown: list[dict[str, Any]] = [row | {"spark": _spark(by_queue.get(row["queue"], {}), weeks, top)} for row in rows]
    beside = [row["queue"] for row in rows] if filters.queues and len(rows) <= SIDE_BY_SIDE else []
    return page(
        request,
        "queues.html",
        name=name,
        filters=filters,
        queues=queue_names(request),
        before=filters.before(),
        rows=shown,
        weeks=list(reversed(weeks)) if beside else [],
        beside=beside,
        by_queue=by_queue,
        hear=[row | {"playable": playable(request.app.state.playback, row, viewer)} for row in compared["hear"]] if filters.queues else [],
        hear_shown=compared["hear_shown"],
        clock=compared["clock"],
    )


def _weeks(last: date) -> list[date]:
    """The Mondays of the 13 weeks up to a day, oldest first."""
    monday = last - timedelta(days=last.weekday())
    return [monday - timedelta(weeks=weeks) for weeks in range(WEEKS - 1, -1, -1)]


def _spark(found: dict[date, Row], weeks: list[date], top: float) -> Any:
    shares = [found[week]["share_anger"] if week in found else None for week in weeks]
    known = [share for share in shares if share is not None]
    title = f"Anger by week: {percent(min(known))} to {percent(max(known))}, last {percent(known[-1])}" if known else "no scored call"
    return charts.sparkline(shares, top, title)
