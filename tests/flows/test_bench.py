"""The bench times what it says: the same audio all three ways, with every shipped model."""

import os
import time

import pytest

from flows import bench as bench_module
from flows.bench import BusyMachineError, Timing, bench, busy_share, report
from ser_tasks.inference.bundle_files import shipped_bundles
from tests.factories.calls import TWO_SIDED, two_sided, write_call


@pytest.mark.slow
@pytest.mark.parametrize("model", shipped_bundles())
def test_all_three_ways_handle_the_same_audio(model, tmp_path):
    call = two_sided([("customer", 1, 6), ("agent", 7, 9)], 10)
    write_call(tmp_path, "2026-11-20/call.wav", call, TWO_SIDED | {"call_id": "c-1", "started_at": "2026-11-20T09:00:00Z"})
    timings = bench(str(tmp_path), model, "cpu", 1, "everyone", 30 / 3600)
    assert timings["a"].audio_s == pytest.approx(10) and timings["b"].audio_s == pytest.approx(30) == timings["c"].audio_s
    for way in "ab":
        assert timings[way].stages["model"] > 0 and timings[way].stages["features"] > 0, way
    assert model in report(timings, str(tmp_path), model, "everyone")


class InThisProcess:
    """Runs a way where it is asked for."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def submit(self, function, *arguments):
        self.result = lambda: function(*arguments)
        return self


@pytest.fixture
def ways(monkeypatch, tmp_path):
    """The three ways, made up: what they are called with, and a wall time that falls with each repetition."""
    (tmp_path / "call.wav").write_bytes(b"-")
    seen: list[str] = []

    def way(name, audio_s):
        def measure(*arguments):
            assert {os.environ[variable] for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")} == {"1"}
            seen.append(name)
            stages = {} if name == "c" else {"model": 4.0 / seen.count(name)}
            return Timing(audio_s, 12.0 / seen.count(name), 1.0, stages, {"main": 100.0 * seen.count(name)})

        return measure

    for name, function, audio_s in (("a", "_plain_way", 3600.0), ("b", "_this_pipeline", 7200.0), ("c", "_floor", 7200.0)):
        monkeypatch.setattr(bench_module, function, way(name, audio_s))
    monkeypatch.setattr(bench_module, "_fresh_process", InThisProcess)
    monkeypatch.setattr(bench_module, "busy_share", lambda: 0.2)
    return seen


def test_ways_take_turns_and_medians_and_spread_are_printed(ways, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    timings = bench(str(tmp_path), "m", "cpu", 1, "everyone", 2.0, repeat=3, force=False)
    assert "".join(ways) == "c" + "abc" * 3 and os.environ["OMP_NUM_THREADS"] == "7"
    ours = timings["b"]
    assert (ours.wall_s, ours.stages, ours.peak_mb) == (6.0, {"model": 2.0}, {"main": 200.0})
    assert ours.speeds == (600.0, 1200.0, 1800.0) and ours.speed == 1200
    text = report(timings, "calls", "m", "everyone", price=0.6)
    assert "median of 3, 600 to 1,800: a spread of 200%" in text and "ratio b/a: 2.0 x" in text
    assert "1,000 audio-hours: 0.50, for 0.83 hours of this machine at 0.6 an hour" in text
    assert "1,000 audio-hours" not in report(timings, "calls", "m", "everyone")


def test_a_busy_machine_is_refused_and_measured_where_that_is_forced(ways, tmp_path, monkeypatch):
    monkeypatch.setattr(bench_module, "busy_share", lambda: 0.6 if "b" in ways else 0.0)
    with pytest.raises(BusyMachineError, match="60% of this machine's .* more than 25%: .* give --force"):
        bench(str(tmp_path), "m", "cpu", 1, "everyone", 2.0, force=False)
    assert ways == ["c", "a", "b"]
    assert bench(str(tmp_path), "m", "cpu", 1, "everyone", 2.0, force=True)["a"].audio_s == 3600


def test_the_busy_share_counts_this_core(monkeypatch):
    def work(seconds: float) -> None:
        end = time.perf_counter() + 0.3
        while time.perf_counter() < end:
            pass

    monkeypatch.setattr(bench_module.time, "sleep", work)
    assert 0.8 / (os.cpu_count() or 1) <= busy_share() <= 1
