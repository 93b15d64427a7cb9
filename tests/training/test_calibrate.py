"""Calibrations find what made-up scores were made with, on speakers that they were not fitted to."""

import numpy as np
import pytest
from scipy.special import expit, logit

from ser_tasks.inference.scores import Platt
from ser_tasks.training.calibrate import best_coverage, cautious, made_up_calls, platt, set_thresholds


def test_platt_finds_slope_and_intercept_and_the_ranking():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, 20_000)
    truth = rng.random(20_000) < expit(0.5 * logits - 1)
    found = platt(logits, truth, np.ones(20_000))
    assert found.slope == pytest.approx(0.5, abs=0.03) and found.intercept == pytest.approx(-1, abs=0.06)
    ranks = logits.argsort().argsort() + 1  # Mann-Whitney
    expected = (ranks[truth].sum() - truth.sum() * (truth.sum() + 1) / 2) / (truth.sum() * (~truth).sum())
    assert found.auc == pytest.approx(expected)


def test_platt_counts_by_weight_and_never_turns_the_ranking_around():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, 5000)
    truth = rng.random(5000) < expit(logits)
    rare = platt(logits, truth, np.where(truth, 0.1, 1.0))
    assert rare.intercept == pytest.approx(float(np.log(0.1)), abs=0.15)
    assert platt(-logits, truth, np.ones(5000)).slope > 0


def test_caution_keeps_the_base_rate_and_the_ranking():
    fitted, base = Platt(2.0, -1.0, 0.9), 0.1
    milder = cautious(fitted, base, 1.5)
    at_base = (logit(base) - fitted.intercept) / fitted.slope
    assert milder(np.array(at_base)) == pytest.approx(base)
    assert base < milder(np.array(at_base + 1)) < fitted(np.array(at_base + 1))
    assert milder.auc == 0.9


def test_one_made_up_call_in_ten_is_angry_and_they_are_of_one_speaker():
    """Speakers' logits do not overlap: a call of two speakers would have a strength in between."""
    speakers = np.repeat(["a", "b", "c"], 60)
    anger, neutral = np.tile(np.arange(60) < 20, 3), np.tile((np.arange(60) >= 20) & (np.arange(60) < 40), 3)
    logits = np.where(speakers == "a", 0.0, 1000.0) + np.where(anger, 5.0, -5.0)
    anger[speakers == "c"] = False  # without anger: left out
    strength, angry = made_up_calls(logits, anger, neutral, speakers)
    assert angry.mean() == pytest.approx(0.1, abs=0.02)
    assert set(strength[~angry].round(6)) == {-5.0, 995.0}
    of_a = strength[angry & (strength < 500)]
    assert of_a.min() > -1 and of_a.max() == pytest.approx(5.0)  # at least 5 s of anger, and an eighth of the call
    again, _ = made_up_calls(logits, anger, neutral, speakers)
    np.testing.assert_array_equal(again, strength)
    assert len(made_up_calls(logits, np.zeros(180, bool), neutral, speakers)[0]) == 0


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_sets_cover_each_emotion_of_other_segments(coverage):
    rng = np.random.default_rng(2)
    truth = rng.choice(3, 30_000, p=[0.8, 0.15, 0.05])
    scores = rng.normal(0, 1, (30_000, 3)) + 1.5 * np.eye(3)[truth]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    fitted, held_out = slice(0, 15_000), slice(15_000, None)
    thresholds = set_thresholds(probabilities[fitted], truth[fitted], np.ones(15_000), coverage)
    for label in range(3):
        own = probabilities[held_out][truth[held_out] == label, label]
        assert (own >= thresholds[label]).mean() == pytest.approx(coverage, abs=0.03)


def test_a_class_without_segments_is_in_every_set_and_few_segments_are_all_covered():
    probabilities = np.array([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.2, 0.7, 0.1]])
    np.testing.assert_allclose(set_thresholds(probabilities, np.array([0, 0, 1]), np.ones(3), 0.9), [0.5, 0.7, 0.0])


def test_coverage_is_lowered_until_half_of_the_segments_are_sure():
    rng = np.random.default_rng(3)
    truth, groups = rng.integers(0, 4, 8000), np.repeat(np.arange(4), 2000)

    def probabilities(separation: float) -> np.ndarray:
        scores = rng.normal(0, 1, (8000, 4)) + separation * np.eye(4)[truth]
        raised: np.ndarray = np.exp(2 * scores)
        return raised / raised.sum(axis=1, keepdims=True)

    found = [best_coverage(probabilities(separation), truth, np.ones(8000), groups) for separation in (0.0, 1.4, 4.0)]
    assert found[0] == 0.9 and found[1] < 0.9 and found[2] == 0.9
