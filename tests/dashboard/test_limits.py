"""Slow, idle and many visitors of a real dashboard process, over real sockets. The limits are small; their pages take 2 s each."""

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from tests.factories.lakes import write_good_lake

SERVER = """
import sys, time
from ser_tasks.dashboard.app import create_app, listen, serve
from ser_tasks.dashboard.limits import Limits
from ser_tasks.dashboard import calls, sources
from ser_tasks.settings import Settings

times = {"request_s": 1.5, "stalled_s": 1.5, "answer_s": 8, "queued_s": 15, "retry_after_s": 7, "ending_s": 1, "fresh_s": 0.5}
limits = Limits(connections=9, pages=2, downloads=1, queued=3, **times)
app = create_app(sys.argv[1], settings=Settings(), limits=limits)

@app.get("/slow")
def slow():
    time.sleep(2)
    return {"slow": True}

@app.get("/csv/large")
def large():
    from fastapi.responses import StreamingResponse
    return StreamingResponse((b"x" * (1 << 20) for _ in range(200)), media_type="text/csv")

app.router.routes.insert(0, app.router.routes.pop())
app.router.routes.insert(0, app.router.routes.pop())
serve(app, listen("127.0.0.1", int(sys.argv[2])))
"""
SECURITY = ("content-security-policy", "x-content-type-options", "referrer-policy")


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("lake"))
    write_good_lake(folder)
    return folder


@pytest.fixture(scope="module")
def port(lake, tmp_path_factory) -> Iterator[int]:
    """The port of a server process."""
    tmp_path = tmp_path_factory.mktemp("server")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen([sys.executable, "-c", SERVER, lake, str(port)], stdout=log, stderr=log)
        try:
            end = time.monotonic() + 120
            while get(port, "/health", optional=True)[0] != 200:
                assert server.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()
                time.sleep(0.2)
            yield port
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(15) is not None
            assert "Traceback" not in (tmp_path / "log").read_text()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def receive(visitor: socket.socket) -> bytes:
    """All bytes until the server closes the connection, or breaks it."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while more := visitor.recv(1 << 16):
            answer += more
    return answer


def parse(answer: bytes) -> tuple[int, dict[str, str], str]:
    head, _, body = answer.decode("latin-1").partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    return int(first.split()[1]) if first else 0, {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}, body


def get(port: int, path: str, optional: bool = False) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of an answer; status 0 without any."""
    try:
        with connect(port) as visitor:
            visitor.sendall(request(path))
            return parse(receive(visitor))
    except OSError:
        if not optional:
            raise
        return 0, {}, ""


def request(path: str, more: str = "Connection: close\r\n") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n".encode()


def assert_quick(port: int) -> None:
    """Static files and probes are answered at once."""
    for path in ("/health", "/ready", "/static/style.css"):
        began_s = time.monotonic()
        assert get(port, path)[0] == 200, path
        assert time.monotonic() - began_s < 1.5, path


def test_a_slow_or_idle_visitor_is_cut_off(port):
    for first in (
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900000\r\n\r\n",
    ):
        with connect(port) as visitor:
            began_s = time.monotonic()
            visitor.sendall(first)
            ended = threading.Event()
            threading.Thread(target=trickle, args=(visitor, ended if first else None), daemon=True).start()
            status, headers, _ = parse(receive(visitor))
            ended.set()
            assert 1 < time.monotonic() - began_s < 6, first
            assert status == (405 if b"POST" in first else 408), first
            assert all(name in headers for name in SECURITY)


def trickle(visitor: socket.socket, ended: threading.Event | None) -> None:
    """Sends a byte of a header now and then."""
    with contextlib.suppress(OSError):
        while ended and not ended.wait(0.4):
            visitor.sendall(b"x")


def test_a_request_in_time_and_further_ones_on_its_connection_are_answered(port):
    with connect(port) as visitor:
        for _ in range(4):
            visitor.sendall(request("/health", "")[:20])
            time.sleep(0.5)
            visitor.sendall(request("/health", "")[20:])
            answer = b""
            while not answer.endswith(b"}"):
                answer += visitor.recv(1 << 16)
            assert answer.startswith(b"HTTP/1.1 200")
        visitor.sendall(request("/health", "") + request("/slow", "") + request("/health"))  # pipelined
        assert receive(visitor).count(b"HTTP/1.1 200") == 3


def test_idle_connections_beyond_the_bound_make_room(port):
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(connect(port)).sendall(b"GET / HTTP/1.1\r\n")
        time.sleep(0.6)
        assert_quick(port)


def test_a_reader_that_stalls_is_cut_off_and_frees_its_slot(port):
    with connect(port) as visitor:
        visitor.sendall(request("/csv/large"))
        assert visitor.recv(100).startswith(b"HTTP/1.1 200")
        assert_quick(port)
        began_s = time.monotonic()
        with connect(port) as other:  # waits for the only slot of a CSV
            other.sendall(request("/csv/totals"))
            assert parse(receive(other))[0] == 200
        assert 0.2 < time.monotonic() - began_s < 10
        assert len(receive(visitor)) < 150 << 20  # broken, not complete


def test_a_reader_that_is_slow_for_ever_is_cut_off(port):
    began_s, read = time.monotonic(), 0
    with connect(port) as visitor:
        visitor.sendall(request("/csv/large"))
        with contextlib.suppress(ConnectionError):
            while more := visitor.recv(1 << 20):
                read += len(more)
                time.sleep(0.1)
    assert time.monotonic() - began_s < 12 and read < 200 << 20


def test_pages_beyond_the_bound_are_answered_503_while_others_are_queued(port):
    answers: list[tuple[int, dict[str, str], str]] = []
    visitors = [threading.Thread(target=lambda: answers.append(get(port, "/slow"))) for _ in range(9)]
    for each in visitors:
        each.start()
    time.sleep(0.5)
    assert_quick(port)
    for each in visitors:
        each.join()
    assert sorted(status for status, *_ in answers) == [200] * 5 + [503] * 4  # 2 at once, 3 in the queue
    for status, headers, body in answers:
        assert all(name in headers for name in SECURITY)
        assert status == 200 or (headers["retry-after"] == "7" and "busy" in body)


def test_visitors_who_leave_the_queue_make_room(port):
    for _ in range(3):
        visitors = [connect(port) for _ in range(5)]
        for each in visitors:
            each.sendall(request("/slow"))
        time.sleep(0.2)
        for each in visitors:
            each.close()
    began_s = time.monotonic()
    assert get(port, "/slow")[0] == 200
    assert time.monotonic() - began_s < 8


def test_connections_beyond_the_bound_are_answered_503_where_all_are_busy(port):
    with contextlib.ExitStack() as stack:
        for path in [*["/csv/large"] * 4, *["/slow"] * 5]:  # sent or made, and queued
            stack.enter_context(connect(port)).sendall(request(path))
            time.sleep(0.05)
        status, headers, body = get(port, "/health")
        assert (status, headers["retry-after"]) == (503, "7") and "too many open connections" in body
        assert all(name in headers for name in SECURITY)
    time.sleep(0.5)
    assert_quick(port)


def test_what_is_no_request_is_answered_with_the_security_headers(port):
    for nonsense in (
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20000,
    ):
        with connect(port) as visitor:
            with contextlib.suppress(ConnectionError):
                visitor.sendall(nonsense)
            status, headers, _ = parse(receive(visitor))
            assert status == 400 and all(name in headers for name in SECURITY), nonsense[:20]
