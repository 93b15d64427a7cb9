"""Dynamic Attention-GRU: convolutions, gates over channels and over bands and frames by a dynamic convolution, and a GRU over time."""

from typing import ClassVar

import torch
from torch import nn

from ser_tasks.models.base import SegmentModel
from ser_tasks.models.masking import check_lengths, masked_mean, max_pool, runs_over, valid_frames

CHANNELS = (64, 64, 128, 128)
REDUCTION = 16
"""Of the channel gate's hidden layer, as in CBAM (Woo et al., 2018)."""
KERNELS, KERNEL_SIZE = 4, 7
"""Of the dynamic convolution."""
HIDDEN = 16
"""Of its attentions."""


class DynamicConv(nn.Module):
    """Omni-dimensional dynamic convolution, ODConv (Li, Zhou and Yao, 2022): four kernels, each weighted by the segment itself.

    Four attentions, from the mean over the segment, weight the kernels, their positions, the input channels and the output channels.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(KERNELS, channels_out, channels_in, KERNEL_SIZE, KERNEL_SIZE))
        nn.init.kaiming_normal_(self.weight, mode="fan_out")
        self.hidden = nn.Linear(channels_in, HIDDEN)
        self.of_kernel = nn.Linear(HIDDEN, KERNELS)
        self.of_position = nn.Linear(HIDDEN, KERNEL_SIZE * KERNEL_SIZE)
        self.of_input = nn.Linear(HIDDEN, channels_in)
        self.of_output = nn.Linear(HIDDEN, channels_out)

    def forward(self, x: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        """``(batch, channels_out, bands, frames)`` of ``x (batch, channels_in, bands, frames)``, whose mean is ``(batch, channels_in)``."""
        batch, channels_in, bands, frames = x.shape
        hidden = torch.relu(self.hidden(mean))
        position = torch.sigmoid(self.of_position(hidden)).view(batch, 1, 1, KERNEL_SIZE, KERNEL_SIZE)
        kernel = torch.einsum("bk,koihw->boihw", torch.softmax(self.of_kernel(hidden), dim=1), self.weight) * position
        x = x * torch.sigmoid(self.of_input(hidden))[:, :, None, None]
        grouped = nn.functional.conv2d(
            x.reshape(1, batch * channels_in, bands, frames), kernel.flatten(0, 1), padding=KERNEL_SIZE // 2, groups=batch
        )
        return grouped.view(batch, -1, bands, frames) * torch.sigmoid(self.of_output(hidden))[:, :, None, None]


class AttentionGru(SegmentModel):
    """Four times Conv2d(k3), batch norm, ReLU and MaxPool2d; channel gate; spatial gate; GRU(128→256); Linear 256→512→n_classes.

    After Quang-Anh N. D. et al. ("Dynamic Attention-GRU", arXiv 2412.08683, 2024), with a GRU that sees time: the maxima reduce 128 bands
    to one, as there, but only 4 frames to one. Outputs of the GRU are averaged over time.
    """

    HEADS = ("fc",)
    POOLED_BANDS: ClassVar[tuple[int, ...]] = (2, 4, 4, 4)
    POOLED_FRAMES: ClassVar[tuple[int, ...]] = (2, 2, 1, 1)

    def __init__(self, n_classes: int, n_features: int) -> None:
        super().__init__(n_classes, n_features)
        before = 1
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for channels in CHANNELS:
            self.convs.append(nn.Conv2d(before, channels, 3, padding=1, bias=False))
            self.norms.append(nn.BatchNorm2d(channels))
            before = channels
        self.gate = nn.Sequential(nn.Linear(before, before // REDUCTION), nn.ReLU(), nn.Linear(before // REDUCTION, before))
        self.spatial = DynamicConv(2, 1)
        self.gru = nn.GRU(before, 256, batch_first=True)
        self.hidden = nn.Linear(256, 512)
        self.fc = nn.Linear(512, n_classes)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_classes)`` of ``x`` float32 ``(batch, frames, n_features)``, of which ``lengths`` frames count."""
        check_lengths(x, lengths)
        lengths = lengths.to(x.device)
        x = x.masked_fill(~valid_frames(lengths, x.shape[1])[:, :, None], 0).transpose(1, 2)[:, None]  # (batch, 1, bands, frames)
        blocks = zip(self.convs, self.norms, self.POOLED_BANDS, self.POOLED_FRAMES, strict=True)
        for conv, norm, bands, frames in blocks:
            x, lengths = max_pool(torch.relu(norm(conv(x))), lengths, bands, frames)
        x = self._gated(x, lengths)
        x, lengths = self._steps(x, lengths)
        x = torch.relu(self.hidden(masked_mean(runs_over(self.gru, x, lengths), lengths)))
        logits: torch.Tensor = self.fc(x)
        return logits

    def _gated(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """``x (batch, channels, bands, frames)`` times a gate for each channel, then for each band and frame; 0 beyond the lengths."""
        mean = masked_mean(x.mean(dim=2).transpose(1, 2), lengths)
        x = x * torch.sigmoid(self.gate(mean) + self.gate(x.amax(dim=(2, 3))))[:, :, None, None]  # after ReLU no maximum is in padding
        maps = torch.stack([x.mean(dim=1), x.amax(dim=1)], dim=1)
        gates = torch.sigmoid(self.spatial(maps, masked_mean(maps.mean(dim=2).transpose(1, 2), lengths)))
        return (x * gates).masked_fill(~valid_frames(lengths, x.shape[3])[:, None, None], 0)

    def _steps(self, x: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The GRU's steps ``(batch, steps, channels)`` and how many count: maxima over the bands that are left, frame by frame."""
        return x.amax(dim=2).transpose(1, 2), lengths
