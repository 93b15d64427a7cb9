"""Comparison of two bundles on labelled clips of callers whom neither of them heard: whether the new one is better."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from ser_tasks.datasets import read_corpora, speaker_ids
from ser_tasks.datasets.conditions import REFERENCE
from ser_tasks.evaluation.evaluate import ClipScorer, clips_to_score, corpus_lines, score_clips, used_in_training
from ser_tasks.evaluation.metrics import auc, ua
from ser_tasks.evaluation.plan import Plan
from ser_tasks.inference.bundle import load_bundle

LEAST_CALLERS = 5
"""Fewer held-out callers say nothing about others."""
INTERVAL = 0.95
"""Of the difference of UA."""
SMALLEST = 1e-6


class NotBetterError(Exception):
    """A new bundle is refused, as it is no better than the old one on held-out callers."""


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
    gain_interval_95: tuple[float, float]
    """Of the new bundle's UA minus the old one's, over callers: from the jackknife, with Student's quantiles, as callers may be few."""

    @property
    def better(self) -> bool:
        """Whether the new bundle's UA is higher, by more than chance among so many callers: the whole interval is above 0."""
        return self.gain_interval_95[0] > 0

    def summary(self) -> str:
        """Both bundles' figures, in one sentence."""

        def ranks(figures: Figures) -> str:
            return "" if figures.auc_anger is None else f", AUC of anger {figures.auc_anger:.3f}"

        low, high = self.gain_interval_95
        return (
            f"{self.new_id} has UA {self.new.ua:.3f}{ranks(self.new)} and {self.old_id} UA {self.old.ua:.3f}{ranks(self.old)} "
            f"on {self.clips} clips of {self.callers} held-out callers: a gain of {self.new.ua - self.old.ua:+.3f} "
            f"(95 % interval over callers {low:+.3f} to {high:+.3f}; better is all above 0)"
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


def compare_scores(clips: pd.DataFrame, labels: Sequence[str], old: np.ndarray, new: np.ndarray, old_id: str, new_id: str) -> Comparison:
    """The comparison of probabilities ``(clips, labels)`` of two bundles. ``clips`` needs corpus, speaker and emotion."""
    truth = clips["emotion"].map(list(labels).index).to_numpy()
    callers = np.unique(speaker_ids(clips), return_inverse=True)[1]
    figures = [_figures(truth, given, labels) for given in (old, new)]
    without = [_without_each(truth, callers, given) for given in (old, new)]
    interval = _jackknife_interval(figures[1].ua - figures[0].ua, without[1] - without[0])
    return Comparison(old_id, new_id, figures[0], figures[1], len(clips), int(callers.max()) + 1, interval)


def _without_each(truth: np.ndarray, callers: np.ndarray, given: np.ndarray) -> np.ndarray:
    """UA ``(callers,)`` of the clips of all callers but one."""
    total, hits = np.zeros((callers.max() + 1, given.shape[1])), np.zeros((callers.max() + 1, given.shape[1]))
    np.add.at(total, (callers, truth), 1)
    np.add.at(hits, (callers, truth), given.argmax(axis=1) == truth)
    with np.errstate(invalid="ignore"):  # an emotion may be that caller's alone
        recalls: np.ndarray = np.nanmean((hits.sum(axis=0) - hits) / (total.sum(axis=0) - total), axis=1)
    return recalls


def _jackknife_interval(estimate: float, without: np.ndarray) -> tuple[float, float]:
    """The interval of an estimate from those without each caller (Tukey, 1958)."""
    n = len(without)
    deviation = float(np.sqrt((n - 1) / n * np.square(without - without.mean()).sum()))
    reach = float(stats.t.ppf((1 + INTERVAL) / 2, n - 1)) * deviation
    return estimate - reach, estimate + reach


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
