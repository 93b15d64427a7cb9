"""The dashboard's application. Its pages are routers, listed in ROUTERS."""

import contextlib
import functools
from collections.abc import AsyncIterator
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ser_tasks.dashboard import call, calls, charts, overview, sources
from ser_tasks.dashboard.pages import TheViewer, page
from ser_tasks.dashboard.playback import Playback
from ser_tasks.dashboard.snapshot import Snapshots
from ser_tasks.settings import Settings

ROUTERS: dict[str, APIRouter] = {
    "overview": overview.router,
    "calls": calls.router,
    "call": call.router,
    "sources": sources.router,
}
"""Every page. What is not here is /static."""

READING_AGAIN_S = "3"
"""After so many seconds a browser asks again, while the lake is being read."""


def create_app(lake: str, recordings: str | None = None, settings: Settings | None = None, wait: bool = True) -> FastAPI:
    """The dashboard over a lake. Lists the lake before it returns, and raises what the store raises.

    ``recordings``: the store that recordings are played from; without it none is. ``wait``: read the lake before, too; else it is
    read once the app is served, and until then each page says so.
    """
    settings = settings or Settings()
    app = FastAPI(title="Calls and moods", docs_url=None, redoc_url=None, openapi_url=None, lifespan=_lifespan)
    app.state.lake, app.state.recordings, app.state.settings = lake, recordings, settings
    app.state.snapshots = Snapshots(lake, settings.dashboard_refresh_s, wait, functools.partial(overview.prepare, settings=settings))
    app.state.playback = Playback(recordings, settings)
    app.state.media_sources = app.state.playback.origins  # beside our own, that recordings may be played from
    for router in ROUTERS.values():
        app.include_router(router, dependencies=[Depends(_signed_in)])
    app.mount("/static", StaticFiles(directory=str(files("ser_tasks.dashboard") / "static")), name="static")
    app.middleware("http")(_each_request)
    if settings.dashboard_secret is None:  # a page elsewhere that lets its own name lead to 127.0.0.1 gets nothing
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    app.add_exception_handler(StarletteHTTPException, _told)
    app.add_exception_handler(RequestValidationError, _bad_address)
    app.add_exception_handler(Exception, _our_fault)
    return app


def serve(app: FastAPI, host: str, port: int) -> None:
    """Serves until it is told to stop."""
    import uvicorn

    uvicorn.run(app, host=host, port=port, access_log=False, server_header=False, proxy_headers=False)


def _signed_in(request: Request, viewer: TheViewer) -> None:
    """What every page but the static files asks first."""
    request.state.viewer = viewer


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.snapshots.start()
    charts.warm_up()
    yield
    app.state.snapshots.stop()
    app.state.playback.close()


async def _each_request(request: Request, call_next: Any) -> Response:
    request.state.snapshot = request.app.state.snapshots.current
    if request.method not in ("GET", "HEAD"):
        response = Response("Pages are read only.", 405, {"Allow": "GET, HEAD"})
    elif request.state.snapshot is None and not request.url.path.startswith("/static/"):
        response = page(request, "reading.html", 503)
        response.headers["Retry-After"] = response.headers["Refresh"] = READING_AGAIN_S
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
    phrase, says = HTTPStatus(error.status_code).phrase, str(error.detail)
    if says == phrase == HTTPStatus.NOT_FOUND.phrase:
        says = "There is no such page."
    return page(request, "error.html", error.status_code, says=says, phrase=phrase)


def _bad_address(request: Request, error: RequestValidationError) -> Response:
    names = ", ".join(sorted({str(each["loc"][-1]) for each in error.errors()}))
    return page(request, "error.html", 400, says=f"The address has a value that cannot be read: {names[:200]}.", phrase="Bad Request")


def _our_fault(request: Request, error: Exception) -> Response:
    return Response("Something broke on our side. The log of ser dashboard has the cause.", 500, media_type="text/plain")
