"""A Prefect server on a real PostgreSQL, as deploy/compose.yaml runs it. Skipped without PostgreSQL."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import pytest

from tests.factories.calls import TWO_SIDED, two_sided, write_call

pytestmark = pytest.mark.faults

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
LIMIT_S = 300


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def database():
    """The address of an empty database. PostgreSQL refuses to run as root, so it then runs as the user of its package."""
    if not PROGRAMS:
        pytest.skip("needs PostgreSQL (apt-get install postgresql)")
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    # Another user may not enter a TMPDIR that belongs to root alone, but everybody may enter /tmp.
    folder, port = Path(tempfile.mkdtemp(prefix="ser-postgres-", dir="/tmp" if user else None)), free_port()
    if user:
        shutil.chown(folder, "postgres")
    programs = PROGRAMS[-1].parent
    subprocess.run(
        [*user, str(programs / "initdb"), "-D", f"{folder}/data", "-U", "prefect", "--auth=trust", "-N"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
    )
    server = subprocess.Popen(
        [*user, str(programs / "postgres"), "-D", f"{folder}/data", "-p", str(port), "-h", "127.0.0.1", "-k", str(folder)],
        stderr=subprocess.DEVNULL,
        cwd=folder,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while subprocess.run([str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)], check=False).returncode:
            assert server.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        subprocess.run([str(programs / "createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "prefect", "prefect"], check=True)
        yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/prefect"
    finally:
        os.killpg(server.pid, signal.SIGINT)
        server.wait(30)
        shutil.rmtree(folder)


def start(command: list[str], log: Path, environment: dict[str, str]) -> subprocess.Popen:
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-c", *command], env=os.environ | environment, stdout=file, stderr=file, start_new_session=True
        )


@pytest.fixture
def prefect(database, tmp_path):
    """The environment of a server's clients, and its process."""
    port = free_port()
    environment = {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_SERVER_DATABASE_CONNECTION_URL": database}
    server = start(["from prefect.cli import app; app()", "server", "start", "--port", str(port)], tmp_path / "server.log", environment)
    environment = {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "NO_PROXY": "127.0.0.1"}
    try:
        deadline = time.monotonic() + LIMIT_S
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{environment['PREFECT_API_URL']}/health", trust_env=False).status_code == 200:
                    break
            assert server.poll() is None and time.monotonic() < deadline, (tmp_path / "server.log").read_text()
            time.sleep(0.5)
        yield environment, server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def start_night(tmp_path: Path, bundle: str, environment: dict[str, str], calls: int) -> subprocess.Popen:
    folder = tmp_path / "calls"
    write_call(folder, "2026-11-20/0.wav", two_sided([("agent", 1, 4), ("customer", 5, 280 if calls > 1 else 11)], 300), TWO_SIDED)
    for number in range(1, calls):
        for suffix in ("wav", "json"):
            os.link(folder / f"2026-11-20/0.{suffix}", folder / f"2026-11-20/{number}.{suffix}")
    arguments = ["nightly", "--recordings", str(folder), "--lake", str(tmp_path / "lake"), "--model", bundle, "--workers", "1"]
    (tmp_path / "scratch").mkdir()
    environment = environment | {"SER_SCRATCH": str(tmp_path / "scratch")}
    return start(["from flows.cli import app; app()", *arguments, "--device", "cpu"], tmp_path / "night.log", environment)


def test_a_night_is_completed_on_postgresql(prefect, bundle, tmp_path):
    environment, _ = prefect
    night = start_night(tmp_path, bundle, environment, 1)
    assert night.wait(LIMIT_S) == 0, (tmp_path / "night.log").read_text()
    runs = httpx.post(f"{environment['PREFECT_API_URL']}/flow_runs/filter", json={}, trust_env=False).json()
    assert [(run["state_type"], run["flow_id"] is not None) for run in runs] == [("COMPLETED", True)]
    assert not list((tmp_path / "prefect").glob("*.db"))
