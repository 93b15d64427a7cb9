"""The GPU script runs where there is no GPU, and its sums are right."""

import json

import pytest

from tests.benchmarks import gpu
from tests.factories.calls import tiny_bundle
from tests.factories.lakes import Call, segment, write_calls


def test_overlap_counts_moments_at_which_both_stages_work():
    assert gpu.overlap([(0, 4), (3, 8)], [(2, 5), (7, 10)]) == pytest.approx(3 + 1)
    assert gpu.overlap([(0, 1)], [(1, 2)]) == 0 == gpu.overlap([], [(0, 1)])


def test_the_largest_difference_is_found_and_other_segments_are_refused(tmp_path):
    for name, p in (("a", 0.7), ("b", 0.68)):
        write_calls(str(tmp_path / name), [Call("call", [segment(1.0, 4.0, (p, 0.1, 0.1, 0.1))])])
    write_calls(str(tmp_path / "c"), [Call("call", [segment(1.5, 4.0, (0.7, 0.1, 0.1, 0.1))])])
    assert gpu.largest_difference(tmp_path / "a", tmp_path / "b") == (1, pytest.approx(0.02, abs=1e-6))
    with pytest.raises(SystemExit, match="scored other segments"):
        gpu.largest_difference(tmp_path / "a", tmp_path / "c")


@pytest.mark.slow
def test_without_a_gpu_the_night_on_the_cpu_is_timed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    bundle = tiny_bundle(tmp_path)
    assert gpu.main(["--model", str(bundle), "--minutes", "5", "--out", str(tmp_path / "out")]) == 0
    [result] = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (result["device"], result["scored"]) == ("cpu", 2) and result["audio_h_per_h"] > 0
    assert 0 <= result["overlap"] <= 1 and result["gpu_busy"] is None
    assert "No GPU: nothing was compared." in capsys.readouterr().out
