"""Calibration by speakers outside the training side: temperature, threshold of confidence, scores of anger and arousal, sets."""

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar
from scipy.special import logit, softmax
from sklearn.metrics import roc_auc_score
from torch import nn

from ser_tasks.inference.bundle import ALL_UNSURE
from ser_tasks.inference.scores import STRONGEST_LEAST_S, Platt, strongest

TARGET_ERROR = 0.3
"""Default of the target error: the largest share of wrong labels among segments that are not unsure."""
MIN_COVERED = 20
"""Segments of the calibration speakers that must reach a threshold."""
RESAMPLES = 500
QUANTILE = 0.9
"""Share of the resamples of calibration speakers in which the error must not exceed the target."""
CANDIDATES = 200
CAUTION = 1.45
"""By which a temperature found on unseen speakers of one corpus is multiplied: over EMO-DB, nEMO and RAVDESS, that of unseen corpora was
1.85 and that of unseen speakers 1.27."""
FOREIGN_TEMPERATURE = 1.85
"""Least temperature of models on pooled states that were trained on one corpus: that of unseen corpora was 1.8 to 1.9 whichever they were,
while the unseen speakers of an easy corpus ask for less than 1."""
SET_COVERAGE = 0.8
"""Least share of segments, of all emotions alike, whose set holds the true one."""
FOREIGN_SET_THRESHOLD = 0.18
"""Highest threshold of sets of models that were trained on one corpus: the one with which they covered ``SET_COVERAGE`` of corpora unlike
it. Unseen speakers of that corpus would ask for more than twice as much."""
ANGRY_CALLS = 0.1
"""Share of made-up calls with anger."""
MADE_UP_CALLS = 4000


def calibration(
    logits: np.ndarray, truth: np.ndarray, speakers: np.ndarray, weights: np.ndarray, target_error: float
) -> tuple[float, float]:
    """Temperature and threshold from logits ``(n, classes)`` of speakers outside the training side."""
    temperature = best_temperature(logits, truth, weights)
    return temperature, threshold(softmax(logits / temperature, axis=1), truth, weights, speakers, target_error)


