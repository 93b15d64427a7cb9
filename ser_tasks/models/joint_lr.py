"""Logistic regression on the states of both encoders."""

import torch
from torch import nn

from ser_tasks.models.ge2e import Ge2eEncoder
from ser_tasks.models.ge2e_lr import Ge2eLinear
from ser_tasks.models.pooled import PooledLinear, mean_and_deviation
from ser_tasks.models.whisper import WhisperEncoder
from ser_tasks.models.whisper_lr import WhisperLinear


class JointLinear(PooledLinear):
    """Logistic regression on the states of both encoders; 11.2 M parameters.

    With 112 features, ``mel112``, each encoder gets its own and is pretrained; with another number both get all and are trained.
    """

    ORIGIN = f"{WhisperLinear.ORIGIN}\n\n{Ge2eLinear.ORIGIN}"
    FEATURE_SETS = ("mel112",)
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
