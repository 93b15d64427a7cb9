"""Convolutions alone, over features and frames."""

import torch
from torch import nn

from ser_tasks.models.base import SegmentModel
from ser_tasks.models.masking import check_lengths, masked_mean, max_pool, valid_frames

CHANNELS = (32, 64, 128)
DROPOUT = 0.3


class Cnn(SegmentModel):
    """Three times Conv2d(k3), batch norm, ReLU and MaxPool2d(2), 1→32→64→128 channels; mean over the valid frames, Linear.

    The convolutional networks on MFCC or spectrograms of fixed length that the literature has many of (Alhlffee, 2020, is one) flatten
    the last feature map; the mean over time takes its place here, so that a segment of any length is scored.
    """

    HEADS = ("fc",)

    def __init__(self, n_classes: int, n_features: int) -> None:
        super().__init__(n_classes, n_features)
        bands, before = n_features, 1
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for channels in CHANNELS:
            self.convs.append(nn.Conv2d(before, channels, 3, padding=1, bias=False))
            self.norms.append(nn.BatchNorm2d(channels))
            bands, before = -(-bands // 2), channels
        self.dropout = nn.Dropout(DROPOUT)
        self.fc = nn.Linear(before * bands, n_classes)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_classes)`` of ``x`` float32 ``(batch, frames, n_features)``, of which ``lengths`` frames count."""
        check_lengths(x, lengths)
        lengths = lengths.to(x.device)
        x = x.masked_fill(~valid_frames(lengths, x.shape[1])[:, :, None], 0).transpose(1, 2)[:, None]  # (batch, 1, features, frames)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x, lengths = max_pool(torch.relu(norm(conv(x))), lengths, bands=2, frames=2)
        x = masked_mean(x.flatten(1, 2).transpose(1, 2), lengths)
        logits: torch.Tensor = self.fc(self.dropout(x))
        return logits
