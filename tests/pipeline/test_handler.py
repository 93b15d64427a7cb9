"""Batches of a chunk are scored together: fewer and larger, with the same rows."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ser_tasks.inference import scorer as scoring
from ser_tasks.inference.line_profile import Standards
from ser_tasks.inference.scorer import ScorerSpec, pool_files, put_together, score_files, shares
from ser_tasks.models.processor import has_bfloat16
from ser_tasks.pipeline import handler
from ser_tasks.pipeline.extract import Batch
from ser_tasks.pipeline.handler import joined
from tests.factories.calls import tiny_bundle


@dataclass
class Result:
    """What ``joined`` sees of a recording."""

    name: str


def batch(folder: Path, name: str, size: int) -> Batch:
    if not size:
        return Batch([Result(name)])
    (folder / name).write_bytes(bytes(size))
    return Batch([Result(name)], (folder / name,))


@pytest.mark.parametrize(("at_least", "packs"), [(1, 1), (2, 2), (4, 4), (16, 6)])
def test_batches_are_joined_to_one_for_each_worker(tmp_path, at_least, packs):
    batches = [batch(tmp_path, f"{number}", size) for number, size in enumerate([40, 0, 10, 30, 20, 25, 35])]
    together = joined(batches, at_least)
    with_frames = [each for each in together if each.frames_files]
    assert len(with_frames) == packs
    names = [result.name for each in together for result in each.extracted]
    assert sorted(names) == ["0", "1", "2", "3", "4", "5", "6"]
    for each in with_frames:
        assert [file.name for file in each.frames_files] == [result.name for result in each.extracted]
    sizes = [sum(file.stat().st_size for file in each.frames_files) for each in with_frames]
    assert max(sizes) - min(sizes) <= 40 and sum(sizes) == 160


def test_large_files_are_not_joined_beyond_what_is_read_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(handler, "AT_ONCE_BYTES", 50)
    batches = [batch(tmp_path, f"{number}", 40) for number in range(6)]
    assert [len(each.frames_files) for each in joined(batches, 2)] == [1] * 6  # 240 bytes are five times 50, six for two workers
    assert joined([], 2) == [] and len(joined([Batch([Result("a")])], 2)) == 1


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.skipif(not has_bfloat16(), reason="no AMX"))])
def test_segments_of_several_files_have_the_rows_of_one(tmp_path, monkeypatch, precision):
    bundle = tiny_bundle(tmp_path / "bundles", by_line=True)
    spec = ScorerSpec(str(bundle), scoring.shared_bundle(str(bundle), {}).model_id, "cpu", precision=precision)
    rng = np.random.default_rng(0)
    lengths = np.array([30, 70, 64, 5, 200, 31, 90], np.int64)
    n_features = 40
    frames = rng.normal(-30, 15, (lengths.sum(), n_features)).astype(np.float32)
    frames.tofile(tmp_path / "all")
    first = int(lengths[:3].sum())
    for name, part in (("a", frames[:first]), ("b", frames[first : first + 5]), ("c", frames[first + 5 :])):
        part.tofile(tmp_path / name)
    files = [tmp_path / name for name in "abc"]
    standards = Standards(
        np.array([0, -1, 1, 0, 0, 1, -1]),
        rng.normal(size=(2, 2 * n_features)).astype(np.float32),
        np.full((2, 2 * n_features), 3, np.float32),
    )
    whole = score_files([tmp_path / "all"], lengths, spec, standards)
    pooled = pool_files([tmp_path / "all"], lengths, spec)
    for at_once in (1, 100 * 4 * n_features, scoring.AT_ONCE_BYTES):
        monkeypatch.setattr(scoring, "AT_ONCE_BYTES", at_once)
        apart = score_files(files, lengths, spec, standards)
        np.testing.assert_allclose(apart.probabilities, whole.probabilities, atol=0 if precision == "bfloat16" else 1e-5)
        np.testing.assert_allclose(apart.distances, whole.distances, rtol=1e-4)
        np.testing.assert_allclose(pool_files(files, lengths, spec), pooled, rtol=1e-4, atol=1e-4)
        alone = [(share, score_files(files, lengths, spec, standards, share)) for share in shares(lengths, 3)]
        shared = put_together(alone)
        np.testing.assert_allclose(shared.probabilities, whole.probabilities, atol=0 if precision == "bfloat16" else 1e-5)
        np.testing.assert_allclose(shared.distances, whole.distances, rtol=1e-4)
        assert shared.precision == precision and shared.seconds == sum(scored.seconds for _, scored in alone)
