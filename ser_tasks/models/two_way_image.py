"""A network of images over a log-mel spectrogram: the second of two ways (Aggarwal et al., 2022)."""

import torch
from torch import nn

from ser_tasks.models.base import SegmentModel
from ser_tasks.models.masking import check_lengths, masked_mean, max_pool, valid_frames

STAGES = ((32,), (64,), (128, 128), (256, 256), (256, 256))
"""Channels of the convolutions between two maxima: VGG-11's arrangement (Simonyan and Zisserman, 2015) at half its width."""
DROPOUT = 0.4


class TwoWayImage(SegmentModel):
    """VGG-11 at half its width with batch norm, over bands and frames; mean over the valid frames and bands, Linear(256→n_classes).

    Aggarwal et al. ("Two-way feature extraction for speech emotion recognition using deep learning", Sensors 22(6), 2022), second way,
    fine-tune a VGG-16 of ImageNet on log-mel images of 224×224. This one starts from scratch and takes the spectrogram as it is.
    """

    HEADS = ("fc",)

    def __init__(self, n_classes: int, n_features: int) -> None:
        super().__init__(n_classes, n_features)
        before = 1
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for channels in (channels for stage in STAGES for channels in stage):
            conv = nn.Conv2d(before, channels, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            self.convs.append(conv)
            self.norms.append(nn.BatchNorm2d(channels))
            before = channels
        self.dropout = nn.Dropout(DROPOUT)
        self.fc = nn.Linear(before, n_classes)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_classes)`` of ``x`` float32 ``(batch, frames, n_features)``, of which ``lengths`` frames count."""
        check_lengths(x, lengths)
        lengths = lengths.to(x.device)
        x = x.masked_fill(~valid_frames(lengths, x.shape[1])[:, :, None], 0).transpose(1, 2)[:, None]  # (batch, 1, bands, frames)
        layers = zip(self.convs, self.norms, strict=True)
        for stage in STAGES:
            for _ in stage:
                conv, norm = next(layers)
                x = torch.relu(norm(conv(x))).masked_fill(~valid_frames(lengths, x.shape[3])[:, None, None], 0)
            x, lengths = max_pool(x, lengths, bands=2, frames=2)
        logits: torch.Tensor = self.fc(self.dropout(masked_mean(x.mean(dim=2).transpose(1, 2), lengths)))
        return logits
