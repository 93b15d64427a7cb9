"""Nothing leaves by default: every connection of a whole night and of the dashboard is watched, those of libraries in C included."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.factories.calls import TWO_SIDED, two_sided, write_call

pytestmark = pytest.mark.slow

OUTSIDE = (
    "OTEL_",
    "OPENLINEAGE",
    "AWS_",
    "SER_",
    "PREFECT_",
    "DO_NOT_TRACK",
    "HF_",
    "http_proxy",
    "https_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
)
"""Variables that a machine may have set; without any of them is the default."""
STRACE = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=connect,sendto,sendmsg,sendmmsg"]


@pytest.fixture
def watched(tmp_path):
    """Starts ``ser`` with its arguments; with ``addresses()`` what it and its children reached outside this machine."""
    strace = shutil.which("strace")
    if strace is None or subprocess.run([*STRACE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace does not run here: apt-get install strace")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OUTSIDE)}
    environment |= {"PREFECT_HOME": str(tmp_path / "prefect"), "SER_SCRATCH": str(tmp_path), "HOME": str(tmp_path)}

    def start(*arguments: str) -> subprocess.Popen:
        command = [*STRACE, "-o", str(tmp_path / "calls.strace"), sys.executable, "-m", "flows.cli", *arguments]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    return start


def outside(log: Path) -> list[str]:
    """Lines with an address of IPv4 or IPv6 that is not of this machine. A look-up of a name goes to such an address, too."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if re.search(r"sa_family=AF_INET6?\b", line)]
    return [line for line in lines if not re.search(r'inet_addr\("127\.|inet_pton\(AF_INET6, "(::1|::ffff:127\.)', line)]


def test_the_watch_sees_a_connection_to_elsewhere(tmp_path):
    code = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('192.0.2.1', 53)); s.connect(('127.0.0.1', 53))"
    log = tmp_path / "log"
    subprocess.run([*STRACE, "-o", str(log), sys.executable, "-c", code], check=True)
    assert len(outside(log)) == 1


def test_a_night_reaches_nothing_but_this_machine(watched, tmp_path):
    write_call(tmp_path / "calls", "2026-11-20/a.wav", two_sided([("agent", 1, 3), ("customer", 4, 8)], 9), TWO_SIDED)
    night = watched("nightly", "--recordings", str(tmp_path / "calls"), "--lake", str(tmp_path / "lake"), "--workers", "1")
    output, _ = night.communicate(timeout=600)
    assert night.returncode == 0 and "1 handled: 1 scored" in output, output
    assert outside(tmp_path / "calls.strace") == []
    assert "127.0.0.1" in (tmp_path / "calls.strace").read_text(errors="replace")  # its connections to the temporary Prefect server


def test_the_dashboard_reaches_nothing_but_this_machine(watched, tmp_path, free_port):
    from tests.factories.lakes import write_good_lake

    write_good_lake(str(tmp_path / "lake"))
    dashboard = watched("dashboard", "--lake", str(tmp_path / "lake"), "--port", str(free_port))
    try:
        deadline, status = time.monotonic() + 120, 0
        while status != httpx.codes.OK and time.monotonic() < deadline:
            time.sleep(0.5)
            try:
                status = httpx.get(f"http://127.0.0.1:{free_port}/ready", trust_env=False, timeout=30).status_code
            except httpx.HTTPError:
                continue
        for path in ("/", "/calls", "/calls/id-angry", "/sql/calls_by_day_and_queue"):
            httpx.get(f"http://127.0.0.1:{free_port}{path}", trust_env=False, timeout=120)
        assert status == httpx.codes.OK
    finally:
        os.killpg(dashboard.pid, signal.SIGINT)
        dashboard.communicate(timeout=60)
    assert outside(tmp_path / "calls.strace") == []


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
