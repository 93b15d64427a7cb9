"""The statistics of a line from pooled features of its segments, without labels."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ser_tasks.inference.line_profile import LEAST_CALLERS, LEAST_SEGMENTS, MOST_OF_A_CALLER, Line

LEAST_DEVIATION = 1e-4
"""Deviations are at least this, as in training: a feature that never changes stays what it is."""


@dataclass(frozen=True)
class Sample:
    """Segments of a sample of calls, one row each."""

    pooled: NDArray[np.float32]
    """(segments, features)"""
    call: NDArray[np.int64]
    """(segments,): the number of the recording."""
    caller: NDArray[np.int64]
    """(segments,): the number of the person."""
    seconds: NDArray[np.float64]
    """(segments,): length of each segment."""

    def __len__(self) -> int:
        return len(self.call)

    def of(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Sample":
        return Sample(self.pooled[chosen], self.call[chosen], self.caller[chosen], self.seconds[chosen])

    def evened(self) -> "Sample":
        """The segments that count."""
        return self.of(self.counted())

    def counted(self) -> NDArray[np.int64]:
        """Indices of the segments that count: at most MOST_OF_A_CALLER of each caller, evenly spaced over what there is. Segments that are
        not finite are left out."""
        finite = np.isfinite(self.pooled).all(axis=1)
        kept = []
        for caller in np.unique(self.caller):
            members = np.flatnonzero((self.caller == caller) & finite)
            if len(members):
                kept.append(members[np.unique(np.linspace(0, len(members) - 1, MOST_OF_A_CALLER).round().astype(int))])
        return np.sort(np.concatenate(kept)) if kept else np.zeros(0, np.int64)


def line_of_sample(name: str, sample: Sample) -> Line:
    """The line of a sample, with its statistics or why it has none."""
    sample = sample.evened()
    callers = len(np.unique(sample.caller))
    line = Line(name, len(np.unique(sample.call)), callers, len(sample), float(sample.seconds.sum()))
    if len(sample) < LEAST_SEGMENTS or callers < LEAST_CALLERS:
        reason = f"{len(sample)} segments of {callers} callers are too few: {LEAST_SEGMENTS} of {LEAST_CALLERS} are needed"
        return replace(line, refused=reason)
    pooled = sample.pooled.astype(np.float64)
    mean, deviation = pooled.mean(axis=0), np.maximum(pooled.std(axis=0), LEAST_DEVIATION)
    squares = np.square((pooled - mean) / deviation).mean(axis=1)
    by_call = np.array([np.sqrt(squares[sample.call == call].mean()) for call in np.unique(sample.call)])
    return replace(
        line,
        mean=mean.astype(np.float32),
        deviation=deviation.astype(np.float32),
        usual_distance=float(np.median(by_call)),
        high_distance=float(np.quantile(by_call, 0.9)),
    )


def frame_statistics(mean: NDArray[np.float32], deviation: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and deviation (lines, features) of the frames of lines, from those of their segments' pooled features (lines, 2 * features).

    The first half of the pooled features are a segment's means over time, the second its deviations, so that no more is kept of a line
    of which features are standardised than of one with pooled states. Every segment has the same weight, whatever its length: the
    variance of the frames is that of the means, and the mean square of the deviations.
    """
    (means, deviations), (spread, spread_of_deviations) = np.split(mean, 2, axis=1), np.split(deviation, 2, axis=1)
    variance = np.square(spread) + np.square(deviations) + np.square(spread_of_deviations)
    return means, np.maximum(np.sqrt(variance), LEAST_DEVIATION)
