"""Conv1d and LSTM over frames of MFCC."""

import torch
from torch import nn

from ser_tasks.models.base import SegmentModel
from ser_tasks.models.masking import check_lengths, masked_mean, valid_frames


class CnnLstm(SegmentModel):
    """Conv1d(n_features→64, k3), ReLU, LSTM(64→128), mean over the valid frames, Linear(128→n_classes)."""

    HEADS = ("fc",)

    def __init__(self, n_classes: int, n_features: int) -> None:
        super().__init__(n_classes, n_features)
        self.conv = nn.Conv1d(n_features, 64, kernel_size=3, padding=1)
        self.lstm = nn.LSTM(64, 128, batch_first=True)
        self.fc = nn.Linear(128, n_classes)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_classes)`` of ``x`` float32 ``(batch, frames, n_features)``, of which ``lengths`` frames count."""
        check_lengths(x, lengths)
        lengths = lengths.to(x.device)
        valid = valid_frames(lengths, x.shape[1])[:, :, None]
        x = x.masked_fill(~valid, 0).transpose(1, 2)
        x = torch.relu(self.conv(x)).transpose(1, 2)
        x, _ = self.lstm(x)  # runs forwards: padding after the last valid frame does not change any valid frame
        logits: torch.Tensor = self.fc(masked_mean(x, lengths))
        return logits
