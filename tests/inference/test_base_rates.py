"""Base rates without labels: right for calibrated probabilities, with an interval that holds the truth, and narrow only where it may be."""

import numpy as np
import pytest

from ser_tasks.inference.base_rates import ERROR_OF_NEUTRAL, ERROR_OF_OTHERS, NARROW, SMALLEST_RATE, BaseRates, estimated, most_likely
from ser_tasks.inference.scores import at_equal_rates, at_rates, shares_of, shares_text

LABELS = ("anger", "happiness", "neutral", "sadness")
SMALL = dict.fromkeys(LABELS, 0.01)


def calibrated(rates: list[float], count: int, seed: int = 0) -> np.ndarray:
    """Probabilities at equal base rates of ``count`` segments, of which ``rates`` are of each label: calibrated by construction."""
    rng = np.random.default_rng(seed)
    heard = 2.0 * np.eye(4)[rng.choice(4, count, p=rates)] + rng.standard_normal((count, 4))  # the likelihood ratio is exp(2 x)
    joint = np.exp(2.0 * heard)
    return joint / joint.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("rates", [[0.25] * 4, [0.05, 0.1, 0.8, 0.05], [0.4, 0.1, 0.4, 0.1], [0.01, 0.02, 0.95, 0.02]])
def test_the_shares_of_calibrated_probabilities_are_found(rates):
    np.testing.assert_allclose(most_likely(calibrated(rates, 5000)), rates, atol=0.025)


def test_the_interval_holds_the_truth_and_shrinks_with_callers():
    rates, held, widths = [0.1, 0.15, 0.7, 0.05], 0, {}
    for callers in (10, 40):
        for seed in range(8):
            found = estimated(calibrated(rates, 20 * callers, seed), np.repeat(np.arange(callers), 20), LABELS, dict.fromkeys(LABELS, 0.0))
            held += sum(found.low[label] <= rate <= found.high[label] for label, rate in zip(LABELS, rates, strict=True))
            assert all(found.low[label] <= found.rates[label] <= found.high[label] for label in LABELS)
            assert sum(found.rates.values()) == pytest.approx(1, abs=1e-3)
        widths[callers] = found.high["neutral"] - found.low["neutral"]
    assert held / 64 >= 0.85 and widths[40] < 0.7 * widths[10]


def test_segments_of_one_caller_are_not_independent():
    even = np.concatenate(
        [calibrated([0.9, 0.03, 0.04, 0.03] if caller < 4 else [0.01, 0.02, 0.95, 0.02], 20, caller) for caller in range(20)]
    )
    by_caller = estimated(even, np.repeat(np.arange(20), 20), LABELS, SMALL)
    as_if_independent = estimated(even, np.arange(400), LABELS, SMALL)
    assert by_caller.high["anger"] - by_caller.low["anger"] > 2 * (as_if_independent.high["anger"] - as_if_independent.low["anger"])


def test_the_error_of_the_model_is_in_the_interval_however_many_calls_there_are():
    even, callers = calibrated([0.2, 0.2, 0.4, 0.2], 4000), np.repeat(np.arange(200), 20)
    found = estimated(even, callers, LABELS)
    assert found.high["neutral"] - found.low["neutral"] >= min(2 * ERROR_OF_NEUTRAL, 0.8) - 0.05
    assert found.high["anger"] - found.low["anger"] >= 2 * ERROR_OF_OTHERS
    assert not found.narrow and estimated(even, callers, LABELS, SMALL).narrow
    assert not estimated(even, callers, LABELS, SMALL | {"sadness": 0.15}).narrow


def test_an_emotion_that_is_not_heard_keeps_a_small_share():
    found = estimated(np.tile([1e-6, 1e-6, 1 - 3e-6, 1e-6], (100, 1)), np.repeat(np.arange(10), 10), LABELS, SMALL)
    assert min(found.rates.values()) == pytest.approx(SMALLEST_RATE, rel=0.05) and found.low["anger"] == 0 and found.high["neutral"] > 0.99


def test_the_same_segments_give_the_same_answer():
    even, callers = calibrated([0.1, 0.2, 0.6, 0.1], 200), np.repeat(np.arange(10), 20)
    assert estimated(even, callers, LABELS) == estimated(even, callers, LABELS)


def test_narrow_is_every_interval_at_its_bound():
    assert BaseRates({"anger": 0.1}, {"anger": 0.0}, {"anger": NARROW}).narrow
    assert not BaseRates({"anger": 0.1}, {"anger": 0.0}, {"anger": NARROW + 0.01}).narrow


def test_probabilities_go_from_one_base_rate_to_another():
    old, new = {"anger": 0.1, "neutral": 0.9}, {"anger": 0.3, "neutral": 0.7}
    p = np.array([[0.5, 0.5], [0.01, 0.99]])
    moved = at_rates(p, old, new, ("anger", "neutral"))
    np.testing.assert_allclose(moved[0], [0.5 * 3 / (0.5 * 3 + 0.5 * 7 / 9), (0.5 * 7 / 9) / (0.5 * 3 + 0.5 * 7 / 9)])
    np.testing.assert_allclose(at_equal_rates(moved, new, ("anger", "neutral")), at_equal_rates(p, old, ("anger", "neutral")))


def test_shares_survive_their_text():
    assert shares_of(shares_text({"anger": 0.0512, "neutral": 0.9488})) == {"anger": 0.0512, "neutral": 0.9488}
