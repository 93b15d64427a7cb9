"""Escalation: whether a call gets angrier as it goes on, by more than chance.

Chance is what the call itself shows: how much its segments vary, and how alike neighbours are. Anger is taken at equal base rates, so that
base rates move no verdict. (Negativity, of which sadness is hard to tell from neutral speech, found fewer of the calls that turn angry.)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_SEGMENTS = 10
"""In shorter calls, too few segments tell a trend from chance."""
ESCALATION_Z = 2.33
"""About one call in a hundred without any change exceeds it, and as many do the opposite. Simulated with 10 to 120 segments: 0.1 to 0.9 %
where neighbours are independent, 0.6 to 1.3 % where they correlate by 0.2, 1.4 to 1.9 % by 0.4."""
LEAST_CHANGE = 0.05
"""Change of the mean from the first to the last third: in long calls, smaller ones exceed chance."""
HIGHEST_CORRELATION = 0.7


@dataclass(frozen=True)
class Change:
    """How a call's anger goes."""

    change: float
    """Mean anger of the last third of the segments minus that of the first, -1 to 1."""
    z: float
    """Its correlation with time as a multiple of what chance gives: about normal, with deviation 1, in calls without change."""

    @property
    def escalated(self) -> bool:
        return self.z > ESCALATION_Z and self.change >= LEAST_CHANGE

    @property
    def deescalated(self) -> bool:
        """The mirror of ``escalated``."""
        return self.z < -ESCALATION_Z and self.change <= -LEAST_CHANGE


def change_of(anger: NDArray[np.float64], start_s: NDArray[np.float64]) -> Change | None:
    """The change of a call with ``anger`` (segments,), 0 to 1, in segments that start at ``start_s``; None where they are too few.

    z is the correlation with the segments' order, times sqrt(n - 1): by permutation it has mean 0 and deviation 1, whatever the values'
    distribution (Pitman, 1937). As neighbours are not independent, its variance is multiplied by (1 + r) / (1 - r), r being the correlation
    of neighbours (variance under first-order autocorrelation: Bayley and Hammersley, 1946).
    """
    count = len(anger)
    if count < LEAST_SEGMENTS:
        return None
    value = anger[np.argsort(start_s, kind="stable")]
    third = count // 3
    change = float(value[-third:].mean() - value[:third].mean())
    order, rest = np.arange(count) - (count - 1) / 2, value - value.mean()
    variation = float(np.sqrt(np.square(order).sum() * np.square(rest).sum()))
    if variation < 1e-9:
        return Change(change, 0.0)
    r = _neighbours(value, rest - order * (order * rest).sum() / np.square(order).sum())
    z = (order * rest).sum() / variation * np.sqrt((count - 1) * (1 - r) / (1 + r))
    return Change(change, float(z))


def _neighbours(value: NDArray[np.float64], about_trend: NDArray[np.float64]) -> float:
    """Correlation of neighbours, 0 to HIGHEST_CORRELATION: the lowest about the trend, within halves and within thirds of the call.

    A change itself makes neighbours alike: about a trend where it comes at once, within a part where it comes there.
    """
    halves, thirds = ([part - part.mean() for part in np.array_split(value, count)] for count in (2, 3))
    return float(np.clip(min(_correlation([about_trend], 3), _correlation(halves, 2), _correlation(thirds, 3)), 0, HIGHEST_CORRELATION))


def _correlation(parts: list[NDArray[np.float64]], taken_out: int) -> float:
    """Correlation of neighbours within parts. It is found too low by about ``taken_out`` / n: so many numbers were estimated from them."""
    squares = sum(float(np.square(part).sum()) for part in parts)
    if squares < 1e-12:
        return 0.0
    return sum(float((part[1:] * part[:-1]).sum()) for part in parts) / squares + taken_out / sum(map(len, parts))
