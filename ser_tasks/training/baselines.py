"""Classical baselines: classifiers on functionals of a clip, and the mean of their probabilities; with a preparation if named."""

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from rich.progress import Progress
from scipy.special import softmax
from sklearn.base import BaseEstimator
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.feature_selection import SelectFromModel, SequentialFeatureSelector, VarianceThreshold
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GroupKFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from ser_tasks.datasets import speaker_ids
from ser_tasks.datasets.telephone import LONGEST_S, mu_law, read_trimmed
from ser_tasks.evaluation.plan import Plan
from ser_tasks.inference.bundle import ALL_UNSURE
from ser_tasks.progress import map_parallel
from ser_tasks.schemas import SAMPLING_RATE_HZ
from ser_tasks.scratch import atomic_write
from ser_tasks.training.calibrate import TARGET_ERROR, calibration
from ser_tasks.training.few_clips import Calibrated, EarlyStopped, Neighbours
from ser_tasks.training.fit import even_weights
from ser_tasks.training.functionals import FUNCTIONALS

CLIPS_PER_TASK = 32
"""Clips that a worker process computes at once."""
MIN_PROBABILITY = 1e-6
"""Lower bound of probabilities whose logarithms are taken: calibrated, or regressed on."""

CLASSIFIERS: dict[str, Callable[[int], BaseEstimator]] = {
    "svm": lambda seed: Calibrated(SVC(C=3.0, class_weight="balanced"), ensemble=False),
    "knn": lambda seed: Neighbours(15, weights="distance"),
    "decision_tree": lambda seed: DecisionTreeClassifier(min_samples_leaf=10, class_weight="balanced", random_state=seed),
    "random_forest": lambda seed: RandomForestClassifier(300, class_weight="balanced_subsample", random_state=seed),
    "gradient_boosting": lambda seed: HistGradientBoostingClassifier(
        max_iter=100, max_leaf_nodes=15, max_features=0.1, class_weight="balanced", random_state=seed
    ),
    "logistic_regression": lambda seed: LogisticRegression(C=0.03, class_weight="balanced", max_iter=500),
    "naive_bayes": lambda seed: GaussianNB(),
    "mlp": lambda seed: EarlyStopped((128,), alpha=1.0, early_stopping=True, random_state=seed),
    "multinomial_lr": lambda seed: LogisticRegression(max_iter=1000),
    "logistic_ovr": lambda seed: OneVsRestClassifier(LogisticRegression(C=0.03, class_weight="balanced", max_iter=500)),
    "linear_regression": lambda seed: Calibrated(RidgeClassifier(1.0, class_weight="balanced"), ensemble=False),
    "lda": lambda seed: LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
}
"""By name; each is made with a seed. The settings are common in the literature and were not tuned on these corpora.

``logistic_regression`` and ``multinomial_lr`` are both multinomial, the latter with scikit-learn's own settings, ``logistic_ovr`` has one
regression a class against the rest, and ``linear_regression`` is the least squares fit of one indicator a class."""
VOTERS = ("svm", "knn", "decision_tree", "random_forest", "gradient_boosting", "logistic_regression", "naive_bayes", "mlp")
"""Classifiers whose mean is ``soft_vote``."""

INNER_FOLDS = 3
MOST_IMPORTANT = 100
RANKED, SELECTED = 60, 20
"""Features with the highest coefficients, and how many of these are selected one after the other."""

Speakers = np.ndarray | None


def _smote(seed: int, speakers: Speakers) -> list[BaseEstimator]:
    """SMOTE (Chawla et al., 2002)."""
    try:
        from imblearn.over_sampling import SMOTE
    except ImportError as error:
        raise ValueError(NEEDED) from error
    return [SMOTE(random_state=seed)]


def _selective_smote(seed: int, speakers: Speakers) -> list[BaseEstimator]:
    """Selective interpolation, a filter of variance, and the features most important to gradient boosting (Liu et al., 2020)."""
    try:
        from ser_tasks.training.selective_smote import SelectiveSmote
    except ImportError as error:
        raise ValueError(NEEDED) from error
    boosting = GradientBoostingClassifier(n_estimators=50, max_features="sqrt", random_state=seed)
    return [SelectiveSmote(random_state=seed), VarianceThreshold(), _highest(boosting, MOST_IMPORTANT)]


def _genetic(seed: int, speakers: Speakers) -> list[BaseEstimator]:
    """A genetic algorithm with clustering (Kanwal and Asghar, 2021)."""
    from ser_tasks.training.genetic_selection import GeneticSelector

    return [GeneticSelector(_inner_folds(speakers), random_state=seed)]


def _forward(seed: int, speakers: Speakers) -> list[BaseEstimator]:
    """Sequential forward selection, by linear discriminant analysis, among those with the highest coefficients."""
    judge = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1)
    forward = SequentialFeatureSelector(judge, n_features_to_select=SELECTED, scoring="balanced_accuracy", cv=_inner_folds(speakers))
    return [_highest(judge, RANKED), forward]


def _highest(judge: BaseEstimator, most: int) -> SelectFromModel:
    """Selects the ``most`` features of the highest importance or coefficients, or all where there are fewer."""
    return SelectFromModel(judge, threshold=-np.inf, max_features=functools.partial(_at_most, most))


def _at_most(most: int, x: np.ndarray) -> int:
    return min(most, int(x.shape[1]))


