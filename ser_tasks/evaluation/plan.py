"""How a training or an evaluation runs, whatever the model and the data."""

from dataclasses import dataclass, field
from pathlib import Path

import platformdirs


def default_cache() -> Path:
    """The folder ``ser-nightly`` in the user's cache folder."""
    return platformdirs.user_cache_path("ser-nightly", appauthor=False)


@dataclass(frozen=True)
class Plan:
    """Settings that a training, a cross-validation and an evaluation share."""

    seed: int = 0
    """Of splits, initial weights, the order of clips, and noise."""
    device: str = "cpu"
    """``cpu`` or ``cuda``."""
    workers: int = 1
    """Worker processes on the CPU. Results do not depend on their number."""
    cache: Path = field(default_factory=default_cache)
    """Folder of computed features and of checkpoints, from which an interrupted run resumes."""
    allow_leak: bool = False
    """Continue where training and test share speakers or clips, instead of raising ``ValueError``; reports say so in their title."""
