"""What both decoders offer to the reader."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class AudioInfo:
    """What the header says. ``codec`` and ``container`` are upper-case names; ``declared_s`` is None where no length is stated."""

    sampling_rate_hz: int
    channels: int
    codec: str
    container: str
    declared_s: float | None


class Source(Protocol):
    """One open recording. ``read`` gives ``(channels, frames)``, fewer frames only at the end, and never raises for damage."""

    info: AudioInfo
    expected_s: float | None
    damage: str | None

    def read(self, frames: int) -> np.ndarray: ...

    def remarks(self) -> list[str]: ...

    def close(self) -> None: ...
