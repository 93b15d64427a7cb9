"""Convolutions over the features' means over time (de Pinto et al., 2020)."""

import torch
from torch import nn

from ser_tasks.models.base import SegmentModel
from ser_tasks.models.masking import check_lengths, masked_mean

POOLED = 4
DROPOUT = 0.2


class MeanCnn(SegmentModel):
    """Mean over the valid frames, then, over the features, Conv1d(1→64, k5), ReLU, MaxPool1d(4), Conv1d(64→128, k5), ReLU, Linear.

    De Pinto et al. ("Emotions understanding model from spoken language using deep neural networks and MFCC features", EAIS 2020) use it
    on 40 MFCC. All change over time is lost in the mean.
    """

    HEADS = ("fc",)

    def __init__(self, n_classes: int, n_features: int) -> None:
        super().__init__(n_classes, n_features)
        self.conv1 = nn.Conv1d(1, 64, 5, padding=2)
        self.conv2 = nn.Conv1d(64, 128, 5, padding=2)
        self.pool = nn.MaxPool1d(POOLED, ceil_mode=True)
        self.dropout = nn.Dropout(DROPOUT)
        self.fc = nn.Linear(128 * -(-n_features // POOLED), n_classes)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_classes)`` of ``x`` float32 ``(batch, frames, n_features)``, of which ``lengths`` frames count."""
        check_lengths(x, lengths)
        x = masked_mean(x, lengths.to(x.device))[:, None]  # (batch, 1, n_features)
        x = self.pool(self.dropout(torch.relu(self.conv1(x))))
        x = self.dropout(torch.relu(self.conv2(x)))
        logits: torch.Tensor = self.fc(x.flatten(1))
        return logits
