"""Nights that are stopped: real signals to a real process group, and Prefect servers that are lost. Nothing is left running."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from ser_tasks.lake import parts
from ser_tasks.storage import open_store
from tests.factories.calls import TWO_SIDED, two_sided, write_call

pytestmark = pytest.mark.faults

LIMIT_S = 15
START_LIMIT_S = 300
WORK_LIMIT_S = 180
"""For what is left to do when a server is lost."""


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """More than a minute of work for one worker."""
    folder = tmp_path_factory.mktemp("calls")
    write_call(folder, "2026-11-20/0.wav", two_sided([("agent", 1, 40), ("customer", 45, 280)], 300), TWO_SIDED)
    for number in range(1, 150):
        for suffix in ("wav", "json"):
            os.link(folder / f"2026-11-20/0.{suffix}", folder / f"2026-11-20/{number}.{suffix}")
    return folder


def processes_of(folder: Path) -> dict[int, str]:
    """Processes whose environment names the folder: the night, its workers and its server. A zombie is none."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in (process / "environ").read_bytes() and int(process.name) != os.getpid():
                found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
    return found


HEARS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); signal.signal(signal.SIGHUP, signal.SIG_DFL)"
"""Whoever runs the tests in the background may have told their processes to ignore Ctrl-C and a hang-up."""


@dataclass
class Started:
    """A night in a process group of its own."""

    process: subprocess.Popen
    folder: Path
    lake: Path

    def wait_for(self, condition) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while not condition():
            assert self.process.poll() is None and time.monotonic() < deadline, self.stderr()
            time.sleep(0.1)

    def server(self) -> int:
        [pid] = [pid for pid, command in processes_of(self.folder).items() if "flows.server" in command]
        return pid

    def is_extracting(self) -> bool:
        return bool(list((self.folder / "scratch").rglob("*.mark")))

    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    def ends(self, exit_code: int) -> str:
        """The last line of the standard error of a night that must be over in time and leave nothing."""
        begun = time.monotonic()
        try:
            assert self.process.wait(LIMIT_S) == exit_code, self.stderr()
        except subprocess.TimeoutExpired:
            pytest.fail(f"It goes on after {LIMIT_S} s: {processes_of(self.folder)}\n{self.stderr()}")
        while processes_of(self.folder) and time.monotonic() - begun < LIMIT_S:
            time.sleep(0.1)
        assert processes_of(self.folder) == {}
        assert [path for path in (self.folder / "scratch").iterdir() if path.is_dir()] == []
        if self.lake.exists():
            assert parts.broken(open_store(str(self.lake)), deep=True) == {} and list(self.lake.rglob("*.tmp")) == []
        return self.stderr().rstrip().rpartition("\n")[2]