def _inner_folds(speakers: Speakers) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds of the training clips, which keep speakers apart: indices of training and test clips."""
    if speakers is None or len(np.unique(speakers)) < 2:
        raise ValueError("The preparation compares features by inner folds: it needs clips of 2 speakers or more.")
    folds = GroupKFold(min(INNER_FOLDS, len(np.unique(speakers))))
    return list(folds.split(np.zeros(len(speakers)), groups=speakers))


PREPARATIONS: dict[str, Callable[[int, Speakers], list[BaseEstimator]]] = {
    "smote": _smote,
    "selective_smote": _selective_smote,
    "genetic": _genetic,
    "forward": _forward,
}
"""By name: steps between normalisation and classifier, fitted to the training clips alone; made with a seed and the clips' speakers."""
NEEDED = 'Oversampling needs imbalanced-learn: pip install -e ".[field]".'


BASELINES = [f"{classifier}:{functionals}" for functionals in ("logmel", "egemaps") for classifier in (*VOTERS, "soft_vote")]
"""Baselines of the league table. Any other ``classifier:functionals[:preparation]`` is one by name (``is_baseline``). ``soft_vote`` is the
mean of the ``VOTERS``' probabilities."""
CHOICES = (
    f"CLASSIFIER:FUNCTIONALS[:PREPARATION] with a classifier of {', '.join([*CLASSIFIERS, 'soft_vote'])}; functionals of "
    f"{', '.join(FUNCTIONALS)}; and a preparation of {', '.join(PREPARATIONS)}"
)


def is_baseline(name: str) -> bool:
    """Whether the name is ``classifier:functionals`` or ``classifier:functionals:preparation`` of listed ones."""
    classifier, _, rest = name.partition(":")
    functionals, colon, preparation = rest.partition(":")
    return classifier in (*CLASSIFIERS, "soft_vote") and functionals in FUNCTIONALS and (preparation in PREPARATIONS or not colon)


@dataclass(frozen=True)
class BaselineSpec:
    """The baseline to fit."""

    model: str
    """Name ``classifier:functionals[:preparation]``."""
    labels: tuple[str, ...]
    """An empty tuple means all emotions of the clips (``evaluate_across``)."""
    target_error: float = TARGET_ERROR

    def __post_init__(self) -> None:
        if not is_baseline(self.model):
            raise ValueError(f"{self.model!r} is no baseline: choose one of {CHOICES}.")


def make_baseline(classifier: str, seed: int, preparation: str = "", speakers: np.ndarray | None = None) -> BaseEstimator:
    """The classifier of that name behind a normalisation of its input and, if named, a preparation.

    ``speakers`` ``(clips,)`` are those of the clips that it will be fitted to, for a preparation's inner folds.
    """
    if classifier == "soft_vote":
        return VotingClassifier([(name, make_baseline(name, seed, preparation, speakers)) for name in VOTERS], voting="soft")
    model = CLASSIFIERS[classifier](seed)
    if not preparation:
        return make_pipeline(StandardScaler(), model)
    from imblearn.pipeline import make_pipeline as make_resampling_pipeline

    return make_resampling_pipeline(StandardScaler(), *PREPARATIONS[preparation](seed, speakers), model)


def functionals_for(clips: pd.DataFrame, baseline: str, plan: Plan, progress: Progress) -> np.ndarray:
    """The baseline's functionals of all clips over mu-law, in their order: float32 ``(clips, functionals)``; kept in ``plan.cache``."""
    name = baseline.split(":")[1]
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
    classifier, _, *preparation = spec.model.split(":")
    model = make_baseline(classifier, plan.seed, "".join(preparation), speaker_ids(clips).to_numpy()[train])
    return fitted(model, x[train], truth, spec.model, spec.labels), x


def fitted(model: BaseEstimator, x: np.ndarray, truth: np.ndarray, name: str, labels: Sequence[str]) -> BaseEstimator:
    """The model, fitted to ``x (clips, functionals)`` and indices of labels. Raises ``ValueError`` where these clips are too few for it."""
    try:
        return model.fit(x, truth)
    except ValueError as error:
        counts = ", ".join(f"{(truth == number).sum()} of {label}" for number, label in enumerate(labels))
        reason = str(error).rstrip(".")
        raise ValueError(
            f"{name} cannot be fitted to the {len(truth)} clips of a training side ({counts}): {reason}. Give more clips, or fewer labels."
        ) from error


def baseline_probabilities(clips: pd.DataFrame, spec: BaselineSpec, plan: Plan) -> tuple[np.ndarray, float, float]:
    """Calibrated probabilities ``(test clips of its labels, labels)``, temperature and threshold of a baseline fitted to the training
    side. Without clips to calibrate on, the temperature is 1 and every clip unsure."""
    model, x = fitted_baseline(clips, spec, plan)
    has_label = clips["emotion"].isin(spec.labels)

    def logits(side: str) -> np.ndarray:
        chosen = ((clips["side"] == side) & has_label).to_numpy()
        probabilities = np.full((int(chosen.sum()), len(spec.labels)), MIN_PROBABILITY)
        probabilities[:, model.classes_] = np.maximum(model.predict_proba(x[chosen]), MIN_PROBABILITY)
        log: np.ndarray = np.log(probabilities)
        return log

    held_out = clips[(clips["side"] == "calibration") & has_label]
    if held_out.empty:  # of two training speakers none is held out
        return softmax(logits("test"), axis=1), 1.0, ALL_UNSURE
    truth, speakers = held_out["emotion"].map(spec.labels.index).to_numpy(), speaker_ids(held_out).to_numpy()
    temperature, unsure_below = calibration(logits("calibration"), truth, speakers, even_weights(speakers, truth), spec.target_error)
    return softmax(logits("test") / temperature, axis=1), temperature, unsure_below
