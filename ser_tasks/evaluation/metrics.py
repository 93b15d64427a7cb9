"""Metrics of labels and probabilities against the truth."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.metrics import accuracy_score, average_precision_score, recall_score

ECE_BINS = 15
LOW_AROUSAL = ("calm", "neutral", "sadness")
"""Against ``scores.AROUSED``; disgust is of either, and left out."""


def ua(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Unweighted accuracy: the mean of the recalls of the classes in ``truth``, 0 to 1."""
    truth, prediction = _paired(truth, prediction)
    return float(recall_score(truth, prediction, labels=np.unique(truth), average="macro"))


def wa(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Weighted accuracy: the share of correct predictions, 0 to 1."""
    return float(accuracy_score(*_paired(truth, prediction)))


def reliability(truth: ArrayLike, probabilities: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean confidence, accuracy and share of segments, each float64 ``(bins,)``, in 15 equal bins of confidence; empty bins are left out.

    ``truth`` are class indices ``(n,)``, ``probabilities`` is ``(n, classes)``.
    """
    truth, probabilities = _paired(truth, probabilities)
    if probabilities.ndim != 2:
        raise ValueError(f"Probabilities have shape {probabilities.shape}: one row a segment and one column a class are needed.")
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == truth
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    counts = np.bincount(bins, minlength=ECE_BINS)
    filled = counts > 0
    sums = [np.bincount(bins, weights=values, minlength=ECE_BINS)[filled] for values in (confidence, correct)]
    return sums[0] / counts[filled], sums[1] / counts[filled], counts[filled] / len(truth)


def ece(truth: ArrayLike, probabilities: ArrayLike) -> float:
    """Expected calibration error, 0 to 1, of class indices ``(n,)`` and probabilities ``(n, classes)``.

    The gap between mean confidence and accuracy in 15 equal bins of confidence, weighted by their counts (Guo et al., 2017).
    """
    confidence, accuracy, share = reliability(truth, probabilities)
    return float((np.abs(confidence - accuracy) * share).sum())


def auc(positive: ArrayLike, score: ArrayLike) -> float | None:
    """Area under the ROC curve: the probability that a positive has a higher score than a negative, ties counted half, 0 to 1.

    From the rank sum (Mann and Whitney, 1947): scikit-learn's takes twenty times as long, which counts where it is resampled.

    None where all are positive or all negative.
    """
    positive, score = _paired(positive, score)
    positive = positive.astype(bool)
    positives, pairs = positive.sum(), positive.sum() * (~positive).sum()
    return float((rankdata(score)[positive].sum() - positives * (positives + 1) / 2) / pairs) if pairs else None


def one_against_rest(truth: ArrayLike, probabilities: ArrayLike) -> tuple[list[float | None], list[float | None]]:
    """AUC and average precision of each class against all others, 0 to 1, of class indices ``(n,)`` and probabilities ``(n, classes)``.

    Average precision is the mean precision at the rank of each clip of the class (no interpolation); a random score has the share of the
    class. None for a class that no clip has, or that all have.
    """
    truth, probabilities = _paired(truth, probabilities)
    areas: list[float | None] = []
    precisions: list[float | None] = []
    for column in range(probabilities.shape[1]):
        positive = truth == column
        mixed = bool(positive.any() and not positive.all())
        areas.append(auc(positive, probabilities[:, column]))
        precisions.append(float(average_precision_score(positive, probabilities[:, column])) if mixed else None)
    return areas, precisions


def ccc(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Concordance correlation coefficient (Lin, 1989), -1 to 1: correlation, lowered by differences of mean and deviation.

    NaN where both are constant and equal.
    """
    truth, prediction = (values.astype(float) for values in _paired(truth, prediction))
    shared = 2 * np.mean((truth - truth.mean()) * (prediction - prediction.mean()))
    spread = truth.var() + prediction.var() + (truth.mean() - prediction.mean()) ** 2
    return float(shared / spread) if spread else float("nan")


def brier(truth: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared error of probabilities ``(n, classes)``, 0 to 1: over all of them, against 1 for the true class and 0 elsewhere.

    Brier's own score (1950) is the sum over classes: this times their number.
    """
    truth, probabilities = _paired(truth, probabilities)
    return float(np.mean((probabilities - np.eye(probabilities.shape[1])[truth]) ** 2))


def risk_coverage(truth: ArrayLike, probabilities: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and error ``(n,)`` when only the 1, 2, ..., n most confident are kept (El-Yaniv and Wiener, 2010)."""
    truth, probabilities = _paired(truth, probabilities)
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    wrong = (probabilities.argmax(axis=1) != truth)[order]
    kept = np.arange(1, len(truth) + 1)
    return kept / len(truth), np.cumsum(wrong) / kept


def _paired(truth: ArrayLike, prediction: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if len(truth) != len(prediction):
        raise ValueError(f"Truth and prediction differ in length: {len(truth)} != {len(prediction)}.")
    if not len(truth):
        raise ValueError("Truth and prediction are empty: at least 1 is needed.")
    return truth, prediction
