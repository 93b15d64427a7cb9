"""The bench times what it says: the same audio all three ways, with every shipped model."""

import pytest

from flows.bench import bench, report
from ser_tasks.inference.bundle import shipped_bundles
from tests.factories.calls import TWO_SIDED, two_sided, write_call


@pytest.mark.slow
@pytest.mark.parametrize("model", shipped_bundles())
def test_all_three_ways_handle_the_same_audio(model, tmp_path):
    write_call(tmp_path, "2026-11-20/call.wav", two_sided([("customer", 1, 6), ("agent", 7, 9)], 10), TWO_SIDED)
    timings = bench(str(tmp_path), model, "cpu", 1, "everyone", 30 / 3600)
    assert timings["a"].audio_s == pytest.approx(10) and timings["b"].audio_s == pytest.approx(30) == timings["c"].audio_s
    for way in "ab":
        assert timings[way].stages["model"] > 0 and timings[way].stages["features"] > 0, way
    assert model in report(timings, str(tmp_path), model, "everyone")
