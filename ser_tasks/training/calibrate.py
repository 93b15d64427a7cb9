"""Calibration: logits of speakers that training did not hear → a temperature, and the confidence below which a label is unsure."""

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from torch import nn

from ser_tasks.inference.bundle import ALL_UNSURE

TARGET_ERROR = 0.3
"""Share of wrong labels among segments that are not unsure, at most, if nothing else is asked for."""
FEWEST_COVERED = 20
"""Segments that a threshold must leave covered on the calibration speakers to be believed."""
RESAMPLES = 500
BOUND = 0.9
"""Of so many resamples of the calibration speakers the error must be at most the target in this share."""
CANDIDATES = 200


def calibration(
    logits: np.ndarray, truth: np.ndarray, speakers: np.ndarray, weights: np.ndarray, target_error: float
) -> tuple[float, float]:
    """Temperature and threshold from logits ``(n, classes)`` of speakers that training did not hear."""
    temperature = best_temperature(logits, truth, weights)
    return temperature, threshold(softmax(logits / temperature, axis=1), truth, weights, speakers, target_error)


def best_temperature(logits: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """The temperature, 0.05 to 20, whose ``softmax(logits / temperature)`` has the least weighted cross-entropy (Guo et al., 2017)."""
    given, wanted, counts = torch.tensor(logits, dtype=torch.float64), torch.tensor(truth), torch.tensor(weights)

    def loss(log_temperature: float) -> float:
        losses = nn.functional.cross_entropy(given / np.exp(log_temperature), wanted, reduction="none")
        return float((losses * counts).sum() / counts.sum())

    return float(np.exp(minimize_scalar(loss, bounds=np.log((0.05, 20.0)), method="bounded").x))


def threshold(probabilities: np.ndarray, truth: np.ndarray, weights: np.ndarray, speakers: np.ndarray, target_error: float) -> float:
    """The lowest confidence from which at most ``target_error`` of the segments, by weight, are labelled wrongly, on other speakers too.

    That is: in 90 % of bootstrap resamples of the speakers. At least 20 segments (or half of fewer than 40) must be that sure. Where
    there is no such confidence it is 1: everything is unsure.
    """
    confidence, wrong = probabilities.max(axis=1), probabilities.argmax(axis=1) != truth
    names, own = np.unique(speakers, return_inverse=True)
    drawn = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    enough = min(FEWEST_COVERED, len(truth) // 2)
    candidates = np.unique(np.quantile(confidence, np.linspace(0, 1, CANDIDATES), method="lower"))
    for candidate in candidates:
        covered = confidence >= candidate
        if covered.sum() < enough:
            break
        kept = np.bincount(own[covered], weights=weights[covered], minlength=len(names))
        lost = np.bincount(own[covered], weights=(weights * wrong)[covered], minlength=len(names))
        errors = (drawn @ lost) / np.maximum(drawn @ kept, 1e-12)
        if np.quantile(errors, BOUND) <= target_error:
            return float(candidate)
    return ALL_UNSURE
