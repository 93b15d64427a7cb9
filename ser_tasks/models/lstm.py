"""An LSTM alone, over frames of features."""

import torch
from torch import nn

from ser_tasks.models.base import SegmentModel
from ser_tasks.models.masking import check_lengths, masked_mean, valid_frames


class Lstm(SegmentModel):
    """LSTM(n_features→128), mean over the valid frames, Linear(128→n_classes): the recurrent half of `CnnLstm`.

    Kerkeni et al. (2019) compare such a network with linear regression and SVM.
    """

    HEADS = ("fc",)

    def __init__(self, n_classes: int, n_features: int) -> None:
        super().__init__(n_classes, n_features)
        self.lstm = nn.LSTM(n_features, 128, batch_first=True)
        self.fc = nn.Linear(128, n_classes)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_classes)`` of ``x`` float32 ``(batch, frames, n_features)``, of which ``lengths`` frames count."""
        check_lengths(x, lengths)
        lengths = lengths.to(x.device)
        x, _ = self.lstm(x.masked_fill(~valid_frames(lengths, x.shape[1])[:, :, None], 0))  # forwards: padding comes last
        logits: torch.Tensor = self.fc(masked_mean(x, lengths))
        return logits
