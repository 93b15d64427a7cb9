"""An ensemble of three small heads on the hidden states of a pretrained speaker encoder."""

import torch
from torch import nn

from ser_tasks.models.base import SegmentModel
from ser_tasks.models.ge2e import HIDDEN, LAYERS, ORIGIN, Ge2eEncoder
from ser_tasks.models.masking import check_lengths, valid_frames

POOLED = 4
"""Frames of hidden states averaged into one: 40 ms."""
GROUPS = 3
WIDTH = 128
DILATIONS = (1, 2, 4, 8)
"""Of the layers over time: their receptive field is 0.6 s to either side."""
DROPOUT, CHANNEL_DROPOUT = 0.3, 0.2
AXES = 150
"""Principal components of the training clips' summaries that are kept, of 512. Novelty is the residual outside them."""
CLIPS_PER_AXIS = 10
"""Training clips required for each component."""
CAUTION = 1.5
"""Logits are divided by novelty to this power. Left-out speakers and corpora were calibrated best at 1.3 to 1.7."""


class Ge2eTcn(SegmentModel):
    """Two frozen LSTM layers of a GE2E speaker encoder, then three heads: four residual dilated Conv1d and attentive statistics; 1.6 M.

    The encoder was trained to distinguish some 9,000 speakers (Wan et al., 2018). On new speakers, its first layers classify emotions
    better than layers trained on a few dozen actors, as was measured here (and by Pappagari et al., 2020, for x-vectors). Each head
    pools frames with attentive statistics, mean and deviation by channel (Okabe et al., 2018). The logits are the heads' mean.

    Confidence falls for voices, languages and lines unlike the training data: in evaluation mode, logits are divided by a power of the
    segment's novelty. Novelty is the norm of the states' mean and deviation outside the principal components of the training clips,
    relative to the training clips' own, where it is about 1 (reconstruction error as in novelty detection: Pimentel et al., 2014).

    With 32 features, ``mel32``, the encoder has its pretrained weights and is frozen; with another number it is trained from scratch.
    """

    FEATURE_SETS = ("mel32",)
    HEADS = tuple(f"logits.{group}" for group in range(GROUPS))
    ORIGIN = ORIGIN
    SAFE_IN_SHORT = False  # bfloat16 moved 1 % of 200 clips by more than 0.01, 0.015 at most: novelty to the power of CAUTION amplifies it

    def __init__(self, n_classes: int, n_features: int) -> None:
        super().__init__(n_classes, n_features)
        self.encoder = Ge2eEncoder(n_features)
        channels = GROUPS * WIDTH
        self.narrow = nn.Conv1d(LAYERS * HIDDEN, channels, 1, bias=False)
        self.narrow_norm = nn.BatchNorm1d(channels)
        self.over_time = nn.ModuleList(
            nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation, groups=GROUPS, bias=False) for dilation in DILATIONS
        )
        self.time_norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in DILATIONS)
        self.channel_dropout, self.dropout = nn.Dropout1d(CHANNEL_DROPOUT), nn.Dropout(DROPOUT)
        self.attention = nn.Conv1d(channels, channels, 1, groups=GROUPS)
        self.logits = nn.ModuleList(nn.Linear(2 * WIDTH, n_classes) for _ in range(GROUPS))
        self.usual_mean: torch.Tensor  # buffers' names are those in stored bundles
        self.usual_spread: torch.Tensor
        self.usual_axes: torch.Tensor
        self.usual_rest: torch.Tensor
        self.caution: torch.Tensor
        self.register_buffer("usual_mean", torch.zeros(2 * HIDDEN))
        self.register_buffer("usual_spread", torch.ones(2 * HIDDEN))
        self.register_buffer("usual_axes", torch.zeros(2 * HIDDEN, AXES))
        self.register_buffer("usual_rest", torch.ones(()))
        self.register_buffer("caution", torch.zeros(()))  # 0, which disables novelty, until fit_novelty

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_classes)`` of ``x`` float32 ``(batch, frames, n_features)``, of which ``lengths`` frames count."""
        check_lengths(x, lengths)
        lengths = lengths.to(x.device)
        states, lengths = self._states(x, lengths)
        valid = valid_frames(lengths, states.shape[2])[:, None]
        x = torch.relu(self.narrow_norm(self.narrow(self.channel_dropout(states))))
        for conv, norm in zip(self.over_time, self.time_norms, strict=True):
            x = x * valid.to(x.dtype)
            x = x + torch.relu(norm(conv(x)))
        x = self.dropout(x)
        weights = torch.softmax(self.attention(torch.tanh(x)).float().masked_fill(~valid, -torch.inf), dim=2)
        x = x.float()
        mean = (weights * x).sum(dim=2)
        deviation = ((weights * x.square()).sum(dim=2) - mean.square()).clamp(min=1e-5).sqrt()
        statistics = torch.cat([mean.reshape(-1, GROUPS, WIDTH), deviation.reshape(-1, GROUPS, WIDTH)], dim=2)
        logits = torch.stack([head(statistics[:, group]).float() for group, head in enumerate(self.logits)]).mean(dim=0)
        return logits if self.training else logits / self._novelty(_summary(states, valid))[:, None] ** self.caution

    @torch.no_grad()
    def summary(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Mean and deviation over time of the last layer's states, float32 ``(batch, 512)``: by which novelty is measured."""
        states, lengths = self._states(x, lengths.to(x.device))
        return _summary(states, valid_frames(lengths, states.shape[2])[:, None])

    @torch.no_grad()
    def fit_novelty(self, summaries: torch.Tensor) -> None:
        """Sets the principal components and the scale of novelty from the training clips' summaries ``(clips, 512)``."""
        summaries = summaries.double().to(self.usual_mean.device)
        self.usual_mean.copy_(summaries.mean(dim=0))
        self.usual_spread.copy_(summaries.std(dim=0).clamp(min=1e-4))
        standard = (summaries - self.usual_mean) / self.usual_spread
        axes = torch.linalg.eigh(standard.T @ standard).eigenvectors.flip(1)  # by decreasing variance
        n_axes = min(AXES, len(summaries) // CLIPS_PER_AXIS)
        self.usual_axes.zero_()
        self.usual_axes[:, :n_axes] = axes[:, :n_axes]
        self.usual_rest.fill_(1.0)
        self.usual_rest.copy_(self._novelty(summaries.float()).square().mean().sqrt())
        self.caution.fill_(CAUTION)

    def _novelty(self, summaries: torch.Tensor) -> torch.Tensor:
        standard = (summaries - self.usual_mean) / self.usual_spread
        rest = standard - standard @ self.usual_axes @ self.usual_axes.T
        return rest.square().mean(dim=1).sqrt() / self.usual_rest

    def _states(self, x: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states of all layers ``(batch, layers * hidden, frames)``, means over 40 ms, and the frames of each that count."""
        outputs, _ = self.encoder(x, lengths)
        valid = valid_frames(lengths, x.shape[1])[:, :, None]
        padding = -x.shape[1] % POOLED
        states = nn.functional.pad(torch.cat(outputs, dim=2).float() * valid, (0, 0, 0, padding))
        counted = _by_pooled_frame(nn.functional.pad(valid.float(), (0, 0, 0, padding))).sum(dim=2)
        pooled = _by_pooled_frame(states).sum(dim=2) / counted.clamp(min=1)
        return pooled.transpose(1, 2), -(-lengths // POOLED)


def _by_pooled_frame(states: torch.Tensor) -> torch.Tensor:
    """``(batch, frames, n)`` as ``(batch, frames / 4, 4, n)``."""
    return states.reshape(states.shape[0], -1, POOLED, states.shape[2])


def _summary(states: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Mean and deviation of the last layer's states over the frames that count, float32 ``(batch, 512)``."""
    last, counted = states[:, -HIDDEN:].float(), valid.sum(dim=2)
    mean = (last * valid).sum(dim=2) / counted
    deviation = (((last - mean[:, :, None]).square() * valid).sum(dim=2) / counted + 1e-8).sqrt()
    return torch.cat([mean, deviation], dim=1)
