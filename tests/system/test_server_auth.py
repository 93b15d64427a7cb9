"""The Prefect server as it is documented refuses everyone without its password, and web pages of other origins.

Without both, any local user and any web page that reaches the server can create a run whose command the worker executes.
"""

import configparser
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support.documented import command_that, environment_of_the_page, preamble

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "systemd" / "ser-server.service"
LIMIT_S = 300
"""For the server to be up: it takes seconds, but a starved machine is no fault."""
ATTACK = {"name": "attack", "flow_id": "00000000-0000-0000-0000-000000000000", "entrypoint": "evil.py:run", "work_pool_name": "ser"}
STEP = {"pull_steps": [{"prefect.deployments.steps.run_shell_script": {"script": "env", "stream_output": True}}]}


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen
    port: int
    auth: str
    file: Path
    """Where the documented commands put the password."""

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, **more) -> httpx.Response:
        return httpx.request(method, f"http://127.0.0.1:{self.port}/api/{path}", headers=headers, timeout=30, trust_env=False, **more)

    def basic(self, user: str, password: str) -> httpx.BasicAuth:
        return httpx.BasicAuth(user, password)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = environment_of_the_page(folder, port) | {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_SERVER_UI_ENABLED": "false"}
    command = command_that("prefect server start").replace("4200", str(port))
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    server = Server(process, port, environment["PREFECT_SERVER_API_AUTH_STRING"], folder / "deploy" / "ser.env")
    try:
        end = time.monotonic() + LIMIT_S
        while True:
            assert process.poll() is None and time.monotonic() < end, (folder / "log").read_text()[-3000:]
            try:
                if server.ask("GET", "health").status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.3)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


ATTACKS = [
    ("POST", "deployments/filter", {}),
    ("POST", "flows/", {"name": "attack"}),
    ("POST", "deployments/", ATTACK | STEP),
    ("POST", "deployments/00000000-0000-0000-0000-000000000000/create_flow_run", {}),
    ("POST", "flow_runs/", {"name": "attack", "flow_id": ATTACK["flow_id"], "state": {"type": "SCHEDULED"}}),
    ("POST", "work_pools/", {"name": "attack", "type": "process"}),
    ("PATCH", "work_pools/ser", {"base_job_template": {"job_configuration": {"command": "env"}}}),
    ("POST", "block_documents/filter", {"include_secrets": True}),
    ("POST", "variables/filter", {}),
    ("POST", "logs/filter", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), ATTACKS, ids=[f"{method} {path}" for method, path, _ in ATTACKS])
def test_nobody_without_the_password_is_answered(server, method, path, body):
    assert server.ask(method, path, json=body).status_code == 401
    for auth in (server.basic("ser", "wrong"), server.basic("ser", ""), server.basic("", "")):
        assert server.ask(method, path, json=body, auth=auth).status_code == 401
    simple = {"Content-Type": "text/plain", "Origin": "http://evil.example"}  # what a web page may send without asking first
    assert server.ask(method, path, simple, content=b"{}").status_code == 401


def test_whoever_has_the_password_is_answered(server):
    user, _, password = server.auth.partition(":")
    auth = server.basic(user, password)
    assert user == "ser" and len(password) == 64
    assert server.ask("POST", "flows/", json={"name": "mine"}, auth=auth).status_code == 201
    assert {flow["name"] for flow in server.ask("POST", "flows/filter", json={}, auth=auth).json()} == {"mine"}  # none of the attacks'


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:9", "http://127.0.0.1.evil.example"]
)
def test_a_page_of_another_origin_is_not_let_in(server, origin):
    for headers in ({"Origin": origin}, {"Origin": origin, "Access-Control-Request-Method": "POST"}):
        method = "OPTIONS" if len(headers) == 2 else "POST"
        answer = server.ask(method, "flow_runs/filter", headers)
        assert answer.status_code in (400, 401)
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_servers_own_page_is_let_in(server, host):
    origin = f"http://{host}:{server.port}"
    answer = server.ask("OPTIONS", "flow_runs/filter", {"Origin": origin, "Access-Control-Request-Method": "POST"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)


def test_the_password_is_in_a_private_file_and_on_no_command_line(server):
    assert server.file.stat().st_mode & 0o077 == 0 and server.auth in server.file.read_text()
    secret, seen = server.auth.partition(":")[2].encode(), 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        assert secret not in line
        seen += b"prefect" in line
    assert seen  # the server itself


def test_the_documented_commands_put_no_password_on_a_command_line():
    """``printf`` and ``.`` are the shell's own; no other command is given the password."""
    given = [line for line in preamble() if "$auth" in line]
    assert len(given) == 1 and given[0].startswith("printf ")
    assert "AUTH_STRING" not in "".join(line for line in preamble() if line.startswith("export"))


def without_password(command: list[str], **more: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | more
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def no_server(tmp_path) -> dict[str, str]:
    """A ``prefect`` that only says that it was started."""
    (tmp_path / "prefect").write_text("#!/bin/sh\necho started\n")
    (tmp_path / "prefect").chmod(0o700)
    return {"PATH": os.pathsep.join([str(tmp_path), os.environ["PATH"]])}


@pytest.mark.parametrize("empty", [{}, {"PREFECT_SERVER_API_AUTH_STRING": ""}], ids=["unset", "empty"])
def test_compose_starts_no_server_without_a_password(no_server, empty):
    service = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]["server"]
    command = [part.replace("$$", "$") for part in service["command"]]
    answer = without_password(command, **no_server, **empty)
    assert (answer.returncode, answer.stdout) == (1, "") and "PREFECT_SERVER_API_AUTH_STRING" in answer.stderr
    answer = without_password(command, **no_server, PREFECT_SERVER_API_AUTH_STRING="ser:x")
    assert (answer.returncode, answer.stdout) == (0, "started\n")
    assert "*" not in service["environment"]["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"]


@pytest.mark.parametrize("empty", [{}, {"PREFECT_SERVER_API_AUTH_STRING": ""}], ids=["unset", "empty"])
def test_the_unit_starts_no_server_without_a_password(empty):
    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",))
    parser.optionxform = str
    parser.read_string(UNIT.read_text())
    command = ["bash", "-c", parser["Service"]["ExecStartPre"].replace("$$", "$")]
    answer = without_password(command, **empty)
    assert answer.returncode == 1 and "PREFECT_SERVER_API_AUTH_STRING" in answer.stderr
    assert without_password(command, PREFECT_SERVER_API_AUTH_STRING="ser:x").returncode == 0
    assert "Environment=PREFECT_SERVER_CORS_ALLOWED_ORIGINS=http://127.0.0.1:4200," in UNIT.read_text()
