"""Three networks over one vector a segment, and their weighted average (Ahmed et al., 2021)."""

import torch
from torch import nn

from ser_tasks.models.base import SegmentModel
from ser_tasks.models.masking import check_lengths, masked_mean

CHANNELS = (256, 256, 128, 64)
HIDDEN = 128
DROPOUT = 0.2


class Ensemble1d(SegmentModel):
    """1D CNN, 1D CNN-LSTM and 1D CNN-GRU over the features' means over time, read as a sequence; the logits are their weighted average.

    After Ahmed et al. ("An Ensemble 1D-CNN-LSTM-GRU Model with Data Augmentation", arXiv 2112.05666, 2021). Each network has four local
    feature blocks: Conv1d(k5), batch norm, ReLU, MaxPool1d(2). The sequence runs over features, not over time. The weights of the average
    are learnt with the networks, where the paper searches a grid on held-out clips, and average logits rather than probabilities.
    """

    HEADS = ("heads.0", "heads.1", "heads.2")

    def __init__(self, n_classes: int, n_features: int) -> None:
        super().__init__(n_classes, n_features)
        self.blocks = nn.ModuleList(_local_features() for _ in self.HEADS)
        left = n_features
        for _ in CHANNELS:
            left = -(-left // 2)
        self.lstm = nn.LSTM(CHANNELS[-1], HIDDEN, batch_first=True)
        self.gru = nn.GRU(CHANNELS[-1], HIDDEN, batch_first=True)
        self.hidden = nn.ModuleList(nn.Linear(size, HIDDEN) for size in (CHANNELS[-1] * left, HIDDEN, HIDDEN))
        self.dropout = nn.Dropout(DROPOUT)
        self.heads = nn.ModuleList(nn.Linear(HIDDEN, n_classes) for _ in self.HEADS)
        self.shares = nn.Parameter(torch.zeros(len(self.HEADS)))

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_classes)`` of ``x`` float32 ``(batch, frames, n_features)``, of which ``lengths`` frames count."""
        check_lengths(x, lengths)
        sequence = masked_mean(x, lengths.to(x.device))[:, None]  # (batch, 1, n_features)
        local = [blocks(sequence) for blocks in self.blocks]  # (batch, 64, positions)
        read = (local[0].flatten(1), self.lstm(local[1].transpose(1, 2))[0][:, -1], self.gru(local[2].transpose(1, 2))[0][:, -1])
        logits = [head(torch.relu(hidden(self.dropout(one)))) for head, hidden, one in zip(self.heads, self.hidden, read, strict=True)]
        return torch.einsum("k,kbc->bc", torch.softmax(self.shares, dim=0), torch.stack(logits))


def _local_features() -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, channels in zip((1, *CHANNELS), CHANNELS, strict=False):
        layers += [
            nn.Conv1d(before, channels, 5, padding=2, bias=False),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
            nn.MaxPool1d(2, ceil_mode=True),
            nn.Dropout(DROPOUT),
        ]
    return nn.Sequential(*layers)
