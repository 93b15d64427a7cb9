"""Limits of the dashboard: open connections, the time that a request and an answer may take, and pages that are made at once.

uvicorn closes neither a connection that sends no request nor one that reads no answer, and its own ``limit_concurrency`` would turn away
the platform's probes and static files, too. So its HTTP protocol is extended here by timers.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from ser_tasks.dashboard.frame import ALWAYS, without_prefix
from ser_tasks.dashboard.pages import page

BARE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Type": "text/plain; charset=utf-8",
    "Connection": "close",
}
"""Headers of answers that the server gives before the application has a request."""


@dataclass(frozen=True)
class Limits:
    """What the dashboard does at once, and how long it waits."""

    connections: int = 500
    """Open connections. Beyond them the oldest that waits for a request is closed; where none waits, a new one is answered 503, and
    beyond twice as many it is closed at once."""
    fresh_s: float = 1
    """Age up to which a connection is not closed for others: its request is on the way."""
    request_s: float = 15
    """From a connection's begin, or a request's first byte, until the request is complete."""
    stalled_s: float = 60
    """For which a visitor may read nothing of an answer."""
    answer_s: float = 900
    """From a request until its answer has been read. Players continue a recording by another request."""
    pages: int = 8
    """Pages made at once; fewer than the 40 worker threads, which static files need, too."""
    downloads: int = 4
    """CSVs sent at once."""
    recordings: int = 8
    """Recordings fetched or decoded at once. How many are being sent is not limited."""
    queued: int = 64
    """Requests that wait for one of these."""
    queued_s: float = 20
    """For which a request waits; longer, and beyond ``queued``, it is answered 503."""
    retry_after_s: int = 10
    """What such an answer says in Retry-After."""
    ending_s: int = 5
    """After the signal to end, for answers that are being sent."""


LIMITS = Limits()


class BusyError(Exception):
    """No slot became free."""


class Slots:
    """At most ``at_once`` requests are served; ``queued`` more wait for ``queued_s`` at most."""

    def __init__(self, at_once: int, limits: Limits):
        self._free = asyncio.Semaphore(at_once)
        self._limits, self._waiting = limits, 0

    async def take(self, receive: Receive) -> bool:
        """Waits for a slot, which ``give_back`` frees. False where the visitor left meanwhile. Raises BusyError."""
        if not self._free.locked():
            return await self._free.acquire()
        if self._waiting >= self._limits.queued:
            raise BusyError
        self._waiting += 1
        slot, left = asyncio.ensure_future(self._free.acquire()), asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({slot, left}, timeout=self._limits.queued_s, return_when=asyncio.FIRST_COMPLETED)
            if slot.done():
                return True
            if left.done():
                return False
            raise BusyError
        finally:
            self._waiting -= 1
            for each in (slot, left):
                if not each.done():
                    each.cancel()

    def give_back(self) -> None:
        self._free.release()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class AtOnce:
    """Bounds the pages and downloads that are made at once. Static files and probes never wait.

    A page or recording gives its slot back once sending it begins, a CSV once it is sent: its query stays open until then.
    """

    def __init__(self, app: ASGIApp, limits: Limits):
        self.app, self.limits = app, limits
        self.pages, self.downloads, self.recordings = (Slots(n, limits) for n in (limits.pages, limits.downloads, limits.recordings))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = without_prefix(scope) if scope["type"] == "http" else ALWAYS[0]
        if path.startswith(ALWAYS):
            await self.app(scope, receive, send)
            return
        if path == "/calls.csv" or path.startswith("/csv/"):
            slots = self.downloads
        else:
            slots = self.recordings if path.endswith("/sound") else self.pages
        try:
            if not await slots.take(receive):
                return
        except BusyError:
            message = f"The dashboard is busy with other requests. Try again in {self.limits.retry_after_s} seconds."
            response = page(Request(scope, receive), "error.html", 503, message=message, phrase="Busy")
            response.headers["Retry-After"] = str(self.limits.retry_after_s)
            await response(scope, receive, send)
            return
        async with _once(slots) as ended:

            async def send_and_end(message: Message) -> None:
                if slots is not self.downloads:
                    ended()
                await send(message)

            await self.app(scope, receive, send_and_end)


@contextlib.asynccontextmanager
async def _once(slots: Slots) -> AsyncIterator[Any]:
    """A function that gives the slot back, once; the block's end does it, too."""
    held = True

    def give_back() -> None:
        nonlocal held
        if held:
            slots.give_back()
        held = False

    try:
        yield give_back
    finally:
        give_back()


class Connection(H11Protocol):
    """A connection that ends when its visitor is too slow in sending a request or in reading an answer."""

    limits = LIMITS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.began_s = self.loop.time()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._timed: object = None  # the request whose answer has a timer
        if len(self.connections) > self.limits.connections:
            self._make_room()
        self._start("request", self.limits.request_s, self._too_slow)

    def _make_room(self) -> None:
        idle = [each for each in self.connections if isinstance(each, Connection) and each.is_idle]
        oldest = min(idle, key=lambda each: each.began_s)  # this one, if no other is idle
        if self.began_s - oldest.began_s > self.limits.fresh_s:
            self.connections.discard(oldest)
            oldest.transport.abort()
        elif len(self.connections) > 2 * self.limits.connections:
            self.transport.abort()
        else:
            self.app = self._refuse

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a request."""
        return (self.cycle is None or self.cycle.response_complete) and not self.transport.get_write_buffer_size()

    def connection_lost(self, exc: Exception | None) -> None:
        for name in list(self._timers):
            self._stop(name)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._start("request", self.limits.request_s, self._too_slow)
        super().data_received(data)
        self._time_the_answer()

    def _time_the_answer(self) -> None:
        if self.cycle is None or self.cycle is self._timed or self.cycle.more_body:
            return  # no new request is complete
        self._timed = self.cycle
        self._stop("request")
        self._stop("answer")
        self._start("answer", self.limits.answer_s, self.transport.abort)

    def on_response_complete(self) -> None:
        self._stop("request")
        if not self.transport.get_write_buffer_size():
            self._stop("answer")
        super().on_response_complete()
        self._time_the_answer()  # of a request that came before this one was answered

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start("stalled", self.limits.stalled_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop("stalled")

    def send_400_response(self, msg: str) -> None:
        self._answer(400, "Bad Request", msg)

    def _too_slow(self) -> None:
        if self.is_idle:
            self._answer(408, "Request Timeout", "The request was not complete in time.")
        else:
            self.transport.abort()

    def _answer(self, status: int, phrase: str, text: str, **more: str) -> None:
        headers = BARE_HEADERS | {"Content-Length": str(len(text))} | more
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        self.transport.write(("\r\n".join(lines) + f"\r\n\r\n{text}").encode("ascii"))
        self.transport.close()

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = BARE_HEADERS | {"Retry-After": str(self.limits.retry_after_s)}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 503, "headers": raw})
        await send({"type": "http.response.body", "body": b"The dashboard has too many open connections. Try again in a moment."})

    def _start(self, name: str, after_s: float, action: Any) -> None:
        """Starts a timer unless it runs."""
        if name not in self._timers and not self.transport.is_closing():
            self._timers[name] = self.loop.call_later(after_s, action)

    def _stop(self, name: str) -> None:
        if timer := self._timers.pop(name, None):
            timer.cancel()


def connections_with(limits: Limits) -> type[Connection]:
    """The protocol class for uvicorn's setting ``http``."""
    return type("LimitedConnection", (Connection,), {"limits": limits})
