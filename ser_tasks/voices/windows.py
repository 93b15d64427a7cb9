"""Windows of speech: a call's spans of speech cut at pauses, and tiled. A window holds one voice unless people speak at once."""

import numpy as np
from numpy.typing import NDArray

from ser_tasks.audio.vad import SPEECH_UNTIL, WINDOW, Span
from ser_tasks.schemas import SAMPLING_RATE_HZ

LONGEST_S = 2.0
"""Longer ones hold more than one turn at times; shorter ones tell voices apart less well."""
PAUSE = 3
"""Detector windows (96 ms) without speech that end a window: people change there."""
SHORTEST = 4
"""Detector windows (128 ms) of the shortest."""


def windows(span: Span, probabilities: NDArray[np.float32]) -> list[Span]:
    """The windows of one span of speech, in order, at most LONGEST_S long. ``probabilities`` (detector windows,) are of the whole channel.

    Where two windows touch, nobody paused between them.
    """
    first, last = span.start // WINDOW, min(-(-span.end // WINDOW), len(probabilities))
    quiet = probabilities[first:last] < SPEECH_UNTIL
    edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet.astype(np.int8), [0]])))
    pauses = [
        (start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if end - start >= PAUSE and start and end < len(quiet)
    ]
    starts, ends = [0, *(end for _, end in pauses)], [*(start for start, _ in pauses), len(quiet)]
    found = []
    for start, end in zip(starts, ends, strict=True):
        if end - start >= SHORTEST:
            count = -(-int(end - start) * WINDOW // int(LONGEST_S * SAMPLING_RATE_HZ))
            cuts = np.linspace(first + start, first + end, count + 1).round().astype(int) * WINDOW
            found += [Span(int(one), min(int(other), span.end)) for one, other in zip(cuts, cuts[1:], strict=False)]
    return [window for window in found if window.end - window.start >= SHORTEST * WINDOW // 2]
