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

    FEATURE_SETS: ClassVar[tuple[str, ...]] = ()
    """Names of the feature sets that it takes, of a model whose weights or layout are for these alone; empty: any of frames."""
    SAFE_IN_SHORT: ClassVar[bool] = True
    """False where a shorter precision is known to move some scores of speech too far (ser_tasks.inference.precision.TOLERANCE)."""

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


@runtime_checkable
class LineModel(Protocol):
    """A model of pooled features, which are standardised before they are classified: by the training clips' statistics, or by a line's."""

    line_mean: torch.Tensor
    """Mean of each pooled feature over the training clips, float32 ``(pooled,)``."""
    line_scale: torch.Tensor
    """Standard deviation of each, above 0."""

    def pooled(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Pooled features of each segment, float32 ``(batch, pooled)``. Those of a segment do not depend on the others."""
        ...

    def classify(self, standardised: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_classes)`` of standardised pooled features ``(batch, pooled)``."""
        ...