def best_temperature(logits: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """The temperature, 0.05 to 20, that minimises the weighted cross-entropy of ``softmax(logits / temperature)`` (Guo et al., 2017)."""
    given, true, counts = torch.tensor(logits, dtype=torch.float64), torch.tensor(truth), torch.tensor(weights)

    def loss(log_temperature: float) -> float:
        losses = nn.functional.cross_entropy(given / np.exp(log_temperature), true, reduction="none")
        return float((losses * counts).sum() / counts.sum())

    return float(np.exp(minimize_scalar(loss, bounds=np.log((0.05, 20.0)), method="bounded").x))


def threshold(probabilities: np.ndarray, truth: np.ndarray, weights: np.ndarray, speakers: np.ndarray, target_error: float) -> float:
    """The lowest confidence at and above which at most ``target_error`` of the segments, by weight, have a wrong label.

    That must hold in 90 % of bootstrap resamples of the speakers, so that it holds for other speakers too, and at least 20 segments (half
    of them where there are fewer than 40) must reach it. Returns 1, with which every segment is unsure, where there is no such confidence.
    """
    confidence, wrong = probabilities.max(axis=1), probabilities.argmax(axis=1) != truth
    names, speaker = np.unique(speakers, return_inverse=True)
    drawn = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    enough = min(MIN_COVERED, len(truth) // 2)
    candidates = np.unique(np.quantile(confidence, np.linspace(0, 1, CANDIDATES), method="lower"))
    for candidate in candidates:
        covered = confidence >= candidate
        if covered.sum() < enough:
            break
        weight = np.bincount(speaker[covered], weights=weights[covered], minlength=len(names))
        weight_wrong = np.bincount(speaker[covered], weights=(weights * wrong)[covered], minlength=len(names))
        errors = (drawn @ weight_wrong) / np.maximum(drawn @ weight, 1e-12)
        if np.quantile(errors, QUANTILE) <= target_error:
            return float(candidate)
    return ALL_UNSURE


def platt(logits: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> Platt:
    """The calibration ``expit(slope * logit + intercept)`` that minimises the weighted cross-entropy, slope 0.01 to 20, and the AUC.

    ``logits`` and ``truth`` (0 or 1) ``(n,)``, of speakers outside the training side (Platt, 1999).
    """
    counts = weights / weights.sum()

    def loss(values: np.ndarray) -> float:
        margin = np.where(truth, 1, -1) * (np.exp(values[0]) * logits + values[1])
        return float(counts @ np.logaddexp(0, -margin))

    found = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[tuple(np.log((0.01, 20.0))), (-20.0, 20.0)]).x
    return Platt(float(np.exp(found[0])), float(found[1]), float(roc_auc_score(truth, logits, sample_weight=counts)))


def cautious(fitted: Platt, base_rate: float, caution: float) -> Platt:
    """The calibration with its logits ``caution`` times nearer to that of the base rate, for calls unlike the one corpus at hand."""
    base = float(logit(base_rate))
    return Platt(fitted.slope / caution, base + (fitted.intercept - base) / caution, fitted.auc)


def made_up_calls(logits: np.ndarray, anger: np.ndarray, neutral: np.ndarray, speakers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``strongest`` of made-up calls, and whether each holds at least 5 s of anger, as one call in ten does.

    A call has one speaker's segments, 12 to 48 of them of 1.5 to 5 s, 60 to 95 % neutral and the others of other emotions; 10 to 40 % of
    an angry call are anger, and at least 5 s. ``logits``, of anger, and the flags ``anger`` and ``neutral`` are ``(n,)``. Speakers without
    neutral speech or without anger are left out; empty arrays where no speaker is left.
    """
    rng, strength, angry = np.random.default_rng(0), [], []
    usable = [name for name in np.unique(speakers) if (neutral & (speakers == name)).any() and (anger & (speakers == name)).any()]
    for number in range(MADE_UP_CALLS if usable else 0):
        own = speakers == usable[number % len(usable)]
        kinds = {"anger": logits[own & anger], "neutral": logits[own & neutral], "other": logits[own & ~anger & ~neutral]}
        n_segments, is_angry = int(rng.integers(12, 49)), rng.random() < ANGRY_CALLS
        seconds = rng.uniform(1.5, 5.0, n_segments)
        n_angry = 0
        if is_angry:
            n_angry = max(round(rng.uniform(0.1, 0.4) * n_segments), 1 + int(np.searchsorted(np.cumsum(seconds), STRONGEST_LEAST_S)))
        n_other = round((1 - rng.uniform(0.6, 0.95)) * (n_segments - n_angry)) if len(kinds["other"]) else 0
        counts = {"anger": n_angry, "other": n_other, "neutral": n_segments - n_angry - n_other}
        drawn = np.concatenate([rng.choice(kinds[kind], count) for kind, count in counts.items() if count])
        strength.append(strongest(drawn, seconds, np.cumsum(seconds) - seconds)[0])
        angry.append(is_angry)
    return np.array(strength), np.array(angry, bool)


def set_threshold(probabilities: np.ndarray, truth: np.ndarray, weights: np.ndarray, groups: np.ndarray, coverage: float) -> float:
    """The highest probability that, in each of the groups, the share ``coverage``, by weight, of the true emotions reaches.

    Split conformal sets with one threshold for all classes (Sadinle, Lei and Wasserman, 2019), with the finite-sample correction
    (n + 1) / n. Groups are corpora that differ: the worst of them decides, as calls may be like any of them. Thresholds of each class were
    tried: they follow the rare errors of the speakers at hand, and held on fewer other corpora.
    """
    given, thresholds = probabilities[np.arange(len(truth)), truth], []
    for group in np.unique(groups):
        own, counts = given[groups == group], weights[groups == group]
        order = np.argsort(-own, kind="stable")
        wanted = min(1.0, coverage * (len(own) + 1) / len(own))
        reached = np.cumsum(counts[order]) / counts.sum()
        thresholds.append(own[order][min(int(np.searchsorted(reached, wanted - 1e-12)), len(own) - 1)])
    return float(min(thresholds))


def set_scores(probabilities: np.ndarray, truth: np.ndarray, weights: np.ndarray, threshold: float) -> dict[str, float | None]:
    """How useful the sets of emotions of at least ``threshold`` are; shares by weight, None of nothing.

    ``coverage`` of segments have their true emotion in their set. ``one_emotion`` have one emotion in it, and ``one_wrong`` of these a
    wrong one. The sets of ``sure`` say something, and ``sure_missed`` of these lack the true emotion.
    """
    sets, labels = probabilities >= threshold, probabilities.shape[1]
    hit, size = sets[np.arange(len(truth)), truth], sets.sum(axis=1)
    one, sure = size == 1, (size > 0) & (size <= labels / 2)

    def share(of_it: np.ndarray, among: np.ndarray) -> float | None:
        whole = float(weights @ among)
        return round(float(weights @ (of_it & among)) / whole, 4) if whole else None

    every = np.ones(len(truth), bool)
    return {
        "coverage": share(hit, every),
        "one_emotion": share(one, every),
        "one_wrong": share(~hit, one),
        "sure": share(sure, every),
        "sure_missed": share(~hit, sure),
    }
