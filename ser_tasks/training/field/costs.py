"""How much CPU time folds of the field take, before they are run."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ser_tasks.schemas import EMOTIONS
from ser_tasks.training.field.folds import NETWORK_PROTOCOLS, FoldWork, drawn_evenly, enough
from ser_tasks.training.field.protocols import PROTOCOLS, RANDOM_FOLDS, honest_folds
from ser_tasks.training.field.rows import ROWS, System

EPOCH_MS = {
    "mean_cnn": 0.4,
    "two_way_dense": 0.6,
    "lstm": 0.9,
    "cnn_lstm": 1.2,
    "cnn": 9.4,
    "mdre": 15.0,
    "mdre_audio": 15.0,
    "mdre_text": 2.1,
    "ensemble_1d": 16.0,
    "crnn": 17.0,
    "clustered_bilstm": 22.0,
    "keyframe_cnn3d": 31.0,
    "two_way_image": 44.0,
    "attention_gru_one_step": 46.0,
    "attention_gru": 52.0,
    "lflb_lstm": 95.0,
}
"""CPU milliseconds of one epoch for one training clip of 2 s, measured on one core of a Xeon of 2023; 20 of others."""
WATCHED = 1.15
"""Share of an epoch's time with the clips that choose the epoch."""
FIT_MS = {"random_forest": 2.6, "svm": 0.5, "mlp": 5.0}
"""CPU milliseconds to fit a classifier to one clip of some 100 functionals; 0.1 of others."""
BOOSTING_MS = 12.0
"""CPU milliseconds to boost the trees of one emotion on one functional, whatever the number of clips: their histograms have 255 bins."""
FUNCTIONALS = {"wavelet_packet": 576, "short_term34": 68}
"""Of those with boosting; 100 of others."""
GENETIC_MS = 0.9
"""CPU milliseconds of the genetic selection, for one clip."""
SMOTE_MS = 220.0
"""CPU milliseconds of the boosting that selects features after the oversampling, for one emotion."""
FORWARD_S = 31.0
"""CPU seconds of the selection of one feature after the other, whatever the number of clips."""
RANDOM_SHARE = 1 - 1 / RANDOM_FOLDS
"""Of clips that are trained on where they are dealt out at random."""
FEATURES_MS = {"egemaps": 44.0, "is10": 34.0, "mfcc_wavelet_pitch": 12.0}
"""CPU milliseconds of the features of one clip of 2 s; 5 of others."""


@dataclass(frozen=True)
class Fold:
    """What of a fold its time depends on."""

    system: System
    corpus: str
    clips: int
    """Of the corpus, as many as the system takes."""
    trained: float
    """Clips that are trained on."""
    emotions: int


def folds_of(works: list[FoldWork]) -> list[Fold]:
    """What the time of folds depends on. A fold that is given twice counts once."""
    return [
        Fold(work.system, work.clips["corpus"].iloc[0], len(work.clips), _trained_on(work), work.clips["emotion"].nunique())
        for work in {work.file: work for work in works}.values()
    ]


def folds_of_sizes(sizes: Mapping[str, Mapping[str, int]]) -> list[Fold]:
    """The folds of the whole field, but of rows that wait, on corpora of these ``speakers``, ``emotions`` and ``clips`` by name.

    Every speaker is taken to have as many clips of every emotion.
    """
    protocols: dict[System, set[str]] = {}
    for row in ROWS.values():
        for system in row.systems if not row.waits else ():
            protocols.setdefault(system, set()).update(NETWORK_PROTOCOLS if system.is_network else row.protocols)
    folds = []
    for corpus, size in sizes.items():
        clips = _clips_of_size(corpus, **size)
        for most in {system.clips for system in protocols}:
            some = drawn_evenly(clips, most)
            sides = list(honest_folds(some, 0).values())
            for system in (system for system in protocols if system.clips == most):
                for protocol in sorted(protocols[system]):
                    trained = [RANDOM_SHARE * len(some)] * (1 if system.is_network else RANDOM_FOLDS)
                    if PROTOCOLS[protocol].by_speaker:
                        trained = [_trained_of(side, system) for side in enough(sides, some, system.tested)]
                    folds += [Fold(system, corpus, len(some), each, size["emotions"]) for each in trained]
    return folds


def cpu_s(folds: list[Fold]) -> float:
    """CPU seconds of the folds and of their features, where these were not computed before."""
    features: dict[tuple[str, str], float] = {}
    for fold in folds:
        name = features_of_system(fold.system)
        of_fold_s = fold.clips * (1 + fold.system.copies) * FEATURES_MS.get(name, 5.0) / 1000
        features[name, fold.corpus] = max(of_fold_s, features.get((name, fold.corpus), 0.0))
    return sum(features.values()) + fitting_s(folds)


def fitting_s(folds: list[Fold]) -> float:
    """CPU seconds of the folds without their features."""
    return sum(map(_fit_s, folds))


def features_of_system(system: System) -> str:
    """The name of what systems compute from the same clips."""
    return system.learner if system.is_network else system.learner.split(":")[1]


def _fit_s(fold: Fold) -> float:
    system = fold.system
    if system.is_network:
        return fold.trained * (1 + system.copies) * system.epochs * EPOCH_MS.get(system.learner, 20.0) * WATCHED / 1000
    classifier, functionals, *preparation = system.learner.split(":")
    parts_ms = {
        "gradient_boosting": BOOSTING_MS * fold.emotions * FUNCTIONALS.get(functionals, 100),
        "genetic": GENETIC_MS * fold.trained,
        "selective_smote": SMOTE_MS * fold.emotions,
        "forward": 1000 * FORWARD_S,
    }
    return (fold.trained * FIT_MS.get(classifier, 0.1) + sum(parts_ms.get(name, 0.0) for name in (classifier, *preparation))) / 1000


def _trained_on(work: FoldWork) -> float:
    return _trained_of(work.clips["side"], work.system) if "side" in work.clips else RANDOM_SHARE * len(work.clips)


def _trained_of(side: pd.Series, system: System) -> int:
    return int(side.isin(("train",) if system.is_network else ("train", "calibration")).sum())


def _clips_of_size(name: str, speakers: int, emotions: int, clips: int) -> pd.DataFrame:
    numbers = np.arange(clips)
    columns = {
        "corpus": name,
        "file": [f"{name}/{number}.wav" for number in numbers],
        "speaker": [f"{number:03}" for number in numbers % speakers],
        "gender": None,
        "sentence": None,
        "emotion": np.array(EMOTIONS)[numbers // speakers % emotions],
        "digest": [f"{name}{number:06}" for number in numbers],
    }
    return pd.DataFrame(columns, dtype=object)
