"""Dense layers over the features' means over time: the first of two ways (Aggarwal et al., 2022)."""

import torch
from torch import nn

from ser_tasks.models.base import SegmentModel
from ser_tasks.models.masking import check_lengths, masked_mean

PROJECTED = 80
WIDTHS = (512, 512, 256, 256, 128, 64)
DROPOUT = 0.3


class TwoWayDense(SegmentModel):
    """Mean over the valid frames, Linear(→80), then dense layers 512, 512, 256, 256, 128, 64, each with ReLU and dropout, and Linear.

    Aggarwal et al. ("Two-way feature extraction for speech emotion recognition using deep learning", Sensors 22(6), 2022), first way: 180
    means of MFCC, chroma and mel bands. They project to 80 principal components; here the projection is learnt, and layers are normalised.
    """

    HEADS = ("fc",)

    def __init__(self, n_classes: int, n_features: int) -> None:
        super().__init__(n_classes, n_features)
        layers: list[nn.Module] = [nn.Linear(n_features, PROJECTED)]
        for before, width in zip((PROJECTED, *WIDTHS), WIDTHS, strict=False):
            layers += [nn.Linear(before, width), nn.LayerNorm(width), nn.ReLU(), nn.Dropout(DROPOUT)]
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(WIDTHS[-1], n_classes)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_classes)`` of ``x`` float32 ``(batch, frames, n_features)``, of which ``lengths`` frames count."""
        check_lengths(x, lengths)
        logits: torch.Tensor = self.fc(self.layers(masked_mean(x, lengths.to(x.device))))
        return logits
