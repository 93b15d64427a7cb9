"""Comparison of two bundles on labelled clips of callers whom neither of them heard: whether the new one is better."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ser_tasks.datasets import read_corpora, speaker_ids
from ser_tasks.datasets.conditions import REFERENCE
from ser_tasks.evaluation.evaluate import ClipScorer, clips_to_score, corpus_lines, score_clips, used_in_training
from ser_tasks.evaluation.metrics import auc, ua
from ser_tasks.evaluation.plan import Plan
from ser_tasks.inference.bundle import load_bundle

LEAST_CALLERS = 5
"""Fewer held-out callers say nothing about others."""
SURE = 0.95
"""Share of the resamples of callers in which the new bundle's UA must be higher."""
RESAMPLES = 2000
SMALLEST = 1e-6


@dataclass(frozen=True)
class Figures:
    """Of one bundle on the held-out clips, at equal base rates."""

    ua: float
    """Mean recall of the emotions that the clips have, 0 to 1."""
    log_loss: float
    """Mean of ``-log p`` of the true emotion in nats; each emotion has the same weight."""
    auc_anger: float | None
    """Of anger against the rest; None where the clips have only one of the two."""


@dataclass(frozen=True)
class Comparison:
    """Two bundles on the same clips of callers whom neither heard."""

    old_id: str
    new_id: str
    old: Figures
    new: Figures
    clips: int
    callers: int
    share_better: float
    """Of resamples of the callers (paired bootstrap), those in which the new bundle's UA is the higher one, 0 to 1."""

    @property
    def better(self) -> bool:
        """Whether the new bundle's UA is higher, by more than a few callers could bring about (``SURE``)."""
        return self.new.ua > self.old.ua and self.share_better >= SURE

    def summary(self) -> str:
        """Both bundles' figures, in one sentence."""

        def ranks(figures: Figures) -> str:
            return "" if figures.auc_anger is None else f", AUC of anger {figures.auc_anger:.3f}"

        return (
            f"{self.new_id} has UA {self.new.ua:.3f}{ranks(self.new)} and {self.old_id} UA {self.old.ua:.3f}{ranks(self.old)} "
            f"on {self.clips} clips of {self.callers} held-out callers; higher in {self.share_better:.0%} of resamples of the callers"
        )


def compare_bundles(old: str, new: str, data: list[Path], plan: Plan | None = None, *, adapt: bool = True) -> Comparison:
    """Scores two bundles (shipped names, folders or ``s3://...``) on the clips in ``data`` of callers whom neither was trained on.

    Clips are brought to telephone quality. With ``adapt``, a bundle that takes line profiles is standardised by the clips of each corpus,
    without their labels, where these are enough; otherwise it is scored raw. Emotions that are not labels of both bundles are left out.
    Raises ValueError where no emotion is common, and where fewer than ``LEAST_CALLERS`` callers are left.
    """
    plan = plan or Plan()
    bundles = [load_bundle(old), load_bundle(new)]
    labels = [label for label in bundles[0].labels if label in bundles[1].labels]
    if len(labels) < 2:
        raise ValueError(f"{bundles[0].model_id} and {bundles[1].model_id} have fewer than two emotions in common: compare others.")
    clips = pd.concat([corpus.clips for corpus in read_corpora(data)], ignore_index=True)
    heard = used_in_training(clips, bundles[0]) | used_in_training(clips, bundles[1])
    clips = clips[~heard & clips["emotion"].isin(labels)].reset_index(drop=True)
    require_callers(clips, f"neither {bundles[0].model_id} nor {bundles[1].model_id} was trained on")
    scored = []
    for uri, bundle in zip((old, new), bundles, strict=True):
        scorer = ClipScorer(uri, bundle.model_id, plan.device, [REFERENCE], plan.seed)
        lines = corpus_lines(clips, scorer, plan) if adapt and bundle.line_model is not None else []
        scorer = scorer.on_lines(lines)
        probabilities = score_clips(scorer.placed(clips, clips_to_score(clips, [[]] * len(clips))), scorer, plan)[:, 0]
        scored.append(probabilities[:, [bundle.labels.index(label) for label in labels]])
    return compare_scores(clips, labels, scored[0], scored[1], bundles[0].model_id, bundles[1].model_id)


def compare_scores(
    clips: pd.DataFrame, labels: Sequence[str], old: np.ndarray, new: np.ndarray, old_id: str, new_id: str, seed: int = 0
) -> Comparison:
    """The comparison of probabilities ``(clips, labels)`` of two bundles. ``clips`` needs corpus, speaker and emotion."""
    truth = clips["emotion"].map(list(labels).index).to_numpy()
    callers = np.unique(speaker_ids(clips), return_inverse=True)[1]
    cells = (callers.max() + 1, len(labels))
    total = np.zeros(cells)
    np.add.at(total, (callers, truth), 1)
    drawn = np.random.default_rng(seed).multinomial(cells[0], np.full(cells[0], 1 / cells[0]), size=RESAMPLES)
    recalls = []
    for given in (old, new):
        hits = np.zeros(cells)
        np.add.at(hits, (callers, truth), given.argmax(axis=1) == truth)
        with np.errstate(invalid="ignore"):  # an emotion may be missing in a resample, of both bundles alike
            recalls.append(np.nanmean((drawn @ hits) / (drawn @ total), axis=1))
    share_better = float((recalls[1] > recalls[0] + 1e-12).mean())
    return Comparison(old_id, new_id, _figures(truth, old, labels), _figures(truth, new, labels), len(clips), cells[0], share_better)


def require_callers(clips: pd.DataFrame, whom: str) -> None:
    """Raises ValueError where the clips are of fewer than ``LEAST_CALLERS`` callers; ``whom`` says of which kind."""
    callers = speaker_ids(clips).nunique()
    if callers < LEAST_CALLERS:
        raise ValueError(
            f"{callers} callers whom {whom} are too few to compare on: {LEAST_CALLERS} are needed. Label calls of more callers."
        )


def _figures(truth: np.ndarray, given: np.ndarray, labels: Sequence[str]) -> Figures:
    own = np.maximum(given[np.arange(len(truth)), truth] / given.sum(axis=1), SMALLEST)
    loss = float(np.mean([-np.log(own[truth == label]).mean() for label in np.unique(truth)]))
    ranks = auc(truth == list(labels).index("anger"), given[:, list(labels).index("anger")]) if "anger" in labels else None
    return Figures(ua(truth, given.argmax(axis=1)), loss, ranks)
