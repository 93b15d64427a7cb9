"""What published systems do to clips' functionals before the classifier: ``STEPS``."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.feature_selection import SelectFromModel, VarianceThreshold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler


class _AtMost80(PCA):
    """Principal components: 80, or as many as there can be."""

    def fit(self, x: np.ndarray, y: np.ndarray | None = None) -> "_AtMost80":
        self.n_components = min(80, *x.shape)
        super().fit(x)
        return self


STEPS: dict[str, Callable[[int], BaseEstimator]] = {
    "scale": lambda seed: StandardScaler(),
    "minmax": lambda seed: MinMaxScaler(),
    "pca80": lambda seed: _AtMost80(random_state=seed),
    "gbdt100": lambda seed: make_pipeline(
        VarianceThreshold(),
        SelectFromModel(
            GradientBoostingClassifier(n_estimators=20, max_features="sqrt", random_state=seed),
            max_features=lambda x: min(100, x.shape[1]),
            threshold=-np.inf,
        ),
    ),
}
"""By name; each is made with a seed. A step with ``fit_resample`` adds clips, the others transform them."""


class Steps:
    """Steps one after the other, fitted to the clips they are given."""

    def __init__(self, names: Sequence[str], seed: int) -> None:
        self.steps: list[Any] = [STEPS[name](seed) for name in names]

    def fit(self, x: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The clips after all steps, their classes, and for each its number among the given ones, or -1 of one that was made up.

        ``x`` is ``(clips, functionals)``. Made-up clips stand behind the given ones.
        """
        origin = np.arange(len(x))
        for step in self.steps:
            if hasattr(step, "fit_resample"):
                x, truth = step.fit_resample(x, truth)
                origin = np.r_[origin, np.full(len(x) - len(origin), -1)]
            else:
                x = step.fit(x, truth).transform(x)
        return x, truth, origin

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Other clips, by what was fitted; none is made up."""
        for step in self.steps:
            x = x if hasattr(step, "fit_resample") else step.transform(x)
        return x
