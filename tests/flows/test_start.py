"""What a night loads and starts before its first recording, and what it says where it cannot start."""

import contextlib
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.cli.nightly import _prefect
from ser_tasks.pipeline import fork_server
from ser_tasks.pipeline.worker_pool import WorkerPool


def loaded_of(code: str, modules: str) -> str:
    """Which of some modules a new process has loaded after the code."""
    program = f"{code}\nimport sys\nprint(*[name for name in {modules.split()} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.splitlines()[-1]


def test_a_night_loads_nothing_that_it_seldom_needs():
    assert loaded_of("import flows.nightly", "torch prefect pandas sklearn scipy.signal scipy.stats librosa matplotlib") == "torch prefect"


def test_what_workers_need_is_loaded_before_they_are_forked():
    needed = "torch silero_vad scipy.signal ser_tasks.inference.scorer ser_tasks.pipeline.extract"
    assert loaded_of(f"import {fork_server.LOADED}", f"{needed} prefect pandas sklearn") == needed


BAD = {
    "model": (["--model", "no/such/bundle"], {}, "There is no bundle.json"),
    "recordings": (["--recordings", "no/such/folder"], {}, "no/such/folder"),
    "lake": (["--lake", "/proc/here"], {}, "The lake /proc/here can't be written"),
    "scratch": ([], {"SER_SCRATCH": "/proc/here"}, "The scratch folder /proc/here can't be written"),
    "policy": (["--policy", "nobody_knows"], {}, "nobody_knows"),
    "setting": ([], {"SER_CHUNK_RECORDINGS": "-1"}, "chunk_recordings"),
    "precision": ([], {"SER_PRECISION": "int4"}, "int4"),
    "opt-out list": ([], {"SER_OPT_OUT": "no/such/list.csv"}, "no/such/list.csv"),
    "transcripts": (["--transcripts", "no/such/texts"], {}, "no/such/texts"),
}


def arguments(tmp_path, given: list[str]) -> list[str]:
    (tmp_path / "calls").mkdir()
    return ["nightly", "--recordings", str(tmp_path / "calls"), "--lake", str(tmp_path / "lake"), *given]


@pytest.mark.parametrize("bad", BAD)
def test_a_night_that_cannot_start_says_so_before_anything_is_started(bad, tmp_path, monkeypatch):
    given, variables, message = BAD[bad]
    started: list[str] = []
    monkeypatch.setattr(fork_server, "start", lambda: started.append("fork server"))
    monkeypatch.setattr("flows.server.start_ahead", lambda: started.append("server"))
    monkeypatch.setattr("flows.server.prefect_server", lambda *of: started.append("server"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    answer = CliRunner().invoke(app, arguments(tmp_path, given))
    assert answer.exit_code == 2 and message in answer.output and started == []
    assert not (tmp_path / "lake").exists()


def test_what_is_said_at_once_needs_neither_torch_nor_prefect(tmp_path):
    asked = arguments(tmp_path, ["--model", "no/such/bundle"])
    code = f"from flows.cli import app\ntry:\n    app({asked!r})\nexcept SystemExit as end:\n    assert end.code == 2"
    assert loaded_of(code, "ser_tasks.pipeline.start_checks torch prefect") == "ser_tasks.pipeline.start_checks"


AHEAD = """
import sys
import flows.server as servers

class Server:
    url, auth_string = "http://127.0.0.1:1/api", "-"
    def __init__(self, variables): print("launched", "prefect" in sys.modules)
    def wait_until_up(self, limit_s): print("up")
    def kill(self): print("killed")

servers.TemporaryServer = Server
servers.start_ahead()
with servers.prefect_server(lambda: print("loaded")) as server:
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY as heartbeats
    print("temporary" if server else "named", "with" if heartbeats.value() else "without", "heartbeats")
"""


@pytest.mark.parametrize(
    ("home", "variables", "said"),
    [
        (["prefect.db"], {}, "launched False, loaded, up, temporary without heartbeats"),
        ([], {}, "loaded, launched True, up, temporary without heartbeats"),
        (["prefect.db"], {"PREFECT_API_URL": "http://127.0.0.1:1/api"}, "loaded, named with heartbeats"),
        (["prefect.db", "profiles.toml"], {}, "launched False, killed, loaded, named with heartbeats"),
    ],
)
def test_the_server_is_started_before_prefect_is_loaded_where_one_is_needed(home, variables, said, tmp_path):
    for name in home:
        (tmp_path / name).write_text(
            'active = "own"\n[profiles.own]\nPREFECT_API_URL = "http://127.0.0.1:1/api"\n' if "toml" in name else ""
        )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"PREFECT_HOME": str(tmp_path)} | variables
    answer = subprocess.run([sys.executable, "-c", AHEAD], env=environment, check=True, capture_output=True, text=True)
    assert ", ".join(answer.stdout.splitlines()) == said


@pytest.mark.parametrize(("cores", "order"), [(2, ["server", "loaded", "workers"]), (4, ["workers", "server", "loaded"])])
def test_the_server_has_a_core_for_itself_while_it_starts(cores, order, monkeypatch):
    steps: list[str] = []

    @contextlib.contextmanager
    def server(meanwhile):
        meanwhile()
        yield

    monkeypatch.setattr(fork_server, "cores", lambda: cores)
    monkeypatch.setattr(fork_server, "start", lambda: steps.append("workers"))
    monkeypatch.setattr("flows.server.start_ahead", lambda: steps.append("server"))
    monkeypatch.setattr("flows.server.prefect_server", server)
    with _prefect(lambda: None, lambda: steps.append("loaded")):
        assert list(dict.fromkeys(steps)) == order


def test_workers_have_the_environment_of_their_pool_and_are_forked_again(monkeypatch):
    for value in ("one", "two"):
        monkeypatch.setenv("SER_TEST_VALUE", value)
        with WorkerPool(1) as pool:
            assert pool.map(os.getenv, [("SER_TEST_VALUE",)]) == [value]
    monkeypatch.delenv("SER_TEST_VALUE")
    with WorkerPool(1) as pool:
        assert pool.map(os.getenv, [("SER_TEST_VALUE",)]) == [None]
