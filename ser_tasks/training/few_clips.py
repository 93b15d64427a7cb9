"""Classifiers whose settings suit many clips, and which take less where a training side has few."""

import math

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier

FOLDS = 5
"""Of a calibration, which is scikit-learn's own."""


class Calibrated(CalibratedClassifierCV):  # type: ignore[misc]
    """Calibrated over five folds, or as many as the rarest class has clips. Raises ``ValueError`` where that is one."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> "Calibrated":
        """As scikit-learn's."""
        rarest = int(np.unique(y, return_counts=True)[1].min())
        if rarest < 2:
            raise ValueError("a class has 1 clip, and its probabilities are calibrated by folds, which take 2 of each")
        self.cv = min(FOLDS, rarest)
        super().fit(x, y)
        return self


class Neighbours(KNeighborsClassifier):  # type: ignore[misc]
    """Nearest neighbours: as many as asked for, or all there are."""

    n_neighbors: int

    def fit(self, x: np.ndarray, y: np.ndarray) -> "Neighbours":
        """As scikit-learn's."""
        self.n_neighbors = min(self.n_neighbors, len(x))
        super().fit(x, y)
        return self


class EarlyStopped(MLPClassifier):  # type: ignore[misc]
    """A perceptron that holds clips out to stop early, where these can hold one of each class and each class has two."""

    early_stopping: bool

    def fit(self, x: np.ndarray, y: np.ndarray) -> "EarlyStopped":
        """As scikit-learn's."""
        counts = np.unique(y, return_counts=True)[1]
        held_out = math.ceil(self.validation_fraction * len(x))
        self.early_stopping = self.early_stopping and counts.min() > 1 and held_out >= len(counts)
        super().fit(x, y)
        return self
