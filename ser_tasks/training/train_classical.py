"""Training of a classical system: labelled clips → a scikit-learn pipeline on functionals, and its scores on unseen speakers."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ser_tasks.datasets import read_corpora, speaker_ids
from ser_tasks.evaluation.evaluate import Evaluation
from ser_tasks.evaluation.plan import Plan
from ser_tasks.training.baselines import BaselineSpec, fitted_baseline
from ser_tasks.training.cross_validation import Folding, evaluate_across

CLASSIFIER = "classifier.pickle"
MOST_FOLDS = 6


@dataclass(frozen=True)
class ClassicalTraining:
    """What a training made."""

    file: Path
    """The fitted pipeline: predicts indices of the labels from functionals. Like any pickle, it runs code of whoever wrote it."""
    evaluation: Evaluation
    """By cross-validation over speakers."""


def train_classical(data: list[Path], spec: BaselineSpec, out: Path, plan: Plan, folds: int = 0) -> ClassicalTraining:
    """Fits a baseline to all clips of its labels in the folders ``data`` and writes it into the folder ``out``. It makes no bundle.

    Its scores are those of a cross-validation by speaker with that many folds; 0: six, or as many as there are speakers. Raises
    ``FileExistsError`` where ``out`` exists, and ``ValueError`` where a label is on no clip and where sides of a fold leak.
    """
    if Path(out).exists():
        raise FileExistsError(f"{out} exists: name another folder, or remove it.")
    clips = pd.concat([corpus.clips for corpus in read_corpora(data)], ignore_index=True)
    if missing := sorted(set(spec.labels) - set(clips["emotion"])):
        raise ValueError(f"No clip has {', '.join(missing)}: give corpora that have it, or other labels.")
    speakers = speaker_ids(clips).nunique()
    folding = Folding(n_folds=folds) if folds else Folding("leave-one-speaker-out" if speakers < MOST_FOLDS else "k-fold", MOST_FOLDS)
    evaluation = evaluate_across(spec, data, plan, folding, robustness=False, beside_leaky=False)
    pipeline, _ = fitted_baseline(clips.assign(side="train"), spec, plan)
    Path(out).mkdir(parents=True)
    (out / CLASSIFIER).write_bytes(pickle.dumps(pipeline))
    return ClassicalTraining(out / CLASSIFIER, evaluation)
