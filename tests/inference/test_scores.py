"""Scores of segments and calls: base rates move them without changing their rank, and a call's length does not move its anger."""

import numpy as np
import pytest

from ser_tasks.inference.scores import Platt, at_equal_rates, emotion_sets, logit_of, rate_shift, says_nothing, strongest

LABELS = ("anger", "happiness", "neutral", "sadness")
PRIORS = {"anger": 0.05, "happiness": 0.1, "neutral": 0.8, "sadness": 0.05}


def probabilities(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet([1, 1, 1, 1], count)


def test_the_correction_to_base_rates_is_taken_back():
    even = probabilities(20)
    corrected = even * list(PRIORS.values())
    corrected /= corrected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(at_equal_rates(corrected, PRIORS, LABELS), even)
    assert at_equal_rates(even, None, LABELS) is even


def test_base_rates_move_scores_and_not_their_rank():
    logits = logit_of(("anger",), probabilities(50), LABELS)
    raw, moved = Platt(0.8, 0.1)(logits), Platt(0.8, 0.1)(logits, rate_shift(("anger",), PRIORS, LABELS))
    assert (moved < raw).all() and (np.argsort(moved) == np.argsort(raw)).all()
    # odds of 0.05 against those of a quarter
    np.testing.assert_allclose(moved / (1 - moved) / (raw / (1 - raw)), (0.05 / 0.95) / (0.25 / 0.75))


def test_arousal_is_what_the_model_knows_of_it():
    p = np.array([[0.3, 0.2, 0.4, 0.1]])
    assert Platt()(logit_of(("anger", "fear", "happiness"), p, LABELS)) == pytest.approx([0.5])
    assert logit_of(("fear",), p, LABELS) is None and logit_of(LABELS, p, LABELS) is None


def test_a_falling_calibration_is_refused():
    with pytest.raises(ValueError, match="must be above 0"):
        Platt(-1.0, 0.0)


def test_the_strongest_speech_of_a_call():
    logits, seconds, start_s = np.array([0.0, 4.0, 2.0, -1.0]), np.array([4.0, 3.0, 4.0, 9.0]), np.array([0.0, 10.0, 20.0, 30.0])
    assert strongest(logits, seconds, start_s) == (pytest.approx((3 * 4 + 2 * 2) / 5), 10.0)
    assert strongest(logits[:1], seconds[:1], start_s[:1]) == (0.0, 0.0)  # less speech than 5 s: all of it


@pytest.mark.parametrize("share", [0.0, 0.125, 0.25])
def test_the_strength_of_a_call_does_not_depend_on_its_length(share):
    """Calls of 24 to 240 segments of 3 s with one share of anger."""
    rng, means = np.random.default_rng(1), []
    for count in (24, 240):
        found = []
        for _ in range(400):
            logits = rng.standard_normal(count) - 2 + 3 * (np.arange(count) < share * count)
            found.append(strongest(logits, np.full(count, 3.0), 3.0 * np.arange(count))[0])
        means.append(np.mean(found))
    assert abs(means[0] - means[1]) < 0.1


def test_sets_hold_what_reaches_its_threshold():
    thresholds = {"anger": 0.2, "happiness": 0.3, "neutral": 0.5, "sadness": 0.1}
    p = np.array([[0.3, 0.4, 0.25, 0.05], [0.1, 0.25, 0.6, 0.05], [0.19, 0.29, 0.45, 0.07], [0.2, 0.3, 0.3, 0.2]])
    sets = emotion_sets(p, thresholds, LABELS)
    assert sets == [("happiness", "anger"), ("neutral",), (), ("happiness", "anger", "sadness")]
    assert [says_nothing(each, LABELS) for each in sets] == [False, False, True, True]
