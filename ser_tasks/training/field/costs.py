"""How much CPU time folds of the field take, before they are run."""

import pandas as pd

from ser_tasks.training.field.folds import FoldWork
from ser_tasks.training.field.rows import System

EPOCH_MS = {
    "mean_cnn": 0.5,
    "two_way_dense": 0.6,
    "lstm": 1.0,
    "cnn_lstm": 1.2,
    "cnn": 8.5,
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
FIT_MS = {"random_forest": 3.2, "gradient_boosting": 13.0, "svm": 0.4, "mlp": 5.0}
"""CPU milliseconds to fit a classifier to one clip of some 100 functionals; 0.1 of others."""
PREPARE_MS = {"selective_smote": 3.0, "genetic": 1.2, "forward": 30.0}
"""CPU milliseconds of a preparation, for one clip."""
FEATURES_MS = {"egemaps": 44.0, "is10": 34.0, "mfcc_wavelet_pitch": 12.0}
"""CPU milliseconds of the features of one clip of 2 s; 5 of others."""


def cpu_s(works: list[FoldWork]) -> float:
    """CPU seconds of the folds and of their features, where these were not computed before. A fold that is given twice counts once."""
    works = list({work.file: work for work in works}.values())
    corpora = {(features_of_system(work.system), work.clips["corpus"].iloc[0]): work for work in works}.values()
    return sum(_features_s(work) for work in corpora) + sum(_fit_s(work) for work in works)


def features_of_system(system: System) -> str:
    """The name of what systems compute from the same clips."""
    return system.learner if system.is_network else system.learner.split(":")[1]


def _features_s(work: FoldWork) -> float:
    return len(work.clips) * (1 + work.system.copies) * FEATURES_MS.get(features_of_system(work.system), 5.0) / 1000


def _fit_s(work: FoldWork) -> float:
    clips, system = _trained_on(work.clips, work.system), work.system
    if system.is_network:
        return clips * (1 + system.copies) * system.epochs * EPOCH_MS.get(system.learner, 20.0) * WATCHED / 1000
    classifier, _, *preparation = system.learner.split(":")
    return clips * (FIT_MS.get(classifier, 0.1) + sum(PREPARE_MS.get(name, 0.0) for name in preparation)) / 1000


def _trained_on(clips: pd.DataFrame, system: System) -> float:
    if "side" not in clips:
        return 0.8 * len(clips)
    return int(clips["side"].isin(("train",) if system.is_network else ("train", "calibration")).sum())
