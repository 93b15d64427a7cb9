"""The dashboard's application. ROUTERS lists its pages."""

import contextlib
import functools
from collections.abc import AsyncIterator
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ser_tasks import logs
from ser_tasks.dashboard import call, calls, charts, health, lists, metrics, overview, queues, sources
from ser_tasks.dashboard.frame import Gate, PathPrefix, SecurityHeaders, security_headers, without_prefix
from ser_tasks.dashboard.limits import LIMITS, AtOnce, Limits, connections_with
from ser_tasks.dashboard.metrics import CountPages, PageMetrics
from ser_tasks.dashboard.pages import TheViewer, page
from ser_tasks.dashboard.playback import Playback
from ser_tasks.dashboard.snapshot import Snapshots
from ser_tasks.monitoring.access_log import AccessLog
from ser_tasks.settings import Settings

ROUTERS: dict[str, APIRouter] = {
    "overview": overview.router,
    "queues": queues.router,
    "lists": lists.router,
    "calls": calls.router,
    "call": call.router,
    "sources": sources.router,
}
"""The routers of all pages, beside /static and the probes."""


def create_app(
    lake: str, recordings: str | None = None, settings: Settings | None = None, wait: bool = True, limits: Limits = LIMITS
) -> FastAPI:
    """The dashboard of a lake. Lists the lake before it returns; errors of the store propagate.

    ``recordings``: the store that recordings are played from; None disables playback. ``wait``: also read the lake before returning.
    Otherwise it is read once the app is served, and pages say so until then. ``limits`` hold for ``serve``, too.
    """
    settings = settings or Settings()
    app = FastAPI(title="Calls and moods", docs_url=None, redoc_url=None, openapi_url=None, lifespan=_lifespan)
    app.state.lake, app.state.recordings, app.state.settings = lake, recordings, settings
    app.state.limits = limits
    app.state.snapshots = Snapshots(lake, settings.dashboard_refresh_s, wait, functools.partial(overview.prepare, settings=settings))
    app.state.access_log = AccessLog(lake, settings)
    app.state.playback = Playback(recordings, settings)
    app.state.media_sources = app.state.playback.origins  # origins beside this one that recordings may be played from
    for router in ROUTERS.values():
        app.include_router(router, dependencies=[Depends(_signed_in)])
    app.include_router(health.router)  # a platform's probes do not sign in
    if settings.metrics_token is not None:
        app.include_router(metrics.router)  # its scraper has a token
    app.mount("/static", StaticFiles(directory=str(files("ser_tasks.dashboard") / "static")), name="static")
    app.add_middleware(AtOnce, limits=limits)
    app.add_middleware(Gate)  # the middleware that is added last comes first
    if settings.dashboard_secret is None:  # against DNS rebinding
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    app.add_middleware(SecurityHeaders)
    if settings.metrics_token is not None:
        app.state.metrics = PageMetrics()
        app.add_middleware(CountPages, metrics=app.state.metrics)
    app.add_middleware(PathPrefix, dashboard_url=settings.dashboard_url)
    app.add_exception_handler(StarletteHTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(Exception, _server_error)
    return app


def serve(app: FastAPI, host: str, port: int) -> None:
    """Serves until the process is stopped."""
    import uvicorn

    options: dict[str, Any] = {"log_config": None, "log_level": "info"} if logs.is_json() else {}
    limits: Limits = app.state.limits
    uvicorn.run(
        app,
        host=host,
        port=port,
        http=connections_with(limits),
        ws="none",
        timeout_graceful_shutdown=limits.ending_s,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        **options,
    )


def _signed_in(request: Request, viewer: TheViewer) -> None:
    """Requires sign-in for every page except static files."""
    request.state.viewer = viewer


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.snapshots.start()
    charts.warm_up()
    yield
    app.state.snapshots.stop()
    app.state.playback.close()


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    phrase, message = HTTPStatus(error.status_code).phrase, str(error.detail)
    if message == phrase == HTTPStatus.NOT_FOUND.phrase:
        message = "There is no such page."
    return page(request, "error.html", error.status_code, message=message, phrase=phrase)


def _invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    names = ", ".join(sorted({str(each["loc"][-1]) for each in error.errors()}))
    return page(request, "error.html", 400, message=f"The address has an invalid value: {names[:200]}.", phrase="Bad Request")


def _server_error(request: Request, error: Exception) -> Response:
    headers = security_headers(request.app.state, without_prefix(request.scope))  # this answer passes no middleware
    return Response("The dashboard failed. The log of ser dashboard has the cause.", 500, headers, media_type="text/plain")
