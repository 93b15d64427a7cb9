"""Stretches that nobody may hear, such as a card number: silence in every signal that is decoded."""

from collections.abc import Iterator, Sequence

import numpy as np

from ser_tasks.audio.samples import AnyBlock
from ser_tasks.schemas import SAMPLING_RATE_HZ

Range = tuple[float, float]
"""Start and end in seconds."""


def muted(blocks: Iterator[AnyBlock], ranges: Sequence[Range], rate_hz: int = SAMPLING_RATE_HZ) -> Iterator[AnyBlock]:
    """The blocks (channels, samples) of one signal, with digital silence in ``ranges``, each sample that they touch included."""
    first = 0
    for block in blocks:
        last = first + block.shape[1]
        touched = [
            (max(0, int(start * rate_hz) - first), min(last, int(np.ceil(end * rate_hz))) - first)
            for start, end in ranges
            if start * rate_hz < last and end * rate_hz > first
        ]
        if touched:
            block = block.copy()
            for start, end in touched:
                block[:, start:end] = 0
        yield block
        first = last


def merged(*ranges: Sequence[Range]) -> tuple[Range, ...]:
    """All ranges in order, those that overlap as one."""
    found: list[Range] = []
    for start, end in sorted(each for some in ranges for each in some):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return tuple(found)
