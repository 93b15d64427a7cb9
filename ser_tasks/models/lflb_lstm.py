"""Local feature learning blocks, then an LSTM (Zhao, Mao and Chen, 2019)."""

import torch
from torch import nn

from ser_tasks.models.base import SegmentModel
from ser_tasks.models.masking import check_lengths, masked_mean, max_pool, valid_frames

CHANNELS = (64, 64, 128, 128)
POOLED = (2, 4, 4, 4)
"""Bands, and frames, that each block's maximum reduces to one: 128 of each become one."""


class LflbLstm(SegmentModel):
    """Four times Conv2d(k3), batch norm, ELU and MaxPool2d; LSTM(→256), mean over the valid steps, Linear(256→n_classes).

    The two-dimensional network of Zhao, Mao and Chen ("Speech emotion recognition using deep 1D & 2D CNN LSTM networks", BSPC 47, 2019),
    on log-mel bands. The paper reads the LSTM's last state; the mean over its steps takes its place here.
    """

    HEADS = ("fc",)

    def __init__(self, n_classes: int, n_features: int) -> None:
        super().__init__(n_classes, n_features)
        bands, before = n_features, 1
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for channels, pooled in zip(CHANNELS, POOLED, strict=True):
            self.convs.append(nn.Conv2d(before, channels, 3, padding=1, bias=False))
            self.norms.append(nn.BatchNorm2d(channels))
            bands, before = -(-bands // pooled), channels
        self.lstm = nn.LSTM(before * bands, 256, batch_first=True)
        self.fc = nn.Linear(256, n_classes)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_classes)`` of ``x`` float32 ``(batch, frames, n_features)``, of which ``lengths`` frames count."""
        check_lengths(x, lengths)
        lengths = lengths.to(x.device)
        x = x.masked_fill(~valid_frames(lengths, x.shape[1])[:, :, None], 0).transpose(1, 2)[:, None]  # (batch, 1, bands, frames)
        for conv, norm, pooled in zip(self.convs, self.norms, POOLED, strict=True):
            x, lengths = max_pool(nn.functional.elu(norm(conv(x))), lengths, bands=pooled, frames=pooled)
        x, _ = self.lstm(x.flatten(1, 2).transpose(1, 2))
        logits: torch.Tensor = self.fc(masked_mean(x, lengths))
        return logits
