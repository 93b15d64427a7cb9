"""Regression of what listeners rated (arousal, valence, dominance) on what a fold's model is given of a clip, or makes of it."""

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ser_tasks.datasets import RATINGS

RIDGES = np.logspace(0, 5, 11)
"""Weights of the squared coefficients; leave-one-out error on the training clips chooses (`RidgeCV`)."""
FEWEST_RATED = 10
"""Clips with a rating that a regression is fitted to."""


def predicted_ratings(clips: pd.DataFrame, x: np.ndarray, tested: pd.DataFrame, side: str = "train") -> dict[str, np.ndarray]:
    """Columns of the tested clips: each rating and ``<rating>_predicted``, NaN where a clip has no rating.

    ``clips`` needs side and ``RATINGS``; ``x`` is ``(clips, features)``; ``tested`` is a part of ``clips``. The regression is fitted to the
    clips of ``side``. A rating that too few of them or no tested clip have is left out.
    """
    columns: dict[str, np.ndarray] = {}
    for name in (rating for rating in RATINGS if rating in clips):
        values = pd.to_numeric(clips[name], errors="coerce").to_numpy(float)
        train = (clips["side"] == side).to_numpy() & ~np.isnan(values)
        positions = clips.index.get_indexer(tested.index)
        if train.sum() < FEWEST_RATED or np.isnan(values[positions]).all():
            continue
        model = make_pipeline(StandardScaler(), RidgeCV(RIDGES)).fit(x[train], values[train])
        columns |= {name: values[positions], f"{name}_predicted": model.predict(x[positions])}
    return columns
