"""Classical baselines: functionals of a clip, scikit-learn's classifiers, and their soft vote."""

import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import Progress
from scipy.special import softmax
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from ser_tasks.datasets.telephone import LONGEST_S, mu_law, read_trimmed
from ser_tasks.features import features_of
from ser_tasks.progress import map_parallel
from ser_tasks.schemas import SAMPLING_RATE_HZ
from ser_tasks.scratch import atomic_write
from ser_tasks.training.calibrate import TARGET_ERROR, calibration
from ser_tasks.training.fit import even_weights

QUANTILES = (0.1, 0.5, 0.9)
CLIPS_AT_ONCE = 32
SMALLEST = 1e-6
"""Probability that a classifier is taken to give where it gives none."""

CLASSIFIERS: dict[str, Callable[[int], BaseEstimator]] = {
    "svm": lambda seed: CalibratedClassifierCV(SVC(C=3.0, class_weight="balanced"), ensemble=False),
    "knn": lambda seed: KNeighborsClassifier(15, weights="distance"),
    "decision_tree": lambda seed: DecisionTreeClassifier(min_samples_leaf=10, class_weight="balanced", random_state=seed),
    "random_forest": lambda seed: RandomForestClassifier(300, class_weight="balanced_subsample", random_state=seed),
    "gradient_boosting": lambda seed: HistGradientBoostingClassifier(
        max_iter=100, max_leaf_nodes=15, max_features=0.1, class_weight="balanced", random_state=seed
    ),
    "logistic_regression": lambda seed: LogisticRegression(C=0.03, class_weight="balanced", max_iter=500),
    "naive_bayes": lambda seed: GaussianNB(),
    "mlp": lambda seed: MLPClassifier((128,), alpha=1.0, early_stopping=True, random_state=seed),
}
"""With settings of the field's tables, not tuned on any corpus here."""


def _logmel(signals: list[np.ndarray]) -> np.ndarray:
    """Mean, deviation and quantiles of 64 log-mel levels and of their change from frame to frame: ``(clips, 640)``."""
    flat, lengths = features_of("logmel8k", {}, signals, SAMPLING_RATE_HZ)
    rows = []
    for own in np.split(flat, np.cumsum(lengths)[:-1]):
        parts = [own, np.diff(own, axis=0) if len(own) > 1 else np.zeros_like(own)]
        rows.append(np.concatenate([np.r_[part.mean(axis=0), part.std(axis=0), *np.quantile(part, QUANTILES, axis=0)] for part in parts]))
    return np.stack(rows).astype(np.float32)


def _egemaps(signals: list[np.ndarray]) -> np.ndarray:
    """The 88 functionals of eGeMAPS v02 (Eyben et al., 2016) by openSMILE: ``(clips, 88)``."""
    extractor = _opensmile()
    return np.concatenate([extractor.process_signal(signal, SAMPLING_RATE_HZ).to_numpy(np.float32) for signal in signals])


@functools.lru_cache(maxsize=1)
def _opensmile():
    try:
        import opensmile
    except ImportError as error:
        raise ValueError('eGeMAPS needs openSMILE: pip install -e ".[egemaps]" (its licence allows research, not commerce).') from error
    return opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)


FUNCTIONALS: dict[str, Callable[[list[np.ndarray]], np.ndarray]] = {"logmel": _logmel, "egemaps": _egemaps}
"""Numbers of a whole clip: 8 kHz signals to float32 ``(clips, numbers)``."""

BASELINES = [f"{classifier}:{functionals}" for functionals in FUNCTIONALS for classifier in (*CLASSIFIERS, "soft_vote")]
"""Names ``classifier:functionals``. ``soft_vote`` is the mean of all classifiers' probabilities."""


def make_baseline(classifier: str, seed: int) -> BaseEstimator:
    """The classifier of that name, its input normalised on what it is fitted to."""
    if classifier == "soft_vote":
        return VotingClassifier([(name, make_baseline(name, seed)) for name in CLASSIFIERS], voting="soft")
    return make_pipeline(StandardScaler(), CLASSIFIERS[classifier](seed))


def functionals_for(clips: pd.DataFrame, learner: str, cache: Path, workers: int, progress: Progress) -> np.ndarray:
    """Functionals of all clips over mu-law, in their order, from the cache folder or computed: float32 ``(clips, numbers)``."""
    name = learner.partition(":")[2]
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = hashlib.sha256(json.dumps([1, name, list(clips["digest"])]).encode()).hexdigest()[:16]
    stored = cache / f"functionals-{name}-{key}.npy"
    if not stored.exists():
        parts = [clips["file"].tolist()[start : start + CLIPS_AT_ONCE] for start in range(0, len(clips), CLIPS_AT_ONCE)]
        compute = functools.partial(functionals_of, name=name)
        found = map_parallel(compute, parts, workers, progress, f"{name} functionals")
        with atomic_write(stored) as temporary, temporary.open("wb") as file:
            np.save(file, np.concatenate(found))
    return np.load(stored)


def functionals_of(files: list[str], name: str) -> np.ndarray:
    """Functionals of clips as a telephone carries them, in a worker process."""
    return FUNCTIONALS[name](heard(files))


def heard(files: list[str]) -> list[np.ndarray]:
    """Clips as a telephone carries them, cut to what the pipeline scores at once: float32 at 8 kHz."""
    return [mu_law(read_trimmed(file))[: int(LONGEST_S * SAMPLING_RATE_HZ)] for file in files]


def baseline_fitted(clips: pd.DataFrame, learner: str, labels: tuple[str, ...], cache: Path, seed: int) -> tuple[BaseEstimator, np.ndarray]:
    """A baseline fitted to the training side's clips of these labels, and the functionals of all clips."""
    with Progress(disable=True) as silent:
        x = np.nan_to_num(functionals_for(clips, learner, cache, 1, silent), nan=0.0, posinf=0.0, neginf=0.0)
    train = ((clips["side"] == "train") & clips["emotion"].isin(labels)).to_numpy()
    truth = clips["emotion"][train].map(labels.index).to_numpy()
    return make_baseline(learner.partition(":")[0], seed).fit(x[train], truth), x


def baseline_probabilities(
    clips: pd.DataFrame, learner: str, labels: tuple[str, ...], cache: Path, seed: int
) -> tuple[np.ndarray, float, float]:
    """Calibrated probabilities ``(test clips of labels, labels)``, temperature and threshold of a baseline learned on the training side."""
    model, x = baseline_fitted(clips, learner, labels, cache, seed)
    known = clips["emotion"].isin(labels)

    def logits(side: str) -> np.ndarray:
        chosen = ((clips["side"] == side) & known).to_numpy()
        given = np.full((int(chosen.sum()), len(labels)), SMALLEST)
        given[:, model.classes_] = np.maximum(model.predict_proba(x[chosen]), SMALLEST)
        return np.log(given)

    held = clips[(clips["side"] == "calibration") & known]
    truth, speakers = held["emotion"].map(labels.index).to_numpy(), (held["corpus"] + "/" + held["speaker"]).to_numpy()
    temperature, unsure_below = calibration(logits("calibration"), truth, speakers, even_weights(speakers, truth), TARGET_ERROR)
    return softmax(logits("test") / temperature, axis=1), temperature, unsure_below
