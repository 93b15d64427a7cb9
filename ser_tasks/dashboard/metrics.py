"""``/metrics`` for Prometheus: pages by route, status and seconds. Off unless SER_METRICS_TOKEN is set, by which a scraper proves itself.

A page is named by the template of its route, so that no id of a call is in a label.
"""

import secrets
import time

from fastapi import APIRouter, HTTPException, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ser_tasks.dashboard.frame import without_prefix

router = APIRouter()

METRICS = {
    "ser_dashboard_pages_total": "requests answered, by route and status",
    "ser_dashboard_page_seconds": "seconds until the last byte of an answer, by route",
    "ser_dashboard_lake_read_timestamp_seconds": "Unix time at which the lake was last read; 0 until then",
    "ser_dashboard_lake_unreadable": "1 where the last attempt to read the lake failed",
}
_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class PageMetrics:
    """The counts of one dashboard."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        pages, seconds, read, unreadable = METRICS
        self.pages = Counter(pages, METRICS[pages], ["route", "status"], registry=self.registry)
        self.seconds = Histogram(seconds, METRICS[seconds], ["route"], buckets=_BUCKETS_S, registry=self.registry)
        self.read = Gauge(read, METRICS[read], registry=self.registry)
        self.unreadable = Gauge(unreadable, METRICS[unreadable], registry=self.registry)


class CountPages:
    """Counts every request, refused ones included. A request that breaks off before its answer counts as status 500."""

    def __init__(self, app: ASGIApp, metrics: PageMetrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def counting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, counting_send)
        finally:
            route = _route_of(scope)
            self.metrics.pages.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - begun)


def _route_of(scope: Scope) -> str:
    """The template of the route that answered, ``/static``, or ``other`` where none did."""
    template = getattr(scope.get("route"), "path", None)
    if template:
        return str(template)
    return "/static" if "prefix" in scope.get("state", {}) and without_prefix(scope).startswith("/static/") else "other"


@router.api_route("/metrics", methods=["GET", "HEAD"])
async def metrics(request: Request) -> Response:
    """The counts, for a request with the token; else 401."""
    state = request.app.state
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secrets.compare_digest(token.encode(), state.settings.metrics_token.get_secret_value().encode()):
        raise HTTPException(401, "This page is for a scraper with its token.")
    counts: PageMetrics = state.metrics
    counts.read.set(state.snapshots.current.taken_at.timestamp() if state.snapshots.current else 0)
    counts.unreadable.set(bool(state.snapshots.problem))
    return Response(generate_latest(counts.registry), media_type=CONTENT_TYPE_LATEST)
