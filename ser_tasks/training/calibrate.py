"""Calibration: a temperature, and the confidence below which a label is unsure, from logits of speakers outside the training side."""

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from torch import nn

from ser_tasks.inference.bundle import ALL_UNSURE

TARGET_ERROR = 0.3
"""Default of the target error: the largest share of wrong labels among segments that are not unsure."""
MIN_COVERED = 20
"""Segments of the calibration speakers that must reach a threshold."""
RESAMPLES = 500
QUANTILE = 0.9
"""Share of the resamples of calibration speakers in which the error must not exceed the target."""
CANDIDATES = 200


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
