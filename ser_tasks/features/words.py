"""Words as numbers in a column of features: for models that read what is said beside how it is said."""

import re
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

VOCABULARY = 2048
"""Numbers that words are hashed to, which float16 holds exactly; 0 is no word."""
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def word_ids(text: str) -> list[int]:
    """Numbers from 1 to 2047 of the words of a text, in order, whatever their case. Different words may share a number."""
    return [1 + zlib.crc32(word.casefold().encode()) % (VOCABULARY - 1) for word in WORD.findall(text)]


def place_words(flat: NDArray[np.floating], lengths: NDArray[np.integer], texts: Sequence[str]) -> None:
    """Writes the words of each segment into the last column of its features, in place, spread evenly over its frames.

    ``flat`` is ``(sum of lengths, features)``, one segment after the other, and ``texts`` has one text a segment. Of more words than
    frames, some are left out.
    """
    ends = np.cumsum(lengths)
    for end, length, text in zip(ends.tolist(), lengths.tolist(), texts, strict=True):
        ids = word_ids(text)
        frames = [number * length // len(ids) for number in range(len(ids))]
        flat[end - length : end, -1] = 0
        flat[[end - length + frame for frame in frames], -1] = ids
