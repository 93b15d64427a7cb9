"""A bidirectional LSTM over the key windows of a segment (Mustaqeem, Sajjad and Kwon, 2020)."""

import torch
from torch import nn

from ser_tasks.models.base import SegmentModel
from ser_tasks.models.key_windows import key_windows, windows_at
from ser_tasks.models.masking import check_lengths, masked_mean, max_pool, runs_over

WINDOW, HOP = 50, 25
"""Frames: half a second every quarter of a second, with frames of 10 ms."""
CLUSTERS = 8
CHANNELS = (16, 32, 64)
WIDTH = 128


class ClusteredBiLstm(SegmentModel):
    """Windows of 0.5 s nearest to the centres of clusters; each through Conv2d 16, 32, 64 and Linear(→128); BiLSTM(2 × 128, 2 layers).

    After Mustaqeem, Sajjad and Kwon ("Clustering-based speech emotion recognition by incorporating learned features and deep BiLSTM",
    IEEE Access 8, 2020). Their windows are clustered by a radial basis function, here by k-means; their ResNet-101 of ImageNet is a small
    network from scratch here. The outputs are averaged over the windows.
    """

    HEADS = ("fc",)

    def __init__(self, n_classes: int, n_features: int) -> None:
        super().__init__(n_classes, n_features)
        bands, frames, before = n_features, WINDOW, 1
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for channels in CHANNELS:
            self.convs.append(nn.Conv2d(before, channels, 3, padding=1, bias=False))
            self.norms.append(nn.BatchNorm2d(channels))
            bands, frames, before = -(-bands // 2), -(-frames // 2), channels
        self.narrow = nn.Linear(before * bands * frames, WIDTH)
        self.lstm = nn.LSTM(WIDTH, WIDTH, num_layers=2, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(2 * WIDTH, n_classes)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_classes)`` of ``x`` float32 ``(batch, frames, n_features)``, of which ``lengths`` frames count."""
        check_lengths(x, lengths)
        segments = [row[:length] for row, length in zip(x, lengths.tolist(), strict=True)]
        windows = [windows_at(segment, key_windows(segment, WINDOW, HOP, CLUSTERS), WINDOW) for segment in segments]
        counts = torch.tensor([len(of_segment) for of_segment in windows], device=x.device)
        every = torch.cat(windows).transpose(1, 2)[:, None]  # (windows, 1, features, 50)
        whole = torch.full((len(every),), WINDOW, device=x.device)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            every, whole = max_pool(torch.relu(norm(conv(every))), whole, bands=2, frames=2)
        described = torch.split(torch.relu(self.narrow(every.flatten(1))), counts.tolist())
        sequence = nn.utils.rnn.pad_sequence(list(described), batch_first=True)
        logits: torch.Tensor = self.fc(masked_mean(runs_over(self.lstm, sequence, counts), counts))
        return logits
