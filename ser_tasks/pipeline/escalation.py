"""Escalation: whether a call ends more negative than it began, by more than chance.

The call is compared with its own opening. Chance is what the call itself shows: how much its segments vary, and how alike neighbours are.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

LEAST_SEGMENTS = 10
"""In shorter calls, opening and ending are too few segments to tell a change from chance."""
LEAST_IN_A_THIRD = 10
"""A call with shorter thirds is compared by halves."""
ESCALATION_Z = 2.4
"""About one call in a hundred without any change exceeds it. (Simulated with 10 to 120 segments: 0.4 to 0.7 % where neighbours are
independent, 0.7 to 1.3 % where they correlate by 0.2, 1.4 to 2.3 % by 0.4; as many do the opposite.)"""
LEAST_CHANGE = 0.1
"""Change of mean negativity: in long calls, smaller ones exceed chance."""
HIGHEST_CORRELATION = 0.7


@dataclass(frozen=True)
class Change:
    """How a call's ending differs from its opening."""

    change: float
    """Mean negativity of the last third of the segments (of the second half, in short calls) minus that of the first, -1 to 1."""
    z: float
    """The same in ranks, as a multiple of what chance gives: about normal, with deviation 1, in calls without change."""

    @property
    def escalated(self) -> bool:
        return self.z > ESCALATION_Z and self.change >= LEAST_CHANGE

    @property
    def deescalated(self) -> bool:
        """The mirror of ``escalated``."""
        return self.z < -ESCALATION_Z and self.change <= -LEAST_CHANGE


def change_of(negativity: NDArray[np.float64], start_s: NDArray[np.float64]) -> Change | None:
    """The change of a call with ``negativity`` (segments,), 0 to 1, in segments that start at ``start_s``; None where they are too few.

    z is that of the Mann-Whitney test (Mann and Whitney, 1947) between the first and the last third (or half) of the segments. Its
    variance is multiplied by (1 + r) / (1 - r), as neighbours are not independent: r is the correlation of neighbouring ranks within
    each part (variance of a mean under first-order autocorrelation; Bayley and Hammersley, 1946).
    """
    count = len(negativity)
    if count < LEAST_SEGMENTS:
        return None
    value = negativity[np.argsort(start_s, kind="stable")]
    part = min(count // 2, max(LEAST_IN_A_THIRD, count // 3))
    first, last = value[:part], value[-part:]
    ranks = rankdata(np.concatenate([first, last]))
    u = ranks[part:].sum() - part * (part + 1) / 2
    variance = part * part * (2 * part + 1) / 12
    r = _neighbours(ranks[:part], ranks[part:])
    z = (u - part * part / 2) / np.sqrt(variance * (1 + r) / (1 - r))
    return Change(float(last.mean() - first.mean()), float(z))


def _neighbours(*parts: NDArray[np.float64]) -> float:
    """Correlation of neighbouring ranks within parts of equal length, 0 to HIGHEST_CORRELATION.

    1 / length is added: so much lower it is found, on average, where each part's own mean was taken out.
    """
    rests = [part - part.mean() for part in parts]
    squares = sum(float(np.square(rest).sum()) for rest in rests)
    if squares == 0:
        return 0.0
    products = sum(float((rest[1:] * rest[:-1]).sum()) for rest in rests)
    return float(np.clip(products / squares + 1 / len(parts[0]), 0, HIGHEST_CORRELATION))
