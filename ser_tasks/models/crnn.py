"""Conv2d over log-mel bands and frames, then a bidirectional GRU."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ser_tasks.models.base import SegmentModel
from ser_tasks.models.masking import check_lengths, masked_mean, valid_frames

POOLED = 4
"""Frames, and bands, that the two pooling layers reduce to one."""


class Crnn(SegmentModel):
    """Twice Conv2d(k3), ReLU, MaxPool2d(2), 1→32→64 channels; GRU(64·(n_features//4)→128, both ways), mean, Linear(256→n).

    The mean runs over ``lengths // 4`` pooled frames. A segment of fewer than 4 frames is padded with zeros to 4.
    """

    HEADS = ("fc",)

    def __init__(self, n_classes: int, n_features: int) -> None:
        super().__init__(n_classes, n_features)
        if n_features < POOLED:
            raise ValueError(f"crnn was given {n_features} features: it pools {POOLED} into one and needs at least {POOLED}.")
        self.conv1 = nn.Conv2d(1, 32, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3, padding=1)
        self.gru = nn.GRU(64 * (n_features // POOLED), 128, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(256, n_classes)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_classes)`` of ``x`` float32 ``(batch, frames, n_features)``, of which ``lengths`` frames count."""
        check_lengths(x, lengths)
        lengths = lengths.to(x.device)
        x = x.masked_fill(~valid_frames(lengths, x.shape[1])[:, :, None], 0)
        x = nn.functional.pad(x, (0, 0, 0, max(0, POOLED - x.shape[1])))
        lengths = lengths.clamp(min=POOLED)
        x = x.transpose(1, 2)[:, None]  # (batch, 1, bands, frames)
        x = x.contiguous(memory_format=torch.channels_last)  # makes pooling on a CPU several times faster
        for conv in (self.conv1, self.conv2):
            x = torch.relu(nn.functional.max_pool2d(conv(x), 2))  # as ReLU before the pool, on a quarter of the values
            lengths = lengths // 2
            x = x.masked_fill(~valid_frames(lengths, x.shape[3])[:, None, None, :], 0)
        x = x.permute(0, 3, 1, 2).flatten(2)  # (batch, frames, channels * bands)
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        x, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        logits: torch.Tensor = self.fc(masked_mean(x, lengths))
        return logits
