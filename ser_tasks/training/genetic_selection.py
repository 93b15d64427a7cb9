"""Feature selection by a genetic algorithm whose generations are clustered (Kanwal and Asghar, 2021)."""

from collections.abc import Sequence

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.cluster import DBSCAN
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import SelectorMixin
from sklearn.metrics import balanced_accuracy_score
from sklearn.utils.validation import check_is_fitted, validate_data

Split = tuple[np.ndarray, np.ndarray]
TOURNAMENT = 3
DENSITY = 3
"""Chromosomes, itself included, within ``RADIUS`` of one that is no outlier."""
RADIUS = 0.5
"""In standard deviations of fitness and size."""


class GeneticSelector(SelectorMixin, BaseEstimator):
    """Features chosen by a genetic algorithm; fitness is the UA of an inner cross-validation on the training clips alone.

    After Kanwal and Asghar ("Speech emotion recognition using clustering based GA-optimized feature set", IEEE Access 9, 2021). Chromosomes
    are masks of the features. In each generation they are clustered by fitness and size (DBSCAN); outliers are no parents, but for the
    best. Children are uniform crossovers of winners of tournaments of three, and one bit of them in ``features`` flips on average. The
    best chromosome survives. Fitness is measured by linear discriminant analysis, which is fast; the classifier that follows is another.

    ``splits`` are the inner folds (indices of training and test clips), which keep speakers apart; the fitness of a selection that sees
    the reported test clips, as published, is no estimate.
    """

    def __init__(self, splits: Sequence[Split], population: int = 30, generations: int = 15, random_state: int = 0) -> None:
        self.splits = splits
        self.population = population
        self.generations = generations
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: np.ndarray) -> "GeneticSelector":  # noqa: N803 - scikit-learn's names
        """Chooses features of ``X (clips, features)`` for the classes ``y (clips,)``."""
        x, y = validate_data(self, X, y)
        last = max(int(index.max()) for split in self.splits for index in split)
        if last >= len(x):
            raise ValueError(f"The inner folds go to clip {last}, but there are {len(x)}: give folds of these clips.")
        rng = np.random.default_rng(self.random_state)
        masks = rng.random((self.population, x.shape[1])) < 0.5
        fitness = np.array([self._fitness(mask, x, y) for mask in masks])
        self.history_ = [float(fitness.max())]
        for _ in range(self.generations):
            best = int(fitness.argmax())
            parents = _without_outliers(fitness, masks.sum(axis=1), best)
            children = np.stack([self._child(masks, fitness, parents, rng) for _ in range(self.population - 1)])
            scored = np.array([self._fitness(mask, x, y) for mask in children])
            masks, fitness = np.concatenate([masks[best : best + 1], children]), np.r_[fitness[best], scored]
            self.history_.append(float(fitness.max()))
        self.mask_ = masks[fitness.argmax()]
        return self

    def _get_support_mask(self) -> np.ndarray:
        check_is_fitted(self)
        mask: np.ndarray = self.mask_
        return mask

    def _child(self, masks: np.ndarray, fitness: np.ndarray, parents: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        def winner() -> np.ndarray:
            drawn = rng.choice(parents, TOURNAMENT)
            mask: np.ndarray = masks[drawn[fitness[drawn].argmax()]]
            return mask

        child = np.where(rng.random(masks.shape[1]) < 0.5, winner(), winner()) ^ (rng.random(masks.shape[1]) < 1 / masks.shape[1])
        if not child.any():
            child[rng.integers(len(child))] = True
        return child

    def _fitness(self, mask: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
        chosen = x[:, mask]
        scores = []
        for train, test in self.splits:
            model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(chosen[train], y[train])
            scores.append(balanced_accuracy_score(y[test], model.predict(chosen[test])))
        return float(np.mean(scores))


def _without_outliers(fitness: np.ndarray, sizes: np.ndarray, best: int) -> np.ndarray:
    """Indices of chromosomes in clusters of fitness and size, and of the best; all, where there are no clusters."""
    points = np.column_stack([fitness, sizes]).astype(float)
    points = (points - points.mean(axis=0)) / np.maximum(points.std(axis=0), 1e-9)
    clustered = DBSCAN(eps=RADIUS, min_samples=DENSITY).fit_predict(points) >= 0
    clustered[best] = True
    return np.flatnonzero(clustered) if clustered.sum() > 1 else np.arange(len(fitness))
