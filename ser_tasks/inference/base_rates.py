"""Base rates of a line's emotions, estimated without labels, with an interval that says how far to trust them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

NARROW = 0.2
"""Widest interval of any emotion with which estimated base rates are used."""
ERROR_OF_NEUTRAL, ERROR_OF_OTHERS = 0.43, 0.17
"""By how much estimates miss the true share on corpora that a model never heard, at 60 to 95 % neutral speech: 95 % miss by less.
It is the model's error, which no number of calls makes smaller (``python -m tests.benchmarks.unheard base-rates``)."""
RESAMPLES = 200
SMALLEST_RATE = 0.005
"""An emotion that is estimated to be absent is not ruled out for ever."""
MOST_ITERATIONS, CLOSE_ENOUGH = 500, 1e-6


@dataclass(frozen=True)
class BaseRates:
    """Shares of the emotions, each with the ends of its 95 % interval, 0 to 1, by label."""

    rates: Mapping[str, float]
    low: Mapping[str, float]
    high: Mapping[str, float]

    @property
    def narrow(self) -> bool:
        """Whether they are good enough to be used."""
        return all(self.high[label] - self.low[label] <= NARROW for label in self.rates)


def estimated(
    even: NDArray[np.float64], callers: NDArray[np.int64], labels: Sequence[str], errors: Mapping[str, float] | None = None
) -> BaseRates:
    """The base rates of segments with probabilities ``even`` (segments, labels), calibrated at equal base rates.

    The interval is that of resampled ``callers`` (segments,), as segments of one caller are not independent, with Student's t for few of
    them, and on both sides the model's error: ``errors`` by label, those of the constants where it says nothing. The same segments in the
    same order give the same answer.
    """
    members = [np.flatnonzero(callers == caller) for caller in np.unique(callers)]
    rng = np.random.default_rng(0)
    draws = (rng.integers(len(members), size=len(members)) for _ in range(RESAMPLES))
    drawn = np.array([most_likely(even[np.concatenate([members[number] for number in draw])]) for draw in draws])
    rates = np.maximum(most_likely(even), SMALLEST_RATE)
    rates /= rates.sum()
    count = len(members)
    sampling = stdtrit(count - 1, 0.975) * np.sqrt(count / (count - 1)) * drawn.std(axis=0) if count > 1 else 1.0
    half = sampling + np.array([model_error(label, errors) for label in labels])
    low, high = np.maximum(rates - half, 0), np.minimum(rates + half, 1)
    return BaseRates(*({label: round(float(value), 4) for label, value in zip(labels, each, strict=True)} for each in (rates, low, high)))


def model_error(label: str, errors: Mapping[str, float] | None = None) -> float:
    """By how much a model may miss the share of an emotion: as ``errors`` say, else as measured on corpora that models never heard."""
    usual = ERROR_OF_NEUTRAL if label == "neutral" else ERROR_OF_OTHERS
    return (errors or {}).get(label, usual)


def most_likely(even: NDArray[np.float64]) -> NDArray[np.float64]:
    """The shares (labels,) under which probabilities at equal base rates (segments, labels) are most likely, by EM.

    (Saerens, Latinne and Decaestecker, Neural Computation 14, 2002. The maximum is unique: Du Plessis and Sugiyama, 2014.)
    """
    shares = np.full(even.shape[1], 1 / even.shape[1])
    for _ in range(MOST_ITERATIONS):
        joint = even * shares
        before, shares = shares, (joint / joint.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(shares - before).max() < CLOSE_ENOUGH:
            break
    return shares
