"""Scores that mean something by themselves: anger and arousal of a segment, anger of a call, and the set of emotions a segment may hold.

They are made from the calibrated probabilities at equal base rates, so that base rates move a score and never its rank.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

AROUSED = ("anger", "fear", "happiness", "surprise")
"""Emotions of high arousal (Russell, 1980); the model's others are calm, disgust, neutral and sadness."""
STRONGEST_SHARE = 1 / 8
"""Share of a call's scored speech by which its anger is judged."""
STRONGEST_LEAST_S = 5.0
"""At least so many seconds of it: ``call_anger`` is about 5 s of anger."""
SMALLEST = 1e-6


@dataclass(frozen=True)
class Platt:
    """A calibration: probability = expit(slope * logit + intercept) (Platt, 1999)."""

    slope: float = 1.0
    intercept: float = 0.0
    auc: float | None = None
    """Area under the ROC curve on speakers outside the training side, as the bundle states it."""

    def __post_init__(self) -> None:
        if not self.slope > 0:
            raise ValueError(f"The slope of a calibration is {self.slope}: it must be above 0, or it would turn the ranking around.")

    def __call__(self, logits: NDArray[np.float64], shift: float = 0.0) -> NDArray[np.float64]:
        """Probabilities of logits. ``shift`` is added: the difference of two base rates' logits."""
        probabilities: NDArray[np.float64] = expit(self.slope * logits + self.intercept + shift)
        return probabilities


def at_equal_rates(probabilities: NDArray[np.float64], priors: Mapping[str, float] | None, labels: Sequence[str]) -> NDArray[np.float64]:
    """Probabilities (segments, labels) with the correction to base rates taken back."""
    if not priors:
        return probabilities
    raised = probabilities / np.array([priors[label] for label in labels])
    even: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
    return even


def at_rates(
    probabilities: NDArray[np.float64], priors: Mapping[str, float] | None, others: Mapping[str, float], labels: Sequence[str]
) -> NDArray[np.float64]:
    """Probabilities (segments, labels) that are corrected to base rates ``priors``, corrected to ``others`` instead."""
    raised = at_equal_rates(probabilities, priors, labels) * np.array([others[label] for label in labels])
    corrected: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
    return corrected


def shares_text(shares: Mapping[str, float]) -> str:
    """Shares by emotion as written in rows, such as ``anger=0.05,neutral=0.95``."""
    return ",".join(f"{label}={share:g}" for label, share in shares.items())


def shares_of(text: str) -> dict[str, float]:
    """The shares that ``shares_text`` wrote."""
    return {label: float(share) for label, share in (pair.split("=") for pair in text.split(","))}


def logit_of(emotions: Sequence[str], probabilities: NDArray[np.float64], labels: Sequence[str]) -> NDArray[np.float64] | None:
    """Logit of the emotions' joint probability (segments,); None where the model knows none of them, or no other."""
    members = [index for index, label in enumerate(labels) if label in emotions]
    if not members or len(members) == len(labels):
        return None
    summed: NDArray[np.float64] = logit(np.clip(probabilities[:, members].sum(axis=1), SMALLEST, 1 - SMALLEST))
    return summed


def rate_shift(emotions: Sequence[str], priors: Mapping[str, float] | None, labels: Sequence[str]) -> float:
    """What base rates add to the logit of emotions, against equal rates; 0 without base rates."""
    if not priors:
        return 0.0
    rate, even = sum(priors[label] for label in labels if label in emotions), sum(label in emotions for label in labels) / len(labels)
    return float(logit(np.clip(rate, SMALLEST, 1 - SMALLEST)) - logit(even))


def strongest(logits: NDArray[np.float64], seconds: NDArray[np.float64], start_s: NDArray[np.float64]) -> tuple[float, float]:
    """The mean logit of a call's strongest speech, an eighth of it and at least 5 s, and the start of its strongest segment.

    A mean over a share, unlike a maximum, does not grow with the length of the call.
    """
    order = np.argsort(-logits, kind="stable")
    wanted_s = max(STRONGEST_LEAST_S, STRONGEST_SHARE * float(seconds.sum()))
    before_s = np.cumsum(seconds[order]) - seconds[order]
    taken_s = np.clip(wanted_s - before_s, 0, seconds[order])
    return float(np.average(logits[order], weights=taken_s)), float(start_s[order[0]])


def emotion_sets(probabilities: NDArray[np.float64], thresholds: Mapping[str, float], labels: Sequence[str]) -> list[tuple[str, ...]]:
    """The emotions that each segment may hold, the most probable first: those whose probability reaches their threshold.

    A conformal set (Sadinle, Lei and Wasserman, 2019): of segments of all emotions alike, the stated share or more have the true one in
    their set.
    """
    lowest = np.array([thresholds[label] for label in labels])
    return [tuple(labels[index] for index in np.argsort(-row, kind="stable") if row[index] >= lowest[index]) for row in probabilities]


def says_nothing(emotions: Sequence[str], labels: Sequence[str]) -> bool:
    """Whether a set of emotions is of no use: it is empty, or holds more than half of what the model knows."""
    return not emotions or len(emotions) > len(labels) / 2
