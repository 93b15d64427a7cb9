"""The dashboard's application: what every page needs. The pages themselves are routers, listed in ROUTERS."""

import contextlib
from collections.abc import AsyncIterator
from http import HTTPStatus
from importlib.resources import files
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from deploy.dashboard.filters import Filters, filters
from deploy.dashboard.snapshot import Snapshots
from deploy.dashboard.viewers import Viewer, viewer
from ser_tasks.settings import Settings

Row = dict[str, Any]

TheFilters = Annotated[Filters, Depends(filters)]
TheViewer = Annotated[Viewer, Depends(viewer)]


def ask(request: Request, sql: str, parameters: dict[str, Any] | None = None) -> list[Row]:
    """The rows of one statement with the viewer's rows alone. ``sql`` is our own text; what comes from a request is a parameter."""
    return request.state.snapshot.ask(request.state.viewer, sql, parameters).to_pylist()


def page(request: Request, template: str, /, status_code: int = 200, **values: Any) -> Response:
    """A page of ``templates/`` with what each of them shows."""
    state = request.app.state
    known = {"viewer": getattr(request.state, "viewer", None), "snapshots": state.snapshots, "snapshot": request.state.snapshot}
    return state.templates.TemplateResponse(request, template, known | values, status_code=status_code)


def signed_in(request: Request, who: TheViewer) -> None:
    """What every page but the static files asks first."""
    request.state.viewer = who


def create_app(lake: str, recordings: str | None = None, settings: Settings | None = None) -> FastAPI:
    """The dashboard over a lake. Reads the lake before it returns, and raises what the store raises.

    ``recordings``: the store that recordings are played from; without it none is.
    """
    from deploy.dashboard import overview

    routers = {"overview": overview.router}

    settings = settings or Settings()
    app = FastAPI(title="Calls and moods", docs_url=None, redoc_url=None, openapi_url=None, lifespan=_lifespan)
    app.state.lake, app.state.recordings, app.state.settings = lake, recordings, settings
    app.state.snapshots = Snapshots(lake, settings.dashboard_refresh_s)
    app.state.templates = _templates()
    app.state.media_sources = []
    for router in routers.values():
        app.include_router(router, dependencies=[Depends(signed_in)])
    app.mount("/static", StaticFiles(directory=str(files("deploy.dashboard") / "static")), name="static")
    app.middleware("http")(_each_request)
    if settings.dashboard_secret is None:  # a page elsewhere that calls its own name 127.0.0.1 gets nothing
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    app.add_exception_handler(StarletteHTTPException, _told)
    app.add_exception_handler(RequestValidationError, _bad_address)
    app.add_exception_handler(Exception, _our_fault)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.snapshots.start()
    yield
    app.state.snapshots.stop()


async def _each_request(request: Request, call_next: Any) -> Response:
    request.state.snapshot = request.app.state.snapshots.current
    if request.method not in ("GET", "HEAD"):
        response = Response("Pages are read only.", 405, {"Allow": "GET, HEAD"})
    else:
        response = await call_next(request)
    media = " ".join(["'self'", *request.app.state.media_sources])
    response.headers["Content-Security-Policy"] = (
        f"default-src 'self'; media-src {media}; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    if not request.url.path.startswith("/static/"):
        response.headers["Cache-Control"] = "no-store"
    return response


def _told(request: Request, error: HTTPException) -> Response:
    says = str(error.detail)
    if says == HTTPStatus(error.status_code).phrase:
        says = "There is no such page." if error.status_code == 404 else says
    return page(request, "error.html", error.status_code, says=says, phrase=HTTPStatus(error.status_code).phrase)


def _bad_address(request: Request, error: RequestValidationError) -> Response:
    names = ", ".join(sorted({str(each["loc"][-1]) for each in error.errors()}))
    return page(request, "error.html", 400, says=f"The address has a value that cannot be read: {names[:200]}.", phrase="Bad Request")


def _our_fault(request: Request, error: Exception) -> Response:
    return Response("Something broke on our side. The log of ser dashboard has the cause.", 500, media_type="text/plain")


def _templates() -> Jinja2Templates:
    environment = Environment(
        loader=PackageLoader("deploy.dashboard"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": percent, "number": number}
    return Jinja2Templates(env=environment)


def percent(share: float | None, digits: int = 0) -> str:
    """A share as a person reads it: 0.123 as ``12 %``; a dash where there is none."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def serve(app: FastAPI, host: str, port: int) -> None:
    """Serves until it is told to stop."""
    import uvicorn

    uvicorn.run(app, host=host, port=port, access_log=False, server_header=False, date_header=True, proxy_headers=False)
