"""Hidden states of a speaker encoder, and three small heads on them that are asked together."""

import functools
import math
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from ser_tasks.features.mel32 import CENTRE_DB, SPREAD_DB
from ser_tasks.models.masking import check_lengths, valid_frames

ENCODER = Path(__file__).with_name("ge2e.safetensors")
"""Weights of the encoder; ``ge2e.md`` beside it says where they come from."""
BANDS = 32
HIDDEN = 256
LAYERS = 2
MEAN_POWER = 0.0127
"""Mean power of a mel band in speech at -30 dBFS, the level that the encoder was trained at."""
POOLED = 4
"""Frames of hidden states that become one: 40 ms."""
GROUPS = 3
WIDTH = 128
DILATIONS = (1, 2, 4, 8)
"""Of the layers over time: they see 0.6 s on either side."""
DROPOUT, CHANNEL_DROPOUT = 0.3, 0.2
AXES = 150
"""Directions in which training clips differ most, of 512: what lies outside of them is strange."""
CLIPS_AN_AXIS = 10
"""Training clips that an axis takes, at least."""
CAUTION = 1.5
"""Logits are divided by strangeness to this power: what fitted best to speakers and to corpora that were left out, 1.3 to 1.7."""


class Ge2eTcn(nn.Module):
    """Two frozen LSTM layers of a GE2E speaker encoder, then three heads: four residual dilated Conv1d and attentive statistics; 1.6 M.

    The encoder learned to tell some 9,000 voices apart (Wan et al., 2018), in whatever mood they spoke: its first layers hear how a
    voice sounds, and were measured to tell the emotions of strangers better than layers trained on a few dozen actors (for x-vectors:
    Pappagari et al., 2020). Each head's attention weighs frames for each channel, and the heads read mean and deviation (Okabe et al.,
    2018). The logits are the mean of theirs.

    A voice, language or line unlike those of the training is scored with less confidence: in use, logits are divided by a power of the
    segment's strangeness. That is how much of the states' mean and deviation lies outside the main axes of the training clips, 1 for a
    usual one of them (reconstruction error by principal components, as novelty detection takes it: Pimentel et al., 2014).

    With 32 features, ``mel32``, the encoder has its own weights and keeps them; with another number it starts anew and learns.
    """

    HEADS = tuple(f"logits.{group}" for group in range(GROUPS))
    """The layers of one output a class."""
    ORIGIN = (
        "Two of its layers are those of the voice encoder in Resemblyzer 0.1.4 by Resemble.AI, Apache License 2.0, which learned to tell\n"
        "speakers of LibriSpeech, VoxCeleb1 and VoxCeleb2 apart (Wan et al., ICASSP 2018) and is used as it was. Changed: the third\n"
        "layer and the embedding are left out (it makes no voice print), and so are the bands above 4,000 Hz."
    )
    """Where weights come from that training did not make, and under which licence: cards and notices say so."""

    def __init__(self, n_classes: int, n_features: int):
        super().__init__()
        self.encoder = nn.ModuleList(nn.LSTM(n_features if layer == 0 else HIDDEN, HIDDEN, batch_first=True) for layer in range(LAYERS))
        if n_features == BANDS:
            self.encoder.load_state_dict(_pretrained())
            self.encoder.requires_grad_(False)
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
        self.register_buffer("usual_mean", torch.zeros(2 * HIDDEN))
        self.register_buffer("usual_spread", torch.ones(2 * HIDDEN))
        self.register_buffer("usual_axes", torch.zeros(2 * HIDDEN, AXES))
        self.register_buffer("usual_rest", torch.ones(()))
        self.register_buffer("caution", torch.zeros(()))  # until it knows what is usual

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_classes)`` of ``x`` float32 ``(batch, frames, n_features)``, of which ``lengths`` frames count."""
        check_lengths(x, lengths)
        lengths = lengths.to(x.device)
        x, lengths = self._states(x, lengths)
        valid = valid_frames(lengths, x.shape[2])[:, None]
        doubt = 1.0 if self.training else self._strangeness(_summary(x, valid))[:, None] ** self.caution
        x = torch.relu(self.narrow_norm(self.narrow(self.channel_dropout(x))))
        for conv, norm in zip(self.over_time, self.time_norms, strict=True):
            x = x * valid.to(x.dtype)
            x = x + torch.relu(norm(conv(x)))
        x = self.dropout(x)
        weights = torch.softmax(self.attention(torch.tanh(x)).float().masked_fill(~valid, -torch.inf), dim=2)
        x = x.float()
        mean = (weights * x).sum(dim=2)
        deviation = ((weights * x.square()).sum(dim=2) - mean.square()).clamp(min=1e-5).sqrt()
        statistics = torch.cat([mean.unflatten(1, (GROUPS, WIDTH)), deviation.unflatten(1, (GROUPS, WIDTH))], dim=2)
        return torch.stack([head(statistics[:, group]).float() for group, head in enumerate(self.logits)]).mean(dim=0) / doubt

    @torch.no_grad()
    def summary(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Mean and deviation over time of the last layer's states, float32 ``(batch, 512)``: what strangeness is told by."""
        states, lengths = self._states(x, lengths.to(x.device))
        return _summary(states, valid_frames(lengths, states.shape[2])[:, None])

    @torch.no_grad()
    def learn_usual(self, summaries: torch.Tensor) -> None:
        """Takes the training clips' summaries ``(clips, 512)`` for what is usual."""
        summaries = summaries.double().to(self.usual_mean.device)
        self.usual_mean.copy_(summaries.mean(dim=0))
        self.usual_spread.copy_(summaries.std(dim=0).clamp(min=1e-4))
        standard = (summaries - self.usual_mean) / self.usual_spread
        axes = torch.linalg.eigh(standard.T @ standard).eigenvectors.flip(1)  # by falling variance
        n_axes = min(AXES, len(summaries) // CLIPS_AN_AXIS)
        self.usual_axes.zero_()
        self.usual_axes[:, :n_axes] = axes[:, :n_axes]
        self.usual_rest.fill_(1.0)
        self.usual_rest.copy_(self._strangeness(summaries.float()).square().mean().sqrt())
        self.caution.fill_(CAUTION)

    def _strangeness(self, summaries: torch.Tensor) -> torch.Tensor:
        standard = (summaries - self.usual_mean) / self.usual_spread
        rest = standard - standard @ self.usual_axes @ self.usual_axes.T
        return rest.square().mean(dim=1).sqrt() / self.usual_rest

    def _states(self, x: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states of all layers ``(batch, layers * hidden, frames)``, means over 40 ms, and the frames of each that count."""
        valid = valid_frames(lengths, x.shape[1])[:, :, None]
        x = x.masked_fill(~valid, 0)
        x = torch.exp((x * SPREAD_DB + CENTRE_DB) * (math.log(10) / 10)) * MEAN_POWER  # the encoder hears power, not level
        states = []
        for layer in self.encoder:  # forwards in time: what follows a segment leaves no trace in its states
            x, _ = layer(x)
            states.append(x)
        padding = -x.shape[1] % POOLED
        states = nn.functional.pad(torch.cat(states, dim=2).float() * valid, (0, 0, 0, padding))
        counted = nn.functional.pad(valid.float(), (0, 0, 0, padding)).unflatten(1, (-1, POOLED)).sum(dim=2)
        pooled = states.unflatten(1, (-1, POOLED)).sum(dim=2) / counted.clamp(min=1)
        return pooled.transpose(1, 2), -(-lengths // POOLED)


def _summary(states: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Mean and deviation of the last layer's states over the frames that count, float32 ``(batch, 512)``."""
    last, counted = states[:, -HIDDEN:].float(), valid.sum(dim=2)
    mean = (last * valid).sum(dim=2) / counted
    deviation = (((last - mean[:, :, None]).square() * valid).sum(dim=2) / counted + 1e-8).sqrt()
    return torch.cat([mean, deviation], dim=1)


@functools.cache
def _pretrained() -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(ENCODER)
