"""Nights on S3 that are broken at random requests, and run again: no row lost, none doubled, one outcome for each recording.

``SER_FAULT_SEED`` chooses the faults and their places; a failure names the seed and the night.
"""

import os
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import duckdb
import pytest

from ser_tasks.lake.catalog import connect
from ser_tasks.pipeline.worker_pool import WorkerPool
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from tests.factories.calls import TWO_SIDED, run_night, two_sided, write_call
from tests.support.faulty_s3 import FAULTS, Request, at
from tests.support.s3 import contents, night_policy, rows_of, upload

pytestmark = pytest.mark.faults

SEED = int(os.environ.get("SER_FAULT_SEED", "20261120"))
POINTS = 200
"""Faults that must have happened, over all nights."""
HARD = ("down", "expired")
"""Faults that no attempt outlasts: they stop the night, or cost a recording its first try."""
SETTINGS = Settings(chunk_recordings=2)


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """Six recordings of two days, with every outcome of an undisturbed night."""
    folder = tmp_path_factory.mktemp("calls")
    call = two_sided([("agent", 0.5, 2), ("customer", 2.5, 5)], 6, seed=3)
    write_call(folder, "2026-11-20/a.wav", call, TWO_SIDED | {"call_id": "a", "queue": "sales"})
    write_call(folder, "2026-11-20/b c+d.wav", call, TWO_SIDED)
    write_call(folder, "2026-11-20/mono.wav", call.sum(axis=1))
    write_call(folder, "2026-11-21/quiet.wav", call * [1, 0], TWO_SIDED)
    write_call(folder, "2026-11-21/bad-sidecar.wav", call, {"channels": "both"})
    (folder / "2026-11-21/empty.wav").write_bytes(b"")
    return folder


def faults_of_a_night(rng: random.Random, requests: list[Request]) -> dict[int, str]:
    """Some faults at random requests of an undisturbed night, and in every other night a hard one. Requests for recordings,
    and writes, are few beside those of the checks: each of the three kinds is hit as often."""
    kinds = [[], [], []]
    for request in requests:
        kinds[0 if request.bucket.startswith("calls") else 1 if request.method == "PUT" else 2].append(request.index)
    soft = [fault for fault in FAULTS if fault not in HARD]
    faults = {rng.choice(rng.choice(kinds)): rng.choice(soft) for _ in range(rng.randint(4, 8))}
    if rng.random() < 0.5:
        faults[rng.choice(rng.choice(kinds))] = rng.choice(HARD)
    return faults


def end_of_a_night(run: Callable[[], dict[str, Any]]) -> tuple[str, Exception | None]:
    """How a night under faults ends, and its error: one of the store's, or one of DuckDB's while it checks. Other errors are raised."""
    try:
        return ("failed recordings" if run()["failed"] else "whole at once"), None
    except (OSError, duckdb.Error) as error:
        return ("stopped" if isinstance(error, OSError) else "stopped at the checks"), error


def test_nights_broken_at_200_random_requests_end_as_an_undisturbed_one(faulty_s3, s3, calls, bundle, monkeypatch, capsys):
    """Every night runs with the rights of the storage policy, in real worker processes, against a real server."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")  # two faults in a row are enough to lose a request
    source, lakes = s3.bucket("calls"), s3.bucket("lake")
    upload(s3, calls, source)
    before = contents(s3, source)
    for name, value in s3.identity(*night_policy(source, lakes, "nights")).items():
        monkeypatch.setenv(name, value)
    open_store.cache_clear()
    recordings, whole = f"s3://{source}", f"s3://{lakes}/nights/whole"
    rng, happened, ends = random.Random(SEED), Counter(), Counter()
    with WorkerPool(1) as workers:
        run_night(recordings, whole, bundle, workers, settings=SETTINGS)
        undisturbed, expected = faulty_s3.requests, rows_of(whole)
        with connect(whole) as connection:
            query = "SELECT count(*), count(DISTINCT recording_id), count(*) FILTER (outcome = 'failed') FROM outcomes_all"
            assert connection.execute(query).fetchall() == [(6, 6, 0)] and len(expected["segments"]) > 3
        number = 0
        while happened.total() < POINTS:
            number += 1
            lake, faults = f"s3://{lakes}/nights/{number}", faults_of_a_night(rng, undisturbed)
            told = f"SER_FAULT_SEED={SEED}, night {number}, faults {faults}"
            faulty_s3.choose(at(faults))
            end, error = end_of_a_night(lambda lake=lake: run_night(recordings, lake, bundle, workers, settings=SETTINGS))
            assert s3.secret_key not in str(error), told
            ends[end] += 1
            happened.update(fault for fault, _ in faulty_s3.broken)
            faulty_s3.choose(lambda request: None)
            run = run_night(recordings, lake, bundle, workers, settings=SETTINGS)
            assert not {check: rows for check, rows in run["checks"].items() if rows}, told
            assert rows_of(lake) == expected, told
    assert contents(s3, source) == before
    assert set(happened) == set(FAULTS) and len(ends) >= 3, (happened, ends)
    with capsys.disabled():
        told = f"{happened.total()} faults in {number} nights of {len(undisturbed)} requests"
        print(f"\nSER_FAULT_SEED={SEED}: {told}; {dict(happened)}; {dict(ends)}")


@pytest.mark.parametrize("fault", ["reset_after", "expired"])
def test_a_night_whose_every_write_is_broken_once_is_completed_write_by_write(fault, faulty_s3, s3, calls, bundle, monkeypatch):
    """Night after night, the first write that never worked before fails. At last nothing is left to break."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    source, lakes = s3.bucket("calls"), s3.bucket("lake")
    upload(s3, calls, source)
    recordings, whole, lake = f"s3://{source}", f"s3://{lakes}/whole", f"s3://{lakes}/broken"
    broken: set[str] = set()

    def break_one(request: Request) -> str | None:
        key = "runs" if "/runs/" in request.key else request.key
        if request.method != "PUT" or key in broken or len(faulty_s3.broken):
            return None
        broken.add(key)
        return fault

    with WorkerPool(1) as workers:
        run_night(recordings, whole, bundle, workers, settings=SETTINGS)
        for _ in range(30):
            faulty_s3.choose(break_one)
            try:
                run = run_night(recordings, lake, bundle, workers, settings=SETTINGS)
                break
            except OSError:
                assert faulty_s3.broken
        assert not {check: rows for check, rows in run["checks"].items() if rows}
        parts = {
            key.partition("/")[2]
            for key in contents(s3, lakes)
            if key.startswith("whole/") and key.endswith(".parquet") and "/runs/" not in key
        }
        written = {key.partition("/")[2] for key in broken}
        assert {key for key in written if not key.startswith("settled/")} == parts | {"", "keys.json"}  # "": the run's row
        assert rows_of(lake) == rows_of(whole)
