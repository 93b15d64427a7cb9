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
QUANTILE = 1.96
"""Of the normal distribution, for intervals of 95 %."""
SMALLEST = 1e-6
TIE = 1e-9
"""Gains below this are rounding."""


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
    """Of the new bundle's UA minus the old one's, over other clips of the same callers."""
    callers_gaining: int
    """Of the callers, those of whom the new bundle classifies more right, each emotion with the same weight."""
    callers_losing: int

    @property
    def better(self) -> bool:
        """Whether the new bundle's UA is higher than chance among so many clips allows (the whole interval is above 0), and more callers
        gain than lose."""
        return self.gain_interval_95[0] > 0 and self.callers_gaining > self.callers_losing

    def summary(self) -> str:
        """Both bundles' figures, in one sentence."""

        def ranks(figures: Figures) -> str:
            return "" if figures.auc_anger is None else f", AUC of anger {figures.auc_anger:.3f}"

        low, high = self.gain_interval_95
        return (
            f"{self.new_id} has UA {self.new.ua:.3f}{ranks(self.new)} and {self.old_id} UA {self.old.ua:.3f}{ranks(self.old)} "
            f"on {self.clips} clips of {self.callers} held-out callers: a gain of {self.new.ua - self.old.ua:+.3f} "
            f"(95 % interval {low:+.3f} to {high:+.3f}; better is all above 0), with {self.callers_gaining} callers gaining and "
            f"{self.callers_losing} losing"
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
        lines = corpus_lines(clips, scorer, plan) if adapt and bundle.takes_lines else []
        scorer = scorer.on_lines(lines)
        probabilities = score_clips(scorer.placed(clips, clips_to_score(clips, [[]] * len(clips))), scorer, plan)[:, 0]
        scored.append(probabilities[:, [bundle.labels.index(label) for label in labels]])
    return compare_scores(clips, labels, scored[0], scored[1], bundles[0].model_id, bundles[1].model_id)


def compare_scores(clips: pd.DataFrame, labels: Sequence[str], old: np.ndarray, new: np.ndarray, old_id: str, new_id: str) -> Comparison:
    """The comparison of probabilities ``(clips, labels)`` of two bundles. ``clips`` needs corpus, speaker and emotion."""
    truth = clips["emotion"].map(list(labels).index).to_numpy()
    callers = np.unique(speaker_ids(clips), return_inverse=True)[1]
    figures = [_figures(truth, given, labels) for given in (old, new)]
    emotions, of_emotion, counts = np.unique(truth, return_inverse=True, return_counts=True)
    right = (new.argmax(axis=1) == truth).astype(float) - (old.argmax(axis=1) == truth)
    shares = right / counts[of_emotion] / len(emotions)  # of each clip in the gain of UA
    gain, variances = shares.sum(), [n * shares[of_emotion == emotion].var(ddof=min(1, n - 1)) for emotion, n in enumerate(counts)]
    reach = QUANTILE * float(np.sqrt(sum(variances)))
    of_caller = np.bincount(callers, shares)
    gaining, losing = int((of_caller > TIE).sum()), int((of_caller < -TIE).sum())
    interval = (float(gain - reach), float(gain + reach))
    return Comparison(old_id, new_id, figures[0], figures[1], len(clips), len(of_caller), interval, gaining, losing)


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
