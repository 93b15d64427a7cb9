"""Classical baselines: scikit-learn's classifiers on functionals of a clip, and the mean of their probabilities."""

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

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

from ser_tasks.datasets import speaker_ids
from ser_tasks.datasets.telephone import LONGEST_S, mu_law, read_trimmed
from ser_tasks.evaluation.plan import Plan
from ser_tasks.features import features_of
from ser_tasks.progress import map_parallel
from ser_tasks.schemas import SAMPLING_RATE_HZ
from ser_tasks.scratch import atomic_write
from ser_tasks.training.calibrate import TARGET_ERROR, calibration
from ser_tasks.training.fit import even_weights

QUANTILES = (0.1, 0.5, 0.9)
CLIPS_PER_TASK = 32
"""Clips that a worker process computes at once."""
MIN_PROBABILITY = 1e-6
"""Lower bound of a classifier's probabilities, whose logarithms are calibrated."""

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
"""By name; each is made with a seed. The settings are common in the literature and were not tuned on these corpora."""


def _logmel(signals: list[np.ndarray]) -> np.ndarray:
    """Mean, deviation and quantiles of 64 log-mel levels and of their change from frame to frame: ``(clips, 640)``."""
    flat, lengths = features_of("logmel8k", {}, signals, SAMPLING_RATE_HZ)
    rows = []
    for levels in np.split(flat, np.cumsum(lengths)[:-1]):
        parts = [levels, np.diff(levels, axis=0) if len(levels) > 1 else np.zeros_like(levels)]
        rows.append(np.concatenate([np.r_[part.mean(axis=0), part.std(axis=0), *np.quantile(part, QUANTILES, axis=0)] for part in parts]))
    return np.stack(rows).astype(np.float32)


def _egemaps(signals: list[np.ndarray]) -> np.ndarray:
    """The 88 functionals of eGeMAPS v02 (Eyben et al., 2016) by openSMILE: ``(clips, 88)``."""
    extractor = _opensmile()
    return np.concatenate([extractor.process_signal(signal, SAMPLING_RATE_HZ).to_numpy(np.float32) for signal in signals])


@functools.lru_cache(maxsize=1)
def _opensmile() -> Any:
    try:
        import opensmile
    except ImportError as error:
        raise ValueError('eGeMAPS needs openSMILE: pip install -e ".[egemaps]" (its licence allows research only).') from error
    return opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)


FUNCTIONALS: dict[str, Callable[[list[np.ndarray]], np.ndarray]] = {"logmel": _logmel, "egemaps": _egemaps}
"""By name: from 8 kHz signals to float32 ``(clips, functionals)``."""

BASELINES = [f"{classifier}:{functionals}" for functionals in FUNCTIONALS for classifier in (*CLASSIFIERS, "soft_vote")]
"""Names ``classifier:functionals``. ``soft_vote`` is the mean of all classifiers' probabilities."""


@dataclass(frozen=True)
class BaselineSpec:
    """The baseline to fit."""

    model: str
    """Name in ``BASELINES``."""
    labels: tuple[str, ...]
    """An empty tuple means all emotions of the clips (``evaluate_across``)."""
    target_error: float = TARGET_ERROR

    def __post_init__(self) -> None:
        if self.model not in BASELINES:
            raise ValueError(f"{self.model!r} is no baseline: choose one of {', '.join(BASELINES)}.")


def make_baseline(classifier: str, seed: int) -> BaseEstimator:
    """The classifier of that name behind a normalisation of its input."""
    if classifier == "soft_vote":
        return VotingClassifier([(name, make_baseline(name, seed)) for name in CLASSIFIERS], voting="soft")
    return make_pipeline(StandardScaler(), CLASSIFIERS[classifier](seed))


def functionals_for(clips: pd.DataFrame, baseline: str, plan: Plan, progress: Progress) -> np.ndarray:
    """The baseline's functionals of all clips over mu-law, in their order: float32 ``(clips, functionals)``; kept in ``plan.cache``."""
    name = baseline.partition(":")[2]
    plan.cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = hashlib.sha256(json.dumps([1, name, list(clips["digest"])]).encode()).hexdigest()[:16]
    stored = plan.cache / f"functionals-{name}-{key}.npy"
    if not stored.exists():
        files = clips["file"].tolist()
        batches = [files[start : start + CLIPS_PER_TASK] for start in range(0, len(files), CLIPS_PER_TASK)]
        compute = functools.partial(functionals_of, name=name)
        computed = map_parallel(compute, batches, plan.workers, progress, f"{name} functionals")
        with atomic_write(stored) as temporary, temporary.open("wb") as file:
            np.save(file, np.concatenate(computed))
    functionals: np.ndarray = np.load(stored)
    return functionals


def functionals_of(files: list[str], name: str) -> np.ndarray:
    """Functionals of clips over a telephone line, in a worker process."""
    return FUNCTIONALS[name](telephone_signals(files))


def telephone_signals(files: list[str]) -> list[np.ndarray]:
    """Clips after mu-law coding, cut to the longest segment that the pipeline scores: float32 at 8 kHz."""
    return [mu_law(read_trimmed(file))[: int(LONGEST_S * SAMPLING_RATE_HZ)] for file in files]


def fitted_baseline(clips: pd.DataFrame, spec: BaselineSpec, plan: Plan) -> tuple[BaseEstimator, np.ndarray]:
    """The baseline, fitted to the training side's clips of its labels, and the functionals of all clips."""
    with Progress(disable=True) as silent:
        functionals = functionals_for(clips, spec.model, replace(plan, workers=1), silent)
    x = np.nan_to_num(functionals, nan=0.0, posinf=0.0, neginf=0.0)
    train = ((clips["side"] == "train") & clips["emotion"].isin(spec.labels)).to_numpy()
    truth = clips["emotion"][train].map(spec.labels.index).to_numpy()
    return make_baseline(spec.model.partition(":")[0], plan.seed).fit(x[train], truth), x


def baseline_probabilities(clips: pd.DataFrame, spec: BaselineSpec, plan: Plan) -> tuple[np.ndarray, float, float]:
    """Calibrated probabilities ``(test clips of its labels, labels)``, temperature and threshold of a baseline fitted to the training
    side."""
    model, x = fitted_baseline(clips, spec, plan)
    has_label = clips["emotion"].isin(spec.labels)

    def logits(side: str) -> np.ndarray:
        chosen = ((clips["side"] == side) & has_label).to_numpy()
        probabilities = np.full((int(chosen.sum()), len(spec.labels)), MIN_PROBABILITY)
        probabilities[:, model.classes_] = np.maximum(model.predict_proba(x[chosen]), MIN_PROBABILITY)
        log: np.ndarray = np.log(probabilities)
        return log

    held_out = clips[(clips["side"] == "calibration") & has_label]
    truth, speakers = held_out["emotion"].map(spec.labels.index).to_numpy(), speaker_ids(held_out).to_numpy()
    temperature, unsure_below = calibration(logits("calibration"), truth, speakers, even_weights(speakers, truth), spec.target_error)
    return softmax(logits("test") / temperature, axis=1), temperature, unsure_below
