"""Networks whose features are standardised by the line of a call: what the network then gets, and that no segment depends on another."""

import dataclasses

import numpy as np
import pytest
import torch

from ser_tasks.inference.bundle import Bundle, load_bundle, save_bundle
from ser_tasks.inference.line_profile import Standards
from ser_tasks.inference.line_statistics import frame_statistics
from ser_tasks.inference.scorer import Scorer
from tests.factories.calls import tiny_bundle

FEATURES = 40
LENGTHS = np.array([30, 180, 75, 4, 120], np.int64)


@pytest.fixture(scope="module", params=["cnn_lstm", "crnn"])
def bundle(request, tmp_path_factory) -> Bundle:
    return load_bundle(tiny_bundle(tmp_path_factory.mktemp("bundles"), model=request.param, temperature=1.0, by_line=True))


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(0).normal(-30, 15, (LENGTHS.sum(), FEATURES)).astype(np.float32)


def scorer(bundle: Bundle, frames_per_batch: int = 2000) -> Scorer:
    return Scorer(bundle, torch.device("cpu"), frames_per_batch)


def two_lines(index: list[int]) -> Standards:
    rng = np.random.default_rng(1)
    means = np.concatenate([rng.normal(-1.5, 0.2, (2, FEATURES)), rng.uniform(0.5, 1, (2, FEATURES))], axis=1)
    return Standards(np.array(index, np.int64), means.astype(np.float32), rng.uniform(0.1, 0.4, means.shape).astype(np.float32))


def parts_of(frames: np.ndarray) -> list[np.ndarray]:
    return np.split(frames, np.cumsum(LENGTHS)[:-1])


def test_pooled_features_are_means_and_deviations_of_normalised_features(bundle, frames):
    pooled = scorer(bundle).pool(frames, LENGTHS)
    assert pooled.shape == (len(LENGTHS), bundle.n_pooled) == (len(LENGTHS), 2 * FEATURES)
    for row, part in zip(pooled, parts_of(frames), strict=True):
        normalised = part / 20  # by tiny_bundle
        np.testing.assert_allclose(row, np.concatenate([normalised.mean(axis=0), normalised.std(axis=0)]), rtol=1e-3, atol=1e-4)


def test_a_line_takes_the_place_of_the_bundles_normalisation(bundle, frames):
    standards = two_lines([0, 1, -1, 1, 0])
    probabilities, distances = scorer(bundle).score_on_lines(frames, LENGTHS, standards)
    mean, deviation = frame_statistics(standards.mean, standards.deviation)
    raw, pooled = scorer(bundle).score(frames, LENGTHS), scorer(bundle).pool(frames, LENGTHS)
    for number, (row, part) in enumerate(zip(standards.index, parts_of(frames), strict=True)):
        if row < 0:
            np.testing.assert_allclose(probabilities[number], raw[number], atol=1e-6)
            assert np.isnan(distances[number])
            continue
        own = dataclasses.replace(bundle, mean=tuple(20 * mean[row]), std=tuple(20 * deviation[row]), by_line=False)
        expected = scorer(own).score(part, LENGTHS[[number]])[0]
        np.testing.assert_allclose(probabilities[number], expected, atol=1e-5)
        assert np.abs(expected - raw[number]).max() > 1e-4
        standardised = (pooled[number] - standards.mean[row]) / standards.deviation[row]
        assert distances[number] == pytest.approx(np.square(standardised).mean(), rel=1e-4)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 2, 0, 3, 1]])
@pytest.mark.parametrize("frames_per_batch", [1, 300, 5000])
def test_a_segment_on_a_line_scores_the_same_in_any_batch_and_order(bundle, frames, order, frames_per_batch):
    standards = two_lines([0, 1, -1, 1, 0])
    alone = [
        scorer(bundle).score_on_lines(part, LENGTHS[[number]], standards.of(np.array([number])))
        for number, part in enumerate(parts_of(frames))
    ]
    shuffled = np.concatenate([parts_of(frames)[number] for number in order])
    probabilities, distances = scorer(bundle, frames_per_batch).score_on_lines(shuffled, LENGTHS[order], standards.of(np.array(order)))
    for row, number in enumerate(order):
        np.testing.assert_allclose(probabilities[row], alone[number][0][0], atol=1e-5)
        np.testing.assert_allclose(distances[row], alone[number][1][0], rtol=1e-4)


def test_a_segment_that_is_not_finite_is_in_no_statistics_and_spoils_no_other(bundle, frames):
    spoilt = frames.copy()
    spoilt[35] = np.nan
    pooled = scorer(bundle).pool(spoilt, LENGTHS)
    assert np.isnan(pooled[1]).all() and np.isfinite(np.delete(pooled, 1, axis=0)).all()
    standards = two_lines([0, 0, 0, 0, 0])
    clean = scorer(bundle).score_on_lines(frames, LENGTHS, standards)[0]
    probabilities = scorer(bundle).score_on_lines(spoilt, LENGTHS, standards)[0]
    assert np.isnan(probabilities[1]).all()
    np.testing.assert_allclose(np.delete(probabilities, 1, axis=0), np.delete(clean, 1, axis=0), atol=1e-5)


def test_what_takes_lines_is_kept_and_is_another_model(bundle, tmp_path):
    plain = dataclasses.replace(bundle, by_line=False)
    assert bundle.takes_lines and not plain.takes_lines and plain.model_id != bundle.model_id
    assert "by_line" not in plain.description()["normalisation"]  # older bundles keep their ids
    assert load_bundle(save_bundle(bundle, tmp_path / "kept")) == bundle
    with pytest.raises(TypeError, match="cannot be standardised to a line"):
        scorer(plain).pool(np.zeros((5, FEATURES), np.float32), np.array([5]))


def test_a_model_with_pooled_states_takes_no_other_lines(tmp_path):
    with pytest.raises(ValueError, match="ge2e_lr standardises its own pooled states"):
        tiny_bundle(tmp_path, "both", "ge2e_lr", "mel32", by_line=True)
