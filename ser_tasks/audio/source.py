"""The interface of both decoders."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.float32] | NDArray[np.int16]
"""Samples ``(channels, samples)``: float32 of -1 to 1, or int16 of -32768 to 32767 where they were decoded to no more than 16 bits."""


@dataclass(frozen=True)
class AudioInfo:
    """The facts of the header. ``codec`` and ``container`` are upper-case names; ``declared_s`` is None if it has no duration."""

    sampling_rate_hz: int
    channels: int
    codec: str
    container: str
    declared_s: float | None


class Source(Protocol):
    """One open recording. ``read`` returns a block ``(channels, frames)``, fewer frames only at the end.

    It never raises for a damaged file: ``damage`` then describes the fault, and reading ends.
    """

    info: AudioInfo
    expected_s: float | None
    damage: str | None

    def read(self, frames: int) -> Block: ...

    def remarks(self) -> list[str]: ...

    def close(self) -> None: ...
