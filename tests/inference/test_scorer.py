"""Scoring: one row a segment, in order, the same alone, in any batch and with any padding."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ser_tasks.inference.bundle import load_bundle
from ser_tasks.inference.scorer import Scorer, choose_device
from ser_tasks.models import MODELS
from tests.factories.calls import tiny_bundle


@pytest.fixture(scope="module", params=MODELS)
def bundle(request, tmp_path_factory, encoders_at_hand):
    return load_bundle(tiny_bundle(tmp_path_factory.mktemp("bundles"), model=request.param, temperature=1.0))


def segments(lengths: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    frames = np.random.default_rng(seed).normal(-30, 15, (sum(lengths), 40)).astype(np.float32)
    return frames, np.array(lengths, np.int64)


def scorer(bundle, frames_per_batch: int = 2000, precision: str = "float32") -> Scorer:
    return Scorer(bundle, torch.device("cpu"), frames_per_batch, precision)


@settings(max_examples=5, deadline=None)
@example(lengths=[1, 300, 7, 7, 40], budget=620)
@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=6), budget=st.integers(1, 1500))
def test_a_segment_scores_the_same_alone_and_in_any_batch(bundle, lengths, budget):
    frames, counts = segments(lengths)
    together = scorer(bundle, budget).score(frames, counts)
    ends = np.cumsum(counts)
    for row, (end, count) in enumerate(zip(ends, counts, strict=True)):
        alone = scorer(bundle).score(frames[end - count : end], np.array([count]))
        np.testing.assert_allclose(together[row], alone[0], atol=1e-5)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)


def test_no_segments_no_rows(bundle):
    assert scorer(bundle).score(np.zeros((0, 40), np.float32), np.zeros(0, np.int64)).shape == (0, 4)


def test_a_segment_that_is_not_finite_is_null_and_spoils_no_other(bundle):
    frames, lengths = segments([50, 60, 70])
    clean = scorer(bundle).score(frames, lengths)
    frames[70] = np.nan
    spoilt = scorer(bundle).score(frames, lengths)
    assert np.isnan(spoilt[1]).all()
    np.testing.assert_allclose(spoilt[[0, 2]], clean[[0, 2]], atol=1e-5)


def test_batches_keep_to_the_budget(bundle):
    _, lengths = segments([10, 200, 30, 30, 500, 12])
    batches = list(scorer(bundle, 100).batches(lengths, np.arange(6)))
    assert sorted(np.concatenate([batch for batch, _ in batches]).tolist()) == list(range(6))
    assert all(shape == (len(batch), lengths[batch].max()) for batch, shape in batches)
    assert all(len(batch) == 1 or len(batch) * lengths[batch].max() <= 100 for batch, _ in batches)


def test_a_batch_that_does_not_fit_is_halved(bundle, monkeypatch):
    frames, lengths = segments([40] * 8)
    expected = scorer(bundle).score(frames, lengths)
    seen = []
    whole = type(bundle).probabilities

    def small_memory(self, x, lengths):
        seen.append(len(x))
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, x, lengths)

    monkeypatch.setattr(type(bundle), "probabilities", small_memory)
    np.testing.assert_allclose(scorer(bundle).score(frames, lengths), expected, atol=1e-5)
    assert seen[0] == 8 and max(seen[-1:]) <= 2
    monkeypatch.setattr(type(bundle), "probabilities", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(torch.OutOfMemoryError):
        scorer(bundle).score(frames, lengths)


def test_a_broken_machine_is_not_a_null(bundle, monkeypatch):
    monkeypatch.setattr(type(bundle), "probabilities", lambda *_: (_ for _ in ()).throw(RuntimeError("CUDA error: device-side assert")))
    with pytest.raises(RuntimeError, match="CUDA error"):
        scorer(bundle).score(*segments([40]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_scores_as_the_cpu_does(bundle):
    frames, lengths = segments([40, 300, 7])
    cuda = Scorer(bundle, torch.device("cuda"), 2000).score(frames, lengths)
    np.testing.assert_allclose(cuda, scorer(bundle).score(frames, lengths), atol=1e-4)


def test_devices():
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="choose auto, cpu or cuda"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="use --device cpu"):
            choose_device("cuda")
