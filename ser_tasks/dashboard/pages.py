"""Shared by all pages: the viewer's rows, templates, and the format of numbers."""

import logging
from collections.abc import Callable
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import Depends, HTTPException, Request, Response
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, PackageLoader, StrictUndefined

from ser_tasks.dashboard import forms
from ser_tasks.dashboard.filters import FilterError, Filters, filters
from ser_tasks.dashboard.snapshot import Snapshot
from ser_tasks.dashboard.viewers import Viewer, viewer
from ser_tasks.lake import queues

log = logging.getLogger("uvicorn.error")

Row = dict[str, Any]

TheViewer = Annotated[Viewer, Depends(viewer)]


def queues_of(snapshot: Snapshot, viewer: Viewer) -> list[str]:
    """The queues that a viewer may see, sorted; an empty name stands for calls without a queue."""

    def compute() -> list[str]:
        rows = snapshot.query(viewer, "SELECT DISTINCT coalesce(queue, '') AS queue FROM call_emotions ORDER BY queue")
        names: list[str] = rows["queue"].to_pylist()
        return names

    names: list[str] = snapshot.cached(("queues", viewer.queues, viewer.everything), compute)
    return names


def known_filters(request: Request, viewer: TheViewer, given: Annotated[Filters, Depends(filters)]) -> Filters:
    """The filters of an address. Raises FilterError for a queue that none of the calls has that the viewer may see."""
    try:
        queues.check(given.queues, queues_of(request.state.snapshot, viewer))
    except queues.UnknownQueueError as error:
        raise FilterError(str(error), given) from None
    return given


TheFilters = Annotated[Filters, Depends(known_filters)]


BYTE_ORDER_MARK = "\ufeff"
"""Begins every CSV: Excel recognises UTF-8 by it."""

NOT_LOGGED = (
    "Not shown: who sees a call, hears it or exports rows is logged first, and the access log cannot be written. "
    "The log of ser dashboard has the cause; SER_ACCESS_LOG names the folder."
)


def fetch(request: Request, sql: str, parameters: dict[str, Any] | None = None) -> list[Row]:
    """The rows of one statement that the viewer may see. ``sql`` is constant text; values from a request are ``parameters``."""
    rows: list[Row] = request.state.snapshot.query(request.state.viewer, sql, parameters).to_pylist()
    return rows


def fetch_to_review(request: Request, sql: str, parameters: dict[str, Any] | None = None) -> list[Row]:
    """As ``fetch``, of the calls that the viewer may judge, with the newest reviews."""
    request.state.snapshot.refresh_reviews()
    rows: list[Row] = request.state.snapshot.query(request.state.viewer.as_reviewer(), sql, parameters).to_pylist()
    return rows


def page(request: Request, template: str, /, status_code: int = 200, **values: Any) -> Response:
    """The page of a template of ``templates/``, with the values that all templates use."""
    known = {
        "form_token": forms.token(request) if hasattr(request.state, "viewer") else None,
        "viewer": getattr(request.state, "viewer", None),
        "snapshots": request.app.state.snapshots,
        "snapshot": request.state.snapshot,
        "root": request.state.prefix,  # a proxy's path prefix: every link to the dashboard begins with it
    }
    return TEMPLATES.TemplateResponse(request, template, known | values, status_code=status_code)


def log_access(request: Request, kind: str, call: str = "", detail: str = "") -> None:
    """Enters what the viewer is about to get into the access log. Raises HTTPException 503 where that fails: then nothing is shown."""
    try:
        request.app.state.access_log.write(request.state.viewer.name, kind, call, detail)
    except OSError as error:
        log.error("The access log cannot be written, so calls, recordings and CSVs are refused: %s", error)
        raise HTTPException(503, NOT_LOGGED) from None


def in_zone(request: Request) -> Callable[..., str]:
    """A function that formats times in the site's time zone, which hours and weekdays also use."""
    zone = ZoneInfo(request.app.state.settings.time_zone)
    return lambda moment, form="%Y-%m-%d %H:%M": moment.astimezone(zone).strftime(form)


def percent(share: float | None, digits: int = 0) -> str:
    """A share as text, 0.123 as ``12 %``; a dash for None."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def number(value: float | None, digits: int = 0) -> str:
    """A number as text, 12345 as ``12,345``; a dash for None."""
    return "–" if value is None else f"{value:,.{digits}f}"


def hours(value: float) -> str:
    """A duration in hours as text: ``12 minutes``, ``2.5 hours``, ``1,234 hours``."""
    if value < 1:
        return f"{60 * value:.0f} minutes"
    return f"{value:.1f} hours" if value < 10 else f"{value:,.0f} hours"


ENVIRONMENT = Environment(
    loader=PackageLoader("ser_tasks.dashboard"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
ENVIRONMENT.filters |= {"percent": percent, "number": number, "hours": hours}
TEMPLATES = Jinja2Templates(env=ENVIRONMENT)
