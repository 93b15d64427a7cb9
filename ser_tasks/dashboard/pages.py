"""What every page is made with: the viewer's rows, a template, and how figures are written."""

from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, PackageLoader, StrictUndefined

from ser_tasks.dashboard.filters import Filters, filters
from ser_tasks.dashboard.viewers import Viewer, viewer

Row = dict[str, Any]

TheFilters = Annotated[Filters, Depends(filters)]
TheViewer = Annotated[Viewer, Depends(viewer)]


def ask(request: Request, sql: str, parameters: dict[str, Any] | None = None) -> list[Row]:
    """The rows of one statement, the viewer's alone. ``sql`` is our own text; what comes from a request is a parameter."""
    return request.state.snapshot.ask(request.state.viewer, sql, parameters).to_pylist()


def page(request: Request, template: str, /, status_code: int = 200, **values: Any) -> Response:
    """A page of ``templates/`` with what each of them shows."""
    known = {
        "viewer": getattr(request.state, "viewer", None),
        "snapshots": request.app.state.snapshots,
        "snapshot": request.state.snapshot,
    }
    return TEMPLATES.TemplateResponse(request, template, known | values, status_code=status_code)


def percent(share: float | None, digits: int = 0) -> str:
    """A share as a person reads it, 0.123 as ``12 %``; a dash where there is none."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def number(value: float | None, digits: int = 0) -> str:
    """A number as a person reads it, 12345 as ``12,345``; a dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}"


def hours(value: float) -> str:
    """A length in hours as a person reads it: ``12 minutes``, ``2.5 hours``, ``1,234 hours``."""
    if value < 1:
        return f"{60 * value:.0f} minutes"
    return f"{value:.1f} hours" if value < 10 else f"{value:,.0f} hours"


ENVIRONMENT = Environment(
    loader=PackageLoader("ser_tasks.dashboard"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
ENVIRONMENT.filters |= {"percent": percent, "number": number, "hours": hours}
TEMPLATES = Jinja2Templates(env=ENVIRONMENT)
