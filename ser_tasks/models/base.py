"""The base class of models, and what some of them can do besides."""

from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import nn


class SegmentModel(nn.Module):
    """A model that scores segments; see ``ser_tasks.models`` for the contract."""

    HEADS: ClassVar[tuple[str, ...]]
    """Names of the layers with one output a class."""
    ORIGIN: ClassVar[str] = ""
    """Source and licence of weights that this project did not train, for model cards and licence notices."""

    def __init__(self, n_classes: int, n_features: int) -> None:
        super().__init__()


@runtime_checkable
class NoveltyAware(Protocol):
    """A model that lowers its confidence for segments unlike the training clips."""

    def summary(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Numbers ``(batch, n)`` of each segment by which novelty is measured."""
        ...

    def fit_novelty(self, summaries: torch.Tensor) -> None:
        """Sets the reference for novelty from the summaries ``(clips, n)`` of all training clips."""
        ...
