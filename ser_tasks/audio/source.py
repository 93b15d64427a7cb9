"""The interface of both decoders."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class AudioInfo:
    """The facts of the header. ``codec`` and ``container`` are upper-case names; ``declared_s`` is None if it has no duration."""

    sampling_rate_hz: int
    channels: int
    codec: str
    container: str
    declared_s: float | None


class Source(Protocol):
    """One open recording. ``read`` returns float32 ``(channels, frames)``, fewer frames only at the end.

    It never raises for a damaged file: ``damage`` then describes the fault, and reading ends.
    """

    info: AudioInfo
    expected_s: float | None
    damage: str | None

    def read(self, frames: int) -> NDArray[np.float32]: ...

    def remarks(self) -> list[str]: ...

    def close(self) -> None: ...
