"""What models share that classify mean and deviation over time of a frozen encoder's states, standardised by the line of the calls."""

import torch
from torch import nn

from ser_tasks.models.base import SegmentModel
from ser_tasks.models.masking import check_lengths, valid_frames

SMALLEST_VARIANCE = 1e-6
"""Added to variances over time, of states whose variance is about 1."""


class PooledLinear(SegmentModel):
    """``logits = W ((pooled - line_mean) / line_scale) + b``.

    ``pooled`` are means and deviations over time of the encoder's states. The buffers ``line_mean`` and ``line_scale``, float32
    ``(pooled,)``, are the statistics of the training clips until those of one's own calls replace them.
    """

    HEADS = ("logits",)
    N_POOLED: int
    """Pooled features; of the class, where it does not depend on a folder."""

    def __init__(self, n_classes: int, n_features: int) -> None:
        super().__init__(n_classes, n_features)
        self.encoder: nn.Module
        self.line_mean: torch.Tensor
        self.line_scale: torch.Tensor
        self.register_buffer("line_mean", torch.zeros(self.N_POOLED))
        self.register_buffer("line_scale", torch.ones(self.N_POOLED))
        self.logits = nn.Linear(self.N_POOLED, n_classes)

    def pooled(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Mean and deviation over time of the states, float32 ``(batch, N_POOLED)``, of ``x`` and ``lengths`` as in ``forward``."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_classes)`` of ``x`` float32 ``(batch, frames, n_features)``, of which ``lengths`` frames count."""
        check_lengths(x, lengths)
        pooled = self.pooled(x, lengths.to(x.device))
        return self.classify((pooled - self.line_mean) / self.line_scale)

    def classify(self, standardised: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_classes)`` of standardised pooled features ``(batch, N_POOLED)``, always in float32."""
        with torch.autocast(standardised.device.type, enabled=False):
            logits: torch.Tensor = self.logits(standardised.float())
        return logits


def mean_and_deviation(states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Mean and standard deviation, float32 ``(batch, 2 * n)``, over the first ``lengths`` states of each row of ``(batch, states, n)``."""
    valid, counted = valid_frames(lengths, states.shape[1])[:, :, None], lengths[:, None]
    states = states.float()
    mean = states.masked_fill(~valid, 0).sum(dim=1) / counted
    squares = (states - mean[:, None]).square().masked_fill(~valid, 0).sum(dim=1)
    return torch.cat([mean, (squares / counted + SMALLEST_VARIANCE).sqrt()], dim=1)
