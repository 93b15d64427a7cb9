"""Recordings that fail night after night: a broken machine uses up no attempt, and what was given up is tried again on request."""

from pathlib import Path

import pytest

from ser_tasks.maintenance.doctor import examine
from ser_tasks.monitoring import run_report
from ser_tasks.pipeline import worker_pool
from ser_tasks.settings import Settings
from tests.factories.calls import TWO_SIDED, night_of, run_night, two_sided, write_call
from tests.factories.nights import ask

CALL = two_sided([("agent", 0.5, 3), ("customer", 4, 9)], 10, seed=3)


@pytest.fixture(scope="module")
def workers():
    with worker_pool.WorkerPool(1) as pool:
        pool.start()
        yield pool


@pytest.fixture
def calls(tmp_path):
    write_call(tmp_path / "calls", "2026-11-20/a.wav", CALL, TWO_SIDED | {"call_id": "a"})
    return tmp_path / "calls"


def attempts(lake: Path) -> list[tuple]:
    return ask(lake, "SELECT outcome, reason_code, attempts FROM outcomes")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_nights_of_a_full_disk_use_up_no_attempt(calls, bundle, workers, tmp_path):
    lake = tmp_path / "lake"
    for _ in range(7):
        with night_of(calls, lake, bundle, workers) as night:
            [(day, chunk_id)] = night.list_and_plan().chunks
            with pytest.raises(OSError, match="No space left on device") as caught:
                Path("/dev/full").write_bytes(b"frames")
            night.give_up(day, chunk_id, caught.value)
            night.write_run(night.check())
        assert attempts(lake) == [("failed", "chunk_failed", 0)]
    assert run_night(calls, lake, bundle, workers)["scored"] == 1
    assert attempts(lake) == [("scored", None, 1)]


def test_what_was_given_up_is_named_and_tried_again_when_it_is_asked_for(calls, bundle, workers, tmp_path):
    lake, settings = tmp_path / "lake", Settings(max_attempts=2)
    fail_from_now_on = pytest.MonkeyPatch()
    fail_from_now_on.setattr(worker_pool.WorkerPool, "extract", lambda self, recordings, *_: [given(recordings)])
    run_night(calls, lake, bundle, workers, settings=settings)
    assert examine(str(lake), settings=settings).findings == []
    second = run_night(calls, lake, bundle, workers, settings=settings)
    assert attempts(lake) == [("failed", "internal_error", 2)]
    assert "1 of them were given up (ser nightly --retry-given-up" in run_report.night_report(str(lake), second, settings)
    assert [finding.kind for finding in examine(str(lake), str(calls), settings).findings] == ["given_up"]
    fail_from_now_on.undo()  # the fault is mended
    assert run_night(calls, lake, bundle, workers, settings=settings)["scored"] == 0
    retried = settings.model_copy(update={"retry_given_up": True})
    assert run_night(calls, lake, bundle, workers, settings=retried)["scored"] == 1
    assert attempts(lake) == [("scored", None, 3)] and examine(str(lake), str(calls), settings).findings == []


def given(recordings):
    """The batch of recordings that this software fails at."""
    from ser_tasks.pipeline.extract import Batch, Extracted

    results = [Extracted(recording) for recording in recordings]
    for result in results:
        result.end("failed", "internal_error", "A fault of this software.")
    return Batch(results)


def test_headerless_audio_takes_its_channels_from_the_sidecar_or_a_setting(bundle, workers, tmp_path):
    both = (CALL * 32767).astype("<i2").tobytes()
    for name, sidecar in (("stated", TWO_SIDED | {"call_id": "stated"}), ("set", {"call_id": "set"})):
        write_call(tmp_path / "calls", f"2026-11-20/{name}.wav", CALL, sidecar)
        (tmp_path / f"calls/2026-11-20/{name}.wav").rename(tmp_path / f"calls/2026-11-20/{name}.raw")
        (tmp_path / f"calls/2026-11-20/{name}.raw").write_bytes(both)
    run_night(tmp_path / "calls", tmp_path / "lake", bundle, workers)
    query = "SELECT call_id, outcome, reason_code, audio_s FROM outcomes ORDER BY call_id"
    assert ask(tmp_path / "lake", query) == [("set", "quarantined", "not_audio", 0.0), ("stated", "scored", None, 10.0)]
    settings = Settings(raw_channels={".raw": 2}, channel_roles={0: "agent", 1: "customer"})
    run_night(tmp_path / "calls", tmp_path / "other", bundle, workers, settings=settings)
    assert ask(tmp_path / "other", query) == [("set", "scored", None, 10.0), ("stated", "scored", None, 10.0)]
