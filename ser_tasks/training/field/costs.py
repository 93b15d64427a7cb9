"""How much CPU time folds of the field take, before they are run."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ser_tasks.evaluation.plan import Plan
from ser_tasks.schemas import EMOTIONS
from ser_tasks.training.field.folds import FoldWork, folds_of_row
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
FEATURES_MS = {"egemaps": 44.0, "is10": 34.0, "mfcc_wavelet_pitch": 12.0}
"""CPU milliseconds of the features of one clip of 2 s; 5 of others."""


def cpu_s(works: list[FoldWork]) -> float:
    """CPU seconds of the folds and of their features, where these were not computed before. A fold that is given twice counts once."""
    corpora = {(features_of_system(work.system), work.clips["corpus"].iloc[0]): work for work in works}.values()
    return sum(_features_s(work) for work in corpora) + fitting_s(works)


def fitting_s(works: list[FoldWork]) -> float:
    """CPU seconds of the folds without their features. A fold that is given twice counts once."""
    return sum(_fit_s(work) for work in {work.file: work for work in works}.values())


def works_of_sizes(sizes: Mapping[str, Mapping[str, int]]) -> list[FoldWork]:
    """The folds of the whole field, but of rows that wait, on corpora of these ``speakers``, ``emotions`` and ``clips`` by name.

    Every speaker is taken to have as many clips of every emotion.
    """
    corpora = {name: _clips_of_size(name, **size) for name, size in sizes.items()}
    return [work for row in ROWS.values() if not row.waits for work in folds_of_row(row, corpora, Path(), Plan())]


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


def features_of_system(system: System) -> str:
    """The name of what systems compute from the same clips."""
    return system.learner if system.is_network else system.learner.split(":")[1]


def _features_s(work: FoldWork) -> float:
    return len(work.clips) * (1 + work.system.copies) * FEATURES_MS.get(features_of_system(work.system), 5.0) / 1000


def _fit_s(work: FoldWork) -> float:
    clips, system = _trained_on(work.clips, work.system), work.system
    if system.is_network:
        return clips * (1 + system.copies) * system.epochs * EPOCH_MS.get(system.learner, 20.0) * WATCHED / 1000
    classifier, functionals, *preparation = system.learner.split(":")
    emotions = work.clips["emotion"].nunique()
    parts_ms = {
        "gradient_boosting": BOOSTING_MS * emotions * FUNCTIONALS.get(functionals, 100),
        "genetic": GENETIC_MS * clips,
        "selective_smote": SMOTE_MS * emotions,
        "forward": 1000 * FORWARD_S,
    }
    return (clips * FIT_MS.get(classifier, 0.1) + sum(parts_ms.get(name, 0.0) for name in (classifier, *preparation))) / 1000


def _trained_on(clips: pd.DataFrame, system: System) -> float:
    if "side" not in clips:
        return 0.8 * len(clips)
    return int(clips["side"].isin(("train",) if system.is_network else ("train", "calibration")).sum())
