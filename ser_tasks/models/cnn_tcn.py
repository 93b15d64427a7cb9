"""Convolutions over bands and frames, dilated convolutions over time, and attention pooling with one attention for each class."""

import torch
from torch import nn

from ser_tasks.models.base import SegmentModel
from ser_tasks.models.masking import check_lengths, valid_frames

CHANNELS = (32, 48, 48, 64, 96)
KERNELS = (5, 3, 3, 3, 3)
STRIDES = ((2, 2), (2, 2), (1, 1), (2, 1), (2, 1))
"""Of bands and frames."""
WIDTH = 192
DILATIONS = (1, 2, 4, 8)
"""Of the layers over time: their receptive field is 0.6 s to either side, with frames of 10 ms of which four become one."""
DROPOUT = 0.2


class CnnTcn(SegmentModel):
    """Five Conv2d with batch norm and strides, four residual dilated Conv1d, attention pooling by class; 0.64 M parameters on 64 bands.

    The layers over time are those of temporal convolutional networks (Bai et al., 2018), as TIM-Net (Ye et al., 2023) applies them to
    emotions. The pooling weights frame-wise logits by a softmax over frames, as in sound event detection (Kong et al., 2020).
    """

    HEADS = ("attention", "logits")

    def __init__(self, n_classes: int, n_features: int) -> None:
        super().__init__(n_classes, n_features)
        bands, before = n_features, 1
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for channels, kernel, stride in zip(CHANNELS, KERNELS, STRIDES, strict=True):
            self.convs.append(nn.Conv2d(before, channels, kernel, stride, kernel // 2, bias=False))
            self.norms.append(nn.BatchNorm2d(channels))
            bands, before = -(-bands // stride[0]), channels
        self.narrow = nn.Conv1d(before * bands, WIDTH, 1, bias=False)
        self.narrow_norm = nn.BatchNorm1d(WIDTH)
        self.over_time = nn.ModuleList(nn.Conv1d(WIDTH, WIDTH, 3, padding=d, dilation=d, bias=False) for d in DILATIONS)
        self.time_norms = nn.ModuleList(nn.BatchNorm1d(WIDTH) for _ in DILATIONS)
        self.dropout = nn.Dropout(DROPOUT)
        self.attention = nn.Linear(WIDTH, n_classes)
        self.logits = nn.Linear(WIDTH, n_classes)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_classes)`` of ``x`` float32 ``(batch, frames, n_features)``, of which ``lengths`` frames count."""
        check_lengths(x, lengths)
        lengths = lengths.to(x.device)
        x = x.masked_fill(~valid_frames(lengths, x.shape[1])[:, :, None], 0)
        x = x.transpose(1, 2)[:, None].contiguous(memory_format=torch.channels_last)  # (batch, 1, bands, frames)
        for conv, norm, stride in zip(self.convs, self.norms, STRIDES, strict=True):
            lengths = -(-lengths // stride[1])
            x = torch.relu_(norm(conv(x)))
            x = x * valid_frames(lengths, x.shape[3])[:, None, None].to(x.dtype)
        x = self.dropout(x.flatten(1, 2))  # (batch, channels * bands, frames)
        valid = valid_frames(lengths, x.shape[2])
        x = torch.relu(self.narrow_norm(self.narrow(x)))
        for conv, norm in zip(self.over_time, self.time_norms, strict=True):
            x = x * valid[:, None].to(x.dtype)
            x = x + torch.relu(norm(conv(x)))
        x = self.dropout(x.transpose(1, 2))
        weights = torch.softmax(self.attention(x).float().masked_fill(~valid[:, :, None], -torch.inf), dim=1)
        logits: torch.Tensor = (weights * self.logits(x).float()).sum(dim=1)
        return logits
