"""Logistic regression on mean and deviation over time of a frozen encoder's states, standardised by the line that calls come from."""

from typing import ClassVar

import torch
from torch import nn

from ser_tasks.models.base import SegmentModel
from ser_tasks.models.ge2e import HIDDEN, Ge2eEncoder
from ser_tasks.models.ge2e import ORIGIN as GE2E_ORIGIN
from ser_tasks.models.masking import check_lengths, valid_frames
from ser_tasks.models.whisper import BLOCKS, WIDTH, WhisperEncoder
from ser_tasks.models.whisper import ORIGIN as WHISPER_ORIGIN

SMALLEST_VARIANCE = 1e-6
"""Added to variances over time, of states whose variance is about 1."""


class PooledLinear(SegmentModel):
    """``logits = W ((pooled - line_mean) / line_scale) + b``.

    ``pooled`` are means and deviations over time of the encoder's states. The buffers ``line_mean`` and ``line_scale``, float32
    ``(pooled,)``, are the statistics of the training clips until those of one's own calls replace them.
    """

    HEADS = ("logits",)
    N_POOLED: ClassVar[int]

    def __init__(self, n_classes: int, n_features: int) -> None:
        super().__init__(n_classes, n_features)
        self.encoder: nn.Module
        self.line_mean: torch.Tensor
        self.line_scale: torch.Tensor
        self.register_buffer("line_mean", torch.zeros(self.N_POOLED))
        self.register_buffer("line_scale", torch.ones(self.N_POOLED))
        self.logits = nn.Linear(self.N_POOLED, n_classes)

    def pooled(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Mean and deviation over time of the states, float32 ``(batch, N_POOLED)``, of ``x`` and ``lengths`` as in ``forward``."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_classes)`` of ``x`` float32 ``(batch, frames, n_features)``, of which ``lengths`` frames count."""
        check_lengths(x, lengths)
        pooled = self.pooled(x, lengths.to(x.device))
        return self.classify((pooled - self.line_mean) / self.line_scale)

    def classify(self, standardised: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_classes)`` of standardised pooled features ``(batch, N_POOLED)``, always in float32."""
        with torch.autocast(standardised.device.type, enabled=False):
            logits: torch.Tensor = self.logits(standardised.float())
        return logits


class WhisperLinear(PooledLinear):
    """Logistic regression on the states of the first three blocks of Whisper base; 10.3 M parameters, of which 3,073 a class are trained.

    The lower blocks know of the voice what the upper ones, which know words, have dropped (Pasad et al., 2021, measure this of wav2vec 2).
    """

    ORIGIN = WHISPER_ORIGIN
    N_POOLED = BLOCKS * 2 * WIDTH

    def __init__(self, n_classes: int, n_features: int) -> None:
        super().__init__(n_classes, n_features)
        self.encoder = WhisperEncoder(n_features)

    def pooled(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Mean and deviation of each block, one block after the other."""
        states, counted = self.encoder(x, lengths)
        return torch.cat([mean_and_deviation(of_block, counted) for of_block in states], dim=1)


class Ge2eLinear(PooledLinear):
    """Logistic regression on the states of the second LSTM layer of a GE2E speaker encoder; 0.8 M parameters."""

    ORIGIN = GE2E_ORIGIN
    N_POOLED = 2 * HIDDEN

    def __init__(self, n_classes: int, n_features: int) -> None:
        super().__init__(n_classes, n_features)
        self.encoder = Ge2eEncoder(n_features)

    def pooled(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Mean and deviation of the last layer."""
        states, counted = self.encoder(x, lengths)
        return mean_and_deviation(states[-1], counted)


class JointLinear(PooledLinear):
    """Logistic regression on the states of both encoders; 11.2 M parameters.

    With 112 features, ``mel112``, each encoder gets its own and is pretrained; with another number both get all and are trained.
    """

    ORIGIN = f"{WHISPER_ORIGIN}\n\n{GE2E_ORIGIN}"
    N_POOLED = WhisperLinear.N_POOLED + Ge2eLinear.N_POOLED

    def __init__(self, n_classes: int, n_features: int) -> None:
        super().__init__(n_classes, n_features)
        self.own_features = n_features == WhisperEncoder.BANDS + Ge2eEncoder.BANDS
        whisper = WhisperEncoder(WhisperEncoder.BANDS if self.own_features else n_features)
        ge2e = Ge2eEncoder(Ge2eEncoder.BANDS if self.own_features else n_features)
        self.encoder: nn.ModuleDict = nn.ModuleDict({"whisper": whisper, "ge2e": ge2e})

    def pooled(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Mean and deviation of each block of Whisper, then those of the last layer of GE2E."""
        of_whisper, of_ge2e = (x[..., : WhisperEncoder.BANDS], x[..., WhisperEncoder.BANDS :]) if self.own_features else (x, x)
        blocks, counted = self.encoder["whisper"](of_whisper, lengths)
        layers, _ = self.encoder["ge2e"](of_ge2e, lengths)
        return torch.cat([*(mean_and_deviation(block, counted) for block in blocks), mean_and_deviation(layers[-1], lengths)], dim=1)


def mean_and_deviation(states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Mean and standard deviation, float32 ``(batch, 2 * n)``, over the first ``lengths`` states of each row of ``(batch, states, n)``."""
    valid, counted = valid_frames(lengths, states.shape[1])[:, :, None], lengths[:, None]
    states = states.float()
    mean = states.masked_fill(~valid, 0).sum(dim=1) / counted
    squares = (states - mean[:, None]).square().masked_fill(~valid, 0).sum(dim=1)
    return torch.cat([mean, (squares / counted + SMALLEST_VARIANCE).sqrt()], dim=1)
