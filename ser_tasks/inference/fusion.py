"""Late fusion: anger of a call from its voice, its turn-taking and its words, by a logistic regression over figures of its row.

A figure that a call lacks adds nothing, as if it were the training calls' mean. A call that has no figure of turn-taking and none of words
keeps the voice's ``call_anger``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from ser_tasks.inference.scores import SMALLEST

PARTS = ("voice", "turn_taking", "words")
RATE = 0.1
"""Share of calls with anger at which the result is a probability: that of ``call_anger``."""
FARTHEST = 3.0
"""Standardised figures are cut off there: one strange figure decides no call."""

Row = Mapping[str, Any]
"""Of call_emotions."""


def _logit_of(name: str) -> Callable[[Row], float | None]:
    return lambda row: None if row[name] is None else float(logit(np.clip(row[name], SMALLEST, 1 - SMALLEST)))


def _plain(name: str) -> Callable[[Row], float | None]:
    return lambda row: None if row[name] is None else float(row[name])


def _log_of(name: str) -> Callable[[Row], float | None]:
    return lambda row: None if row[name] is None else float(np.log1p(row[name]))


def _share_of(name: str, whole: str) -> Callable[[Row], float | None]:
    return lambda row: float(row[name] / row[whole]) if row[name] is not None and row[whole] else None


def _per_minute(name: str) -> Callable[[Row], float | None]:
    return lambda row: float(row[name] * 60 / row["duration_s"]) if row[name] is not None and row["duration_s"] else None


FIGURES: dict[str, tuple[str, Callable[[Row], float | None]]] = {
    "call_anger_logit": ("voice", _logit_of("call_anger")),
    "anger_share_of_speech": ("voice", _share_of("anger_seconds", "scored_speech_s")),
    "talk_ratio": ("turn_taking", _plain("talk_ratio")),
    "turns_per_minute": ("turn_taking", _plain("turns_per_minute")),
    "customer_longest_turn_log_s": ("turn_taking", _log_of("customer_longest_turn_s")),
    "customer_response_s": ("turn_taking", _plain("customer_response_s")),
    "agent_response_s": ("turn_taking", _plain("agent_response_s")),
    "interruptions_by_customer_per_minute": ("turn_taking", _per_minute("interruptions_by_customer")),
    "interruptions_by_agent_per_minute": ("turn_taking", _per_minute("interruptions_by_agent")),
    "overlap_share": ("turn_taking", _share_of("overlap_s", "duration_s")),
    "customer_syllables_per_s": ("turn_taking", _plain("customer_syllables_per_s")),
    "customer_words_sentiment": ("words", _plain("customer_words_sentiment")),
    "customer_words_negative_share": ("words", _plain("customer_words_negative_share")),
    "customer_words_per_minute": ("words", _plain("customer_words_per_minute")),
    "customer_questions_per_minute": ("words", _per_minute("customer_questions")),
}
"""Figures of a call: their part, and how each is made of its row; None where the call lacks it."""
COLUMNS = (
    "call_anger",
    "anger_seconds",
    "scored_speech_s",
    "duration_s",
    "talk_ratio",
    "turns_per_minute",
    "customer_longest_turn_s",
    "customer_response_s",
    "agent_response_s",
    "interruptions_by_customer",
    "interruptions_by_agent",
    "overlap_s",
    "customer_syllables_per_s",
    "customer_words_sentiment",
    "customer_words_negative_share",
    "customer_words_per_minute",
    "customer_questions",
)
"""What the figures are made of."""


@dataclass(frozen=True)
class Weight:
    """Of one figure: its mean and standard deviation over the training calls, and what a standard deviation adds to the log-odds."""

    mean: float
    deviation: float
    coefficient: float


@dataclass(frozen=True)
class Fusion:
    """A fitted fusion. Raises ValueError for an unknown figure and a standard deviation that is not above 0."""

    voice: str
    """``model_id`` of the bundle of the voice whose scores it was fitted to."""
    intercept: float
    weights: dict[str, Weight]
    """By figure, of FIGURES."""
    parts: dict[str, float]
    """Weight of each part: the standard deviation of what it adds over the training calls, as a share of the three's sum."""
    calls: int
    """Reviewed calls that it was fitted to,"""
    angry: int
    """those of them with anger,"""
    callers: int
    """and their callers."""
    scores: dict[str, Any]
    """On held-out callers, beside the voice's alone."""

    def __post_init__(self) -> None:
        if unknown := [name for name in self.weights if name not in FIGURES]:
            raise ValueError(f"The fusion has a weight of {unknown[0]!r}, which is no figure: there are {', '.join(FIGURES)}.")
        if not all(weight.deviation > 0 for weight in self.weights.values()):
            raise ValueError("The fusion has a figure whose deviation is not above 0.")
        if set(self.parts) != set(PARTS):
            raise ValueError(f"The fusion has weights of {', '.join(self.parts)}: the parts are {', '.join(PARTS)}.")

    def anger_of(self, row: Row) -> float | None:
        """``call_anger_fused`` of a call's row; None where it has no ``call_anger`` of a customer."""
        if row["call_anger"] is None or row["emotion_role"] != "customer":
            return None
        values = {name: FIGURES[name][1](row) for name in self.weights}
        if all(value is None for name, value in values.items() if FIGURES[name][0] != "voice"):
            return float(row["call_anger"])
        odds = self.intercept
        for name, weight in self.weights.items():
            odds += weight.coefficient * float(standardised(np.array(values[name], np.float64), weight.mean, weight.deviation))
        return float(expit(odds))


def figures_of(row: Row) -> list[float]:
    """The figures of a call in the order of FIGURES, NaN where it lacks one."""
    return [np.nan if (value := make(row)) is None else value for _, make in FIGURES.values()]


def standardised(values: NDArray[np.float64], mean: Any, deviation: Any) -> NDArray[np.float64]:
    """Figures as multiples of the deviation from the mean, at most FARTHEST; 0 where a call lacks one (NaN)."""
    scaled: NDArray[np.float64] = np.nan_to_num(np.clip((values - mean) / deviation, -FARTHEST, FARTHEST), nan=0.0)
    return scaled
