"""What surrounds every page: security headers, the path prefix of a proxy, and the answer while the lake is being read.

Plain ASGI middleware: Starlette's ``BaseHTTPMiddleware`` completes a response whose body fails, so that half a file looks whole.
"""

import re
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import Headers, MutableHeaders, State
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ser_tasks.dashboard.forms import FormError, is_form_path, read_form
from ser_tasks.dashboard.pages import page

RETRY_AFTER_S = "3"
"""Browsers reload after so many seconds while the lake is being read."""
ALWAYS = ("/static/", "/health", "/ready", "/metrics")
"""Paths that are answered while the lake is being read."""
PREFIX = re.compile(r"(/[A-Za-z0-9][A-Za-z0-9._~-]*)+")
"""A path prefix; ``//host`` is none."""
MAX_PREFIX_CHARACTERS = 200


def security_headers(state: State, path: str) -> dict[str, str]:
    """The headers of every response. ``path``: without the prefix."""
    media = " ".join(["'self'", *state.media_sources])
    headers = {
        "Content-Security-Policy": f"default-src 'self'; media-src {media}; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    return headers if path.startswith("/static/") else headers | {"Cache-Control": "no-store"}


def prefix_of(scope: Scope) -> str:
    """The path prefix of a request. (Its ``root_path`` changes in mounted applications.)"""
    return str(scope["state"]["prefix"])


def without_prefix(scope: Scope) -> str:
    """A request's path below the prefix."""
    return str(scope["path"]).removeprefix(prefix_of(scope))


class SecurityHeaders:
    """Sets the security headers of every response, those of other middleware included."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(security_headers(scope["app"].state, without_prefix(scope)))
            await send(message)

        await self.app(scope, receive, send_with_headers)


class PathPrefix:
    """Makes the prefix under which a proxy serves the dashboard the request's ``root_path``, which all links begin with.

    A proxy that removes the prefix names it in ``X-Forwarded-Prefix``. Otherwise it is the path of ``dashboard_url``, removed or not.
    """

    def __init__(self, app: ASGIApp, dashboard_url: str | None):
        self.app, self.configured = app, urlsplit(dashboard_url or "").path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            forwarded = Headers(scope=scope).get("X-Forwarded-Prefix", "").rstrip("/")
            path = scope["path"]
            if PREFIX.fullmatch(forwarded) and len(forwarded) <= MAX_PREFIX_CHARACTERS:
                prefix = forwarded
            else:
                prefix = self.configured
                if prefix and path == prefix:  # relative to here, the browser would leave the prefix
                    await RedirectResponse(f"{prefix}/", 307)(scope, receive, send)
                    return
                if path.startswith(f"{prefix}/"):
                    path = path.removeprefix(prefix)
            scope.setdefault("state", {})["prefix"] = prefix
            scope.update({"root_path": prefix, "path": prefix + path})
        await self.app(scope, receive, send)


class Gate:
    """Answers what no page does: methods that would write, and requests while the lake is read for the first time."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope, receive)
            request.state.snapshot = request.app.state.snapshots.current
            posts = request.method == "POST" and is_form_path(without_prefix(scope))
            if request.method not in ("GET", "HEAD") and not posts:
                await Response("The pages are read-only.", 405, {"Allow": "GET, HEAD"})(scope, receive, send)
                return
            if posts:
                try:
                    request.state.form = await read_form(request)
                except FormError as error:
                    await Response(str(error), error.status, media_type="text/plain")(scope, receive, send)
                    return
            if request.state.snapshot is None and not without_prefix(scope).startswith(ALWAYS):
                response = page(request, "reading.html", 503)
                response.headers["Retry-After"] = response.headers["Refresh"] = RETRY_AFTER_S
                await response(scope, receive, send)
                return
        await self.app(scope, receive, send)
