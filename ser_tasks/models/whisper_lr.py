"""Logistic regression on the states of the first blocks of Whisper base."""

import torch

from ser_tasks.models.pooled import PooledLinear, mean_and_deviation
from ser_tasks.models.whisper import BLOCKS, ORIGIN, WIDTH, WhisperEncoder


class WhisperLinear(PooledLinear):
    """Logistic regression on the states of the first three blocks of Whisper base; 10.3 M parameters, of which 3,073 a class are trained.

    The lower blocks know of the voice what the upper ones, which know words, have dropped (Pasad et al., 2021, measure this of wav2vec 2).
    """

    ORIGIN = ORIGIN
    FEATURE_SETS = ("whisper80",)
    N_POOLED = BLOCKS * 2 * WIDTH

    def __init__(self, n_classes: int, n_features: int) -> None:
        super().__init__(n_classes, n_features)
        self.encoder = WhisperEncoder(n_features)

    def pooled(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Mean and deviation of each block, one block after the other."""
        states, counted = self.encoder(x, lengths)
        return torch.cat([mean_and_deviation(of_block, counted) for of_block in states], dim=1)
