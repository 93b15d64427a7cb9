"""A proxy between boto3 or DuckDB and a real S3 server that breaks chosen requests and records all of them.

The client's signed Host header is forwarded unchanged, so the server checks every signature itself.
"""

import contextlib
import http.client
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

FAULTS = ("slow_down", "server_error", "reset_before", "reset_after", "cut_body", "slow_body", "down", "expired")
"""slow_down: 503. server_error: 500. reset_before, reset_after: the connection is reset before, or after, the server received the
request; after it, a write is done and its response is lost. cut_body: half the response, then a reset. slow_body: the response in ten
pieces. down: this request and the next ten are reset. expired: the credentials have expired, which no client retries."""
DOWN_REQUESTS = 10
SLOW_BODY_S = 0.3

_ANSWERS = {
    "slow_down": (503, "SlowDown", "Please reduce your request rate."),
    "server_error": (500, "InternalError", "We encountered an internal error. Please try again."),
    "expired": (400, "ExpiredToken", "The provided token has expired."),
    "forbidden": (403, "AccessDenied", "Access Denied"),
    "skewed": (403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."),
    "no_bucket": (404, "NoSuchBucket", "The specified bucket does not exist"),
    "archived": (403, "InvalidObjectState", "The operation is not valid for the object's storage class"),
    "kms": (
        403,
        "AccessDenied",
        "User: arn:aws:iam::1:user/night is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:::key/1",
    ),
    "conflict": (409, "ConditionalRequestConflict", "A conflicting operation occurred."),
}


@dataclass(frozen=True)
class Request:
    """One request as received. ``key`` is unquoted, and empty for requests about the bucket."""

    index: int
    method: str
    bucket: str
    key: str
    query: dict[str, str]

    @property
    def prefix(self) -> str | None:
        """The prefix of a listing."""
        return self.query.get("prefix")


Chooser = Callable[[Request], str | None]
"""The fault for a request, None for none."""


def at(faults: dict[int, str]) -> Chooser:
    """Faults at chosen indexes, counted from 0 since the chooser was set."""
    return lambda request: faults.get(request.index)


def sometimes(seed: int, probability: float, faults: tuple[str, ...] = FAULTS) -> Chooser:
    """A random fault with a probability."""
    rng = random.Random(seed)
    return lambda request: rng.choice(faults) if rng.random() < probability else None


class FaultyS3:
    """Use it in a ``with``. ``choose`` sets the faults and forgets the requests so far."""

    def __init__(self, upstream_url: str):
        self._upstream = urlsplit(upstream_url).netloc
        self._lock = threading.Lock()
        self.choose(lambda request: None)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # an answer is more than one write

            def handle_one_request(self) -> None:
                with contextlib.suppress(ConnectionError):
                    super().handle_one_request()
                    return
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                proxy._serve(self)

            do_PUT = do_POST = do_HEAD = do_DELETE = do_GET  # noqa: N815  http.server looks for these names

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def choose(self, chooser: Chooser) -> None:
        with self._lock:
            self._chooser, self._down = chooser, 0
            self.requests: list[Request] = []
            self.broken: list[tuple[str, Request]] = []
            """Faults that happened, those of a ``down`` once."""

    def __enter__(self) -> "FaultyS3":
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _fault_of(self, handler: BaseHTTPRequestHandler) -> str | None:
        target = urlsplit(handler.requestline.split(" ")[1])  # handler.path has lost leading slashes
        bucket, _, key = target.path.lstrip("/").partition("/")
        query = dict(parse_qsl(target.query, keep_blank_values=True))
        with self._lock:
            request = Request(len(self.requests), handler.command, bucket, unquote(key), query)
            self.requests.append(request)
            if self._down:
                self._down -= 1
                return "reset_before"
            fault = self._chooser(request)
            if fault:
                self.broken.append((fault, request))
            if fault == "down":
                self._down = DOWN_REQUESTS
                return "reset_before"
            return fault

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        fault = self._fault_of(handler)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        if fault == "reset_before":
            _reset(handler)
        elif fault in _ANSWERS:
            status, code, message = _ANSWERS[fault]
            error = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
            _answer(handler, status, [("Content-Type", "application/xml")], error)
        else:
            status, headers, answer = self._forward(handler, body)
            if fault == "reset_after":
                _reset(handler)
            else:
                _answer(handler, status, headers, answer, fault)

    def _forward(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self._upstream, timeout=60)
        try:
            connection.putrequest(handler.command, handler.requestline.split(" ")[1], skip_host=True, skip_accept_encoding=True)
            for name, value in handler.headers.items():
                if name.lower() not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()


def _answer(handler: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], body: bytes, fault: str | None = None) -> None:
    handler.send_response_only(status)
    length = None
    for name, value in headers:
        if name.lower() == "content-length":
            length = value  # of a HEAD's answer, which has no body
        elif name.lower() not in ("connection", "transfer-encoding"):
            handler.send_header(name, value)
    if status != 204:
        handler.send_header("Content-Length", (length or "0") if handler.command == "HEAD" else str(len(body)))
    handler.end_headers()
    if handler.command == "HEAD":
        return
    if fault == "cut_body":
        handler.wfile.write(body[: len(body) // 2])
        _reset(handler)
    elif fault == "slow_body":
        step = max(1, len(body) // 10)
        for first in range(0, len(body), step):
            handler.wfile.write(body[first : first + step])
            time.sleep(SLOW_BODY_S / 10)
    else:
        handler.wfile.write(body)


def _reset(handler: BaseHTTPRequestHandler) -> None:
    """Ends the connection with a reset, as a broken network does."""
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(handler.connection.detach())  # the server itself would say goodbye first
    handler.close_connection = True
