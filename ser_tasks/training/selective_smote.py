"""Selective interpolation SMOTE: made-up clips of rare emotions, where they stay among clips of their own emotion (Liu et al., 2020)."""

import functools
from collections.abc import Callable

import numpy as np
from imblearn.over_sampling.base import BaseOverSampler
from sklearn.neighbors import NearestNeighbors

ATTEMPTS = 20
"""Rounds of drawing for a class; a class that needs more is left smaller than the largest."""


class SelectiveSmote(BaseOverSampler):  # type: ignore[misc]  # imbalanced-learn has no types
    """SMOTE (Chawla et al., 2002) that keeps an interpolated clip only where its nearest training clip is of its own class.

    After Liu, Wu, Li, Xiao and Mao ("Speech emotion recognition based on selective interpolation SMOTE in small sample environment",
    Sensors 20(8):2297, 2020). Each class grows to the size of the largest, as far as its region allows. Kept as imbalanced-learn's SMOTE
    has no such choice.
    """

    def __init__(self, sampling_strategy: str | dict[int, int] = "auto", k_neighbors: int = 5, random_state: int = 0) -> None:
        super().__init__(sampling_strategy=sampling_strategy)
        self.k_neighbors = k_neighbors
        self.random_state = random_state

    def _fit_resample(self, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # noqa: N803 - scikit-learn's names
        rng = np.random.default_rng(self.random_state)
        nearest = NearestNeighbors(n_neighbors=1).fit(X)
        rows, labels = [X], [y]
        for label, wanted in self.sampling_strategy_.items():
            is_own = functools.partial(_nearest_is, label, y, nearest)
            made = self._made(X[y == label], wanted, is_own, rng)
            rows.append(made)
            labels.append(np.full(len(made), label, y.dtype))
        return np.concatenate(rows).astype(X.dtype), np.concatenate(labels)

    def _made(self, members: np.ndarray, wanted: int, is_own: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator) -> np.ndarray:
        """At most ``wanted`` points between members ``(n, features)`` and their nearest neighbours of the same class."""
        if len(members) < 2 or wanted < 1:
            return members[:0]
        neighbours = NearestNeighbors(n_neighbors=min(self.k_neighbors, len(members) - 1) + 1).fit(members).kneighbors(members)[1][:, 1:]
        kept, missing = [members[:0]], wanted
        for _ in range(ATTEMPTS):
            start = rng.integers(len(members), size=missing)
            end = neighbours[start, rng.integers(neighbours.shape[1], size=missing)]
            points = members[start] + rng.random((missing, 1)) * (members[end] - members[start])
            kept.append(points[is_own(points)])
            missing -= len(kept[-1])
            if not missing:
                break
        return np.concatenate(kept)


def _nearest_is(label: int, labels: np.ndarray, nearest: NearestNeighbors, points: np.ndarray) -> np.ndarray:
    """Whether the training clip nearest to each point has the label."""
    same: np.ndarray = labels[nearest.kneighbors(points)[1][:, 0]] == label
    return same
