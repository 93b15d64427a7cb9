"""Feature selection by a genetic algorithm whose generations are clustered (Kanwal and Asghar, 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.cluster import DBSCAN
from sklearn.feature_selection import SelectorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

Split = tuple[np.ndarray, np.ndarray]
TOURNAMENT = 3
DENSITY = 3
"""Chromosomes, itself included, within ``RADIUS`` of one that is no outlier."""
RADIUS = 0.5
"""In standard deviations of fitness and size."""
SHRINKAGE = 0.1


class GeneticSelector(SelectorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Features chosen by a genetic algorithm; fitness is the UA of an inner cross-validation on the training clips alone.

    After Kanwal and Asghar ("Speech emotion recognition using clustering based GA-optimized feature set", IEEE Access 9, 2021). Chromosomes
    are masks of the features. In each generation they are clustered by fitness and size (DBSCAN); outliers are no parents, but for the
    best. Children are uniform crossovers of winners of tournaments of three, and one bit of them in ``features`` flips on average. The
    best chromosome survives. Fitness is measured by linear discriminant analysis, whose covariances are computed once for all chromosomes;
    the classifier that follows is another.

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
        judges = [_judge(x, y, split) for split in self.splits]
        fitness = np.array([_fitness(mask, judges) for mask in masks])
        self.history_ = [float(fitness.max())]
        for _ in range(self.generations):
            best = int(fitness.argmax())
            parents = _without_outliers(fitness, masks.sum(axis=1), best)
            children = np.stack([self._child(masks, fitness, parents, rng) for _ in range(self.population - 1)])
            scored = np.array([_fitness(mask, judges) for mask in children])
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
        grown: np.ndarray = child
        return grown


@dataclass(frozen=True)
class _Judge:
    """Linear discriminant analysis of one inner fold, of any features."""

    means: np.ndarray
    """``(classes, features)``, of the training clips."""
    covariance: np.ndarray
    """``(features, features)``, within classes, a tenth of it moved to its diagonal's mean."""
    x: np.ndarray
    """``(clips, features)``, of the test clips."""
    y: np.ndarray
    """``(clips,)``: their classes, as indices."""

    def score(self, mask: np.ndarray) -> float:
        """UA on the test clips with the features of the mask alone; all classes are equally likely before."""
        means = self.means[:, mask]
        weights = np.linalg.solve(self.covariance[np.ix_(mask, mask)], means.T)
        given = self.x[:, mask] @ weights - 0.5 * (means.T * weights).sum(axis=0)
        right = given.argmax(axis=1) == self.y
        return float(np.mean([right[self.y == label].mean() for label in np.unique(self.y)]))


def _fitness(mask: np.ndarray, judges: list[_Judge]) -> float:
    return float(np.mean([judge.score(mask) for judge in judges]))


def _judge(x: np.ndarray, y: np.ndarray, split: Split) -> _Judge:
    train, test = split
    classes = np.unique(y[train])
    means = np.stack([x[train][y[train] == label].mean(axis=0) for label in classes])
    within = x[train] - means[np.searchsorted(classes, y[train])]
    covariance = within.T @ within / len(train)
    scale = max(float(np.trace(covariance)) / len(covariance), 1e-9)
    known = test[np.isin(y[test], classes)]
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * scale * np.eye(len(covariance))
    return _Judge(means, covariance, x[known], np.searchsorted(classes, y[known]))


def _without_outliers(fitness: np.ndarray, sizes: np.ndarray, best: int) -> np.ndarray:
    """Indices of chromosomes in clusters of fitness and size, and of the best; all, where there are no clusters."""
    points = np.column_stack([fitness, sizes]).astype(float)
    points = (points - points.mean(axis=0)) / np.maximum(points.std(axis=0), 1e-9)
    clustered = DBSCAN(eps=RADIUS, min_samples=DENSITY).fit_predict(points) >= 0
    clustered[best] = True
    parents: np.ndarray = np.flatnonzero(clustered) if clustered.sum() > 1 else np.arange(len(fitness))
    return parents
