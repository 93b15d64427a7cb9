"""Logistic regression on the states of a speaker encoder."""

import torch

from ser_tasks.models.ge2e import HIDDEN, ORIGIN, Ge2eEncoder
from ser_tasks.models.pooled import PooledLinear, mean_and_deviation


class Ge2eLinear(PooledLinear):
    """Logistic regression on the states of the second LSTM layer of a GE2E speaker encoder; 0.8 M parameters."""

    ORIGIN = ORIGIN
    FEATURE_SETS = ("mel32",)
    N_POOLED = 2 * HIDDEN

    def __init__(self, n_classes: int, n_features: int) -> None:
        super().__init__(n_classes, n_features)
        self.encoder = Ge2eEncoder(n_features)

    def pooled(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Mean and deviation of the last layer."""
        states, counted = self.encoder(x, lengths)
        return mean_and_deviation(states[-1], counted)
