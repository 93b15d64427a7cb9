"""Calibrations find what made-up scores were made with, on speakers that they were not fitted to."""

import numpy as np
import pytest
from scipy.special import expit, logit

from ser_tasks.inference.scores import Platt
from ser_tasks.training.calibrate import cautious, made_up_calls, platt, set_scores, set_threshold


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


def made_up_probabilities(rng: np.random.Generator, truth: np.ndarray, separation: float) -> np.ndarray:
    scores = rng.normal(0, 1, (len(truth), 3)) + separation * np.eye(3)[truth]
    raised: np.ndarray = np.exp(scores)
    return raised / raised.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_sets_cover_the_stated_share_of_other_segments(coverage):
    rng = np.random.default_rng(2)
    truth = rng.choice(3, 30_000, p=[0.8, 0.15, 0.05])
    probabilities = made_up_probabilities(rng, truth, 1.5)
    fitted, held_out = slice(0, 15_000), slice(15_000, None)
    weights = 1 / np.bincount(truth)[truth]
    lowest = set_threshold(probabilities[fitted], truth[fitted], weights[fitted], np.zeros(15_000), coverage)
    of_others = set_scores(probabilities[held_out], truth[held_out], weights[held_out], lowest)
    assert of_others["coverage"] == pytest.approx(coverage, abs=0.01)


def test_the_worst_group_decides_and_few_segments_are_all_covered():
    rng = np.random.default_rng(3)
    truth, groups = rng.integers(0, 3, 20_000), np.repeat(["easy", "hard"], 10_000)
    probabilities = np.concatenate([made_up_probabilities(rng, truth[:10_000], 4.0), made_up_probabilities(rng, truth[10_000:], 0.8)])
    lowest = set_threshold(probabilities, truth, np.ones(20_000), groups, 0.8)
    hard, easy = groups == "hard", groups == "easy"
    assert lowest == set_threshold(probabilities[hard], truth[hard], np.ones(10_000), groups[hard], 0.8)
    assert lowest < set_threshold(probabilities[easy], truth[easy], np.ones(10_000), groups[easy], 0.8)
    few = np.array([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.2, 0.7, 0.1]])
    assert set_threshold(few, np.array([0, 0, 1]), np.ones(3), np.zeros(3), 0.9) == 0.5


def test_how_useful_sets_are_by_hand():
    """Sets {a}, {a, b}, {b} and, of three or none, two that say nothing."""
    rows = [0.7, 0.1, 0.1, 0.1], [0.4, 0.4, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.3, 0.3, 0.3, 0.1], [0.25, 0.25, 0.25, 0.25]
    probabilities = np.array(rows)
    weights = np.array([1.0, 2.0, 1.0, 3.0, 1.0])
    found = set_scores(probabilities, np.array([0, 1, 0, 3, 0]), weights, 0.3)
    assert found == {"coverage": 0.375, "one_emotion": 0.25, "one_wrong": 0.5, "sure": 0.5, "sure_missed": 0.25}
    assert set_scores(probabilities[:1], np.array([0]), weights[:1], 0.9)["one_wrong"] is None
