"""Three-dimensional convolutions over the key windows of a segment (Hajarolasvadi and Demirel, 2019)."""

import torch
from torch import nn

from ser_tasks.models.base import SegmentModel
from ser_tasks.models.key_windows import key_windows, windows_at
from ser_tasks.models.masking import check_lengths

WINDOW, HOP = 50, 25
"""Frames: half a second every quarter of a second, with frames of 10 ms."""
CLUSTERS = 9
CHANNELS = (16, 32)
HIDDEN = 256
DROPOUT = 0.5


class KeyframeCnn3d(SegmentModel):
    """Nine windows of 0.5 s, in the order of time, as one volume; twice Conv3d(k3), batch norm, ReLU and MaxPool3d(1, 2, 2); Linear 256.

    After Hajarolasvadi and Demirel ("3D CNN-based speech emotion recognition using k-means clustering and spectrograms", Entropy 21(5),
    2019). The windows are those nearest to the centres of nine clusters; a segment with fewer repeats some of its windows.
    """

    HEADS = ("fc",)

    def __init__(self, n_classes: int, n_features: int) -> None:
        super().__init__(n_classes, n_features)
        bands, frames, before = n_features, WINDOW, 1
        layers: list[nn.Module] = []
        for channels in CHANNELS:
            layers += [nn.Conv3d(before, channels, 3, padding=1, bias=False), nn.BatchNorm3d(channels), nn.ReLU()]
            layers += [nn.MaxPool3d((1, 2, 2), ceil_mode=True)]
            bands, frames, before = -(-bands // 2), -(-frames // 2), channels
        self.layers = nn.Sequential(*layers)
        self.hidden = nn.Linear(before * CLUSTERS * bands * frames, HIDDEN)
        self.dropout = nn.Dropout(DROPOUT)
        self.fc = nn.Linear(HIDDEN, n_classes)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_classes)`` of ``x`` float32 ``(batch, frames, n_features)``, of which ``lengths`` frames count."""
        check_lengths(x, lengths)
        volumes = torch.stack([_volume(row[:length]) for row, length in zip(x, lengths.tolist(), strict=True)])
        flat = self.layers(volumes.transpose(2, 3)[:, None]).flatten(1)
        logits: torch.Tensor = self.fc(self.dropout(torch.relu(self.hidden(flat))))
        return logits


def _volume(segment: torch.Tensor) -> torch.Tensor:
    """Nine windows ``(9, 50, features)`` of one segment ``(frames, features)``."""
    starts = key_windows(segment, WINDOW, HOP, CLUSTERS)
    repeated = torch.linspace(0, len(starts) - 1, CLUSTERS, device=segment.device).round().long()
    return windows_at(segment, starts[repeated], WINDOW)
