"""A night on a Dask cluster of real processes: the rows of a local night, and of one whose worker is killed in the middle."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from prefect.testing.utilities import prefect_test_harness

from flows.nightly import nightly
from ser_tasks.pipeline.remote import handle_chunk
from ser_tasks.pipeline.spec import make_spec, run_settings
from ser_tasks.settings import Settings
from tests.factories.calls import TWO_SIDED, night_of, run_night, two_sided, write_call
from tests.factories.nights import ask, same

CALLS = 24


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calls")
    for number in range(CALLS):
        call = two_sided([("agent", 0.5, 2), ("customer", 2.5, 6)], 7, seed=number)
        write_call(folder, f"2026-11-{20 + number % 3}/call-{number}.wav", call, TWO_SIDED | {"customer_id": f"c-{number}"})
    (folder / "2026-11-20/empty.wav").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def local(calls, bundle, tmp_path_factory):
    """The lake of the same night on this machine alone."""
    lake = tmp_path_factory.mktemp("local") / "lake"
    run_night(calls, lake, bundle, settings=Settings(chunk_recordings=3, pseudonym_key="a key of the tests"))
    return lake


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and two workers, each a process of its own, on loopback: its address, and the workers."""
    folder = tmp_path_factory.mktemp("dask")
    env = {**os.environ, "SER_PSEUDONYM_KEY": "a key of the tests", "SER_SCRATCH": str(folder / "scratch"), "OMP_NUM_THREADS": "1"}
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    found = folder / "scheduler.json"
    processes = []
    try:
        with prefect_test_harness(server_startup_timeout=120), (folder / "log").open("wb") as log:
            start = lambda *command: processes.append(  # noqa: E731
                subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log, start_new_session=True)
            )
            start(*dask, "--scheduler-file", str(found))
            for name in ("one", "two"):
                command = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(found), "--no-dashboard"]
                start(*command, "--nthreads", "1", "--nworkers", "1", "--no-nanny", "--name", name, "--local-directory", str(folder))
            yield _address(found, processes, folder / "log"), processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _address(found: Path, processes: list, log: Path) -> str:
    from distributed import Client

    end = time.monotonic() + 120
    while time.monotonic() < end and all(process.poll() is None for process in processes):
        if found.exists():
            with Client(scheduler_file=str(found), set_as_default=False) as client:
                client.wait_for_workers(2, timeout=100)
                return client.scheduler.address
        time.sleep(0.2)
    raise RuntimeError("The cluster did not start:\n" + log.read_text(errors="replace")[-3000:])


@pytest.fixture
def settings(cluster, monkeypatch):
    for name, value in {"CLUSTER": cluster[0], "CHUNK_RECORDINGS": "3", "PSEUDONYM_KEY": "a key of the tests"}.items():
        monkeypatch.setenv(f"SER_{name}", value)


@pytest.mark.faults
def test_a_night_on_a_cluster_has_the_rows_of_a_local_one_and_a_killed_worker_costs_nothing(
    cluster, settings, calls, bundle, local, tmp_path
):
    run = nightly(str(calls), str(tmp_path / "whole"), model=bundle, device="cpu", workers=1)
    same(local, tmp_path / "whole")
    assert (run["listed"], run["scored"], run["quarantined"], run["failed_chunks"]) == (CALLS + 1, CALLS, 1, 0)
    assert run["workers"] == 2 and run["device"] == "cpu" and run["score_s"] > 0  # both machines had chunks
    assert ask(tmp_path / "whole", "SELECT DISTINCT run_id FROM outcomes") == [(run["run_id"],)]

    lake = tmp_path / "lake"
    killer = threading.Thread(target=_kill_after_first_chunk, args=(lake, cluster[1][0]))
    killer.start()
    run = nightly(str(calls), str(lake), model=bundle, device="cpu", workers=1)
    killer.join()
    assert cluster[1][0].poll() == -signal.SIGKILL
    same(local, lake)
    assert (run["scored"], run["failed"], run["failed_chunks"], run["checks_failed"]) == (CALLS, 0, 0, 0)


def _kill_after_first_chunk(lake: Path, worker: subprocess.Popen) -> None:
    while not list(lake.glob("outcomes/*/*/*.parquet")):
        time.sleep(0.01)
    worker.send_signal(signal.SIGKILL)


@pytest.fixture
def chunk(calls, bundle, tmp_path):
    """A run's specification and a chunk, as the flow sends them."""
    with night_of(calls, tmp_path / "lake", bundle, settings=Settings(pseudonym_key="a key of the tests")) as night:
        [first, *_] = night.list_and_plan().chunks
        yield night.spec, night.load(*first)


def test_no_secret_travels(calls, bundle, tmp_path):
    import pickle

    settings = run_settings(Settings(pseudonym_key="a secret of some length"), bundle, None)
    spec = make_spec(str(calls), str(tmp_path / "lake"), settings, "cpu")
    assert spec.settings.pseudonym_key is None and spec.key_fingerprint
    assert b"a secret of some length" not in pickle.dumps(spec)


def test_a_machine_with_another_key_or_model_refuses(chunk, monkeypatch, tmp_path):
    spec, recordings = chunk
    monkeypatch.setenv("SER_PSEUDONYM_KEY", "another key of the tests")
    with pytest.raises(ValueError, match="not the one of the run"):
        handle_chunk(spec, recordings)
    monkeypatch.setenv("SER_PSEUDONYM_KEY", "a key of the tests")
    with pytest.raises(ValueError, match="install the same"):
        handle_chunk(dataclasses.replace(spec, model_id="tiny-2-other"), recordings)


def test_without_a_server_that_workers_reach_nothing_starts(calls, monkeypatch, tmp_path):
    from flows import cluster

    monkeypatch.setattr(cluster.PREFECT_API_URL.__class__, "value", lambda self: None)
    with pytest.raises(ValueError, match="set PREFECT_API_URL"):
        cluster.preflight()
