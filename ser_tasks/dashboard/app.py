"""The dashboard's application. ROUTERS lists its pages."""

import contextlib
import errno
import functools
import socket
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
from ser_tasks.dashboard import (
    acknowledging,
    call,
    calls,
    charts,
    forms,
    health,
    listening,
    lists,
    metrics,
    overview,
    queues,
    review,
    review_queue,
    sources,
)
from ser_tasks.dashboard.filters import FilterError
from ser_tasks.dashboard.frame import Gate, PathPrefix, SecurityHeaders, security_headers, without_prefix
from ser_tasks.dashboard.limits import LIMITS, AtOnce, Limits, connections_with
from ser_tasks.dashboard.metrics import CountPages, PageMetrics
from ser_tasks.dashboard.pages import TheViewer, page, queues_of
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
    "listening": listening.router,
    "review": review.router,
    "review_queue": review_queue.router,
    "acknowledging": acknowledging.router,
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
    app.state.form_secret = forms.form_secret(settings)
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


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on this address. Raises OSError, with what to do, where the port is in use or may not be had."""
    listening = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the connections of an earlier dashboard may still be closing
        listening.bind(address)
        listening.listen()
    except OSError as error:
        if listening:
            listening.close()
        raise OSError(f"The dashboard cannot listen on {host}, port {port}: {_remedy(error)}.") from None
    return listening


def _remedy(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program listens there. End it, or give another --port"
    if error.errno == errno.EACCES:
        return "this user may not use a port below 1024. Give a higher --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address. Give another --host"
    if isinstance(error, socket.gaierror):
        return f"{error.strerror}. Give another --host"
    return error.strerror or str(error)


def serve(app: FastAPI, listening: socket.socket) -> None:
    """Serves on the socket until the process is stopped."""
    import uvicorn

    options: dict[str, Any] = {"log_config": None, "log_level": "info"} if logs.is_json() else {}
    limits: Limits = app.state.limits
    config = uvicorn.Config(
        app,
        http=connections_with(limits),
        ws="none",
        timeout_graceful_shutdown=limits.ending_s,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        **options,
    )
    server = uvicorn.Server(config)
    with listening, contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
    if not server.started:
        raise SystemExit(1)


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
    viewer = getattr(request.state, "viewer", None)
    offered = error.filters if isinstance(error, FilterError) and viewer else None
    names = queues_of(request.state.snapshot, viewer) if offered and viewer else []
    return page(request, "error.html", error.status_code, message=message, phrase=phrase, offered=offered, queues=names)


def _invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    names = ", ".join(sorted({str(each["loc"][-1]) for each in error.errors()}))
    return page(request, "error.html", 400, message=f"The address has an invalid value: {names[:200]}.", phrase="Bad Request")


def _server_error(request: Request, error: Exception) -> Response:
    headers = security_headers(request.app.state, without_prefix(request.scope))  # this answer passes no middleware
    return Response("The dashboard failed. The log of ser dashboard has the cause.", 500, headers, media_type="text/plain")