@pytest.fixture
def start(calls, bundle, tmp_path):
    started = []

    def start_night(recordings: Path = calls, program: str = f"{HEARS}; from flows.cli import app; app()", **variables: str) -> Started:
        command = [sys.executable, "-c", program, "nightly", "--recordings", str(recordings)]
        command += ["--lake", str(tmp_path / "lake"), "--model", bundle, "--workers", "1", "--device", "cpu"]
        (tmp_path / "scratch").mkdir()
        environment = os.environ | {"PREFECT_HOME": str(tmp_path / "prefect"), "SER_SCRATCH": str(tmp_path / "scratch")} | variables
        environment["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = str(START_LIMIT_S)  # its database is made, on any machine
        with (tmp_path / "stderr").open("ab") as stderr:
            process = subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=stderr)
        started.append(Started(process, tmp_path, tmp_path / "lake"))
        return started[-1]

    yield start_night
    for night in started:
        for pid in processes_of(night.folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        night.process.wait()


@pytest.fixture(params=[False, True], ids=["first start", "database there"])
def has_database(request, tmp_path):
    """Whether Prefect's database is there: the server is then started before Prefect is loaded."""
    if request.param:
        (tmp_path / "prefect").mkdir()
        (tmp_path / "prefect" / "prefect.db").touch()
    return request.param


@pytest.mark.parametrize(
    ("number", "to_group", "twice"),
    [
        (signal.SIGINT, True, False),
        (signal.SIGINT, True, True),
        (signal.SIGTERM, True, False),
        (signal.SIGTERM, False, False),
        (signal.SIGHUP, True, False),
    ],
    ids=["Ctrl-C", "Ctrl-C twice", "SIGTERM to the group", "SIGTERM to the night alone", "hang-up"],
)
def test_a_signal_ends_the_night_in_time_with_its_code(number, to_group, twice, start):
    night = start()
    night.wait_for(night.is_extracting)
    for _ in range(2 if twice else 1):
        os.killpg(night.process.pid, number) if to_group else night.process.send_signal(number)
        time.sleep(0.5)
    line = night.ends(128 + number)
    assert line == f"ser: stopped by {number.name}; what was published is complete: run it again."


def test_a_signal_while_the_server_starts_ends_it_too(has_database, start):
    night = start()
    night.wait_for(lambda: any("flows.server" in command for command in processes_of(night.folder).values()))
    os.killpg(night.process.pid, signal.SIGTERM)
    assert night.ends(143).startswith("ser: stopped by SIGTERM")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
def test_the_end_of_the_temporary_server_ends_the_night(number, start):
    night = start()
    night.wait_for(night.is_extracting)
    os.kill(night.server(), number)
    assert night.ends(1).startswith("ser: stopped, since the temporary Prefect server ended")


IGNORES = "import signal; [signal.signal(each, signal.SIG_IGN) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]"
"""As a shell's background job, what nohup starts, and what some supervisors start ignore signals."""
IN_A_THREAD = f"""
{IGNORES}
import os, threading
from flows.cli import app
def night():
    try:
        app()
    except SystemExit as end:
        os._exit(end.code)
thread = threading.Thread(target=night)
thread.start()
thread.join()
"""


@pytest.mark.parametrize("program", [f"{IGNORES}; from flows.cli import app; app()", IN_A_THREAD], ids=["in the background", "in a thread"])
def test_the_end_of_the_temporary_server_ends_a_night_that_ignores_signals(program, start):
    night = start(program=program)
    night.wait_for(night.is_extracting)
    os.kill(night.server(), signal.SIGKILL)
    night.ends(1)
    assert "ser: stopped, since the temporary Prefect server ended (exit code -9)" in night.stderr()  # a worker that starts may say more


def test_a_temporary_server_that_ends_before_it_is_up_ends_the_night(has_database, start):
    night = start(program=f"{IGNORES}; from flows.cli import app; app()")
    night.wait_for(lambda: any("flows.server" in command for command in processes_of(night.folder).values()))
    os.kill(night.server(), signal.SIGKILL)
    assert re.search(r"ser: .*the temporary prefect server ended \(?(with )?exit code -9", night.ends(night.process.wait(LIMIT_S)).lower())
    assert night.process.returncode in (1, 2)


def test_a_hung_temporary_server_does_not_hold_up_a_signal(start):
    night = start()
    night.wait_for(night.is_extracting)
    os.kill(night.server(), signal.SIGSTOP)
    os.killpg(night.process.pid, signal.SIGTERM)
    assert "ser: stopped by SIGTERM" in night.ends(143)


def test_kill_9_of_the_night_leaves_no_process(start):
    night = start()
    night.wait_for(night.is_extracting)
    night.process.send_signal(signal.SIGKILL)
    night.process.wait()
    deadline = time.monotonic() + LIMIT_S
    while processes_of(night.folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(night.folder) == {}


@dataclass
class ConfiguredServer:
    """A Prefect server that other runs use, too: ``PREFECT_API_URL`` names it. In a session of its own, as by another user."""

    process: subprocess.Popen
    port: int

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def freeze(self) -> None:
        os.killpg(self.process.pid, signal.SIGSTOP)

    def answer_500(self) -> None:
        """Another server takes its port, and answers 500 to everything."""
        self.kill()
        broken = ThreadingHTTPServer(("127.0.0.1", self.port), Answer500)
        threading.Thread(target=broken.serve_forever, daemon=True).start()


class Answer500(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(500)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_PATCH = do_PUT = do_DELETE = do_GET  # noqa: N815 - names that http.server calls

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def configured_server(tmp_path_factory) -> Iterator[ConfiguredServer]:
    home = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    environment = os.environ | {"PREFECT_HOME": str(home), "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, start_new_session=True, stdout=log, stderr=log)
    server = ConfiguredServer(process, port)
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            assert process.poll() is None and time.monotonic() < deadline, (home / "log").read_text()
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/api/health", trust_env=False).status_code == httpx.codes.OK:
                    break
            time.sleep(0.2)
        yield server
    finally:
        if process.poll() is None:
            server.kill()


@pytest.fixture(scope="module")
def few_calls(tmp_path_factory):
    """Some seconds of work."""
    folder = tmp_path_factory.mktemp("few-calls")
    for number in range(8):
        write_call(folder, f"2026-11-20/{number}.wav", two_sided([("agent", 1, 20), ("customer", 25, 55)], 60), TWO_SIDED)
    return folder


@pytest.mark.parametrize(
    "lose", [ConfiguredServer.kill, ConfiguredServer.freeze, ConfiguredServer.answer_500], ids=lambda lose: lose.__name__
)
def test_a_night_whose_configured_server_is_lost_ends_soon_after_its_last_work(
    lose: Callable[[ConfiguredServer], None], configured_server, start, few_calls
):
    address = f"http://127.0.0.1:{configured_server.port}/api"
    night = start(few_calls, PREFECT_API_URL=address, SER_CHUNK_RECORDINGS="1")
    night.wait_for(lambda: list(night.lake.glob("outcomes/**/*.parquet")))  # in the middle
    lose(configured_server)
    with contextlib.suppress(subprocess.TimeoutExpired):
        night.process.wait(WORK_LIMIT_S)
    last_work = max(path.stat().st_mtime for path in night.lake.rglob("*.parquet"))
    assert time.time() - last_work < LIMIT_S, night.stderr()
    assert len(list(night.lake.glob("outcomes/**/*.parquet"))) > 1, "it ended at once: a server that is away for a moment costs no night"
    night.ends(1)
    assert "ser: the prefect server (prefect_api_url) was lost" in night.stderr().lower()  # what Prefect prints may follow
