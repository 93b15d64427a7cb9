"""Escalation: larger than chance, as rare as its mirror, and no more frequent in short calls than in long ones."""

import numpy as np
import pytest

from ser_tasks.pipeline.escalation import ESCALATION_Z, LEAST_SEGMENTS, change_of


def negativity(count: int, correlation: float, rng: np.random.Generator, rise: float = 0.0) -> np.ndarray:
    """A made-up call: neighbours correlate, and the last third is higher by ``rise`` (in logits)."""
    values = rng.standard_normal(count)
    for index in range(1, count):
        values[index] = correlation * values[index - 1] + np.sqrt(1 - correlation**2) * values[index]
    values = 1.5 * values - 1
    values[-(count // 3) :] += rise
    return 1 / (1 + np.exp(-values))


@pytest.mark.parametrize("count", [10, 15, 40, 120])
@pytest.mark.parametrize("correlation", [0.0, 0.3])
def test_calls_without_change_rarely_escalate_at_any_length(count, correlation):
    rng = np.random.default_rng(1)
    changes = [change_of(negativity(count, correlation, rng), np.arange(count)) for _ in range(1000)]
    assert np.mean([change.escalated for change in changes]) <= 0.02
    assert np.mean([change.deescalated for change in changes]) <= 0.02


@pytest.mark.parametrize(("count", "found"), [(24, 0.3), (60, 0.9)])
def test_calls_that_turn_are_found(count, found):
    rng = np.random.default_rng(2)
    changes = [change_of(negativity(count, 0.2, rng, rise=3.0), np.arange(count)) for _ in range(300)]
    assert np.mean([change.escalated for change in changes]) >= found
    assert not any(change.deescalated for change in changes)


def test_the_mirror_is_exact():
    value = negativity(30, 0.2, np.random.default_rng(3), rise=4.0)
    forth, back = change_of(value, np.arange(30)), change_of(1 - value, np.arange(30))
    assert forth.escalated and back.deescalated and forth.z == pytest.approx(-back.z) and forth.z > ESCALATION_Z


def test_a_small_change_of_a_long_call_is_none():
    value = np.full(200, 0.2) + 0.001 * np.arange(200) / 200
    change = change_of(value, np.arange(200))
    assert change.change < 0.01 and not change.escalated


def test_the_order_is_that_of_time():
    value = np.linspace(0, 1, 30)
    assert change_of(value[::-1], np.arange(30)[::-1]).z == change_of(value, np.arange(30)).z > 0


@pytest.mark.parametrize("count", [0, 1, LEAST_SEGMENTS - 1])
def test_a_short_call_is_unknown(count):
    assert change_of(np.linspace(0, 1, count), np.arange(count)) is None


def test_a_call_that_never_changes_has_no_z():
    assert change_of(np.full(20, 0.3), np.arange(20)).z == 0
