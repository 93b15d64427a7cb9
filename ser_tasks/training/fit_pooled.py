"""Training of models on pooled states: the states of all clips once, then logistic regression, which has one best solution."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax

from ser_tasks.models import PooledLinear
from ser_tasks.training.fit import Examples, share_weights
from ser_tasks.training.recipe import Recipe

SMALLEST_SCALE = 1e-3
MOST_ITERATIONS = 200


@dataclass(frozen=True)
class Standardised:
    """States of clips and of their copies, standardised as those of a line are."""

    x: np.ndarray
    """Float32 ``(examples, n_pooled)``."""
    truth: np.ndarray
    weights: np.ndarray
    """``(examples,)``, as truth."""
    mean: np.ndarray
    """Of all corpora and shares, float64 ``(n_pooled,)``, as scale."""
    scale: np.ndarray


def fit_pooled(module: PooledLinear, examples: Examples, neutral: int | None, recipe: Recipe) -> float:
    """Fits the logits' weights and the statistics of the line to the examples' clips; returns the loss.

    The weights minimise the mean cross-entropy, with ``examples.shares`` as weights of clips, plus ``recipe.ridge / 2`` times their
    squares. The statistics of the line are those over all corpora and shares.
    """
    given = standardise(examples, neutral, recipe)
    coefficients, bias, loss = logistic_regression(given.x, given.truth, given.weights, examples.n_classes, recipe.ridge)
    with torch.no_grad():
        module.logits.weight.copy_(torch.from_numpy(coefficients))
        module.logits.bias.copy_(torch.from_numpy(bias))
        module.line_mean.copy_(torch.from_numpy(given.mean))
        module.line_scale.copy_(torch.from_numpy(given.scale))
    return loss


def standardise(examples: Examples, neutral: int | None, recipe: Recipe) -> Standardised:
    """The examples' states by the mean and deviation of each clip's corpus, as calls are by those of their line.

    As it is not known how neutral the calls of a line are, each clip is given once with each of ``recipe.neutral_shares``: the statistics
    are those of its corpus with that share of neutral clips. The weights of a regression then depend little on the share, which was
    measured to be better than to estimate it. ``neutral`` is that class, or None. Noisy copies are standardised as their clips, with the
    shares by turns: the line's statistics are of clean calls, and what noise does to states must not matter.
    """
    assert examples.pool.states is not None
    truth, shares = examples.truth, recipe.neutral_shares
    copies = [copy[examples.clips] for copy in examples.pool.states]
    corpora = examples.corpora
    given = [(copies[0], number) for number in range(len(shares))] + [
        (copy, number % len(shares)) for number, copy in enumerate(copies[1:])
    ]
    standardised = np.empty((len(given), *copies[0].shape), np.float32)
    weights, means, scales = [], [], []
    for corpus in np.unique(corpora):
        members = corpora == corpus
        statistics = [reference_statistics(copies[0][members].astype(np.float64), truth[members], neutral, share) for share in shares]
        for row, (states, number) in zip(standardised, given, strict=True):
            mean, scale = statistics[number]
            row[members] = (states[members] - mean) / scale
        weights += [examples.shares[members].sum()] * len(shares)
        means += [mean for mean, _ in statistics]
        scales += [scale for _, scale in statistics]
    line_mean = np.average(means, axis=0, weights=weights)
    return Standardised(
        standardised.reshape(-1, standardised.shape[-1]),
        np.tile(truth, len(given)),
        np.tile(examples.shares, len(given)),
        line_mean,
        np.sqrt(np.average(np.square(scales) + np.square(means - line_mean), axis=0, weights=weights)),
    )


def reference_statistics(states: np.ndarray, truth: np.ndarray, neutral: int | None, neutral_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation float64 ``(n_pooled,)`` of clips weighted so that ``neutral_share`` of them are neutral."""
    weights = share_weights(truth, neutral, neutral_share)
    mean = weights @ states
    return mean, np.maximum(np.sqrt(weights @ np.square(states - mean)), SMALLEST_SCALE)


def logistic_regression(
    x: np.ndarray,
    truth: np.ndarray,
    weights: np.ndarray,
    n_classes: int,
    ridge: float,
    around: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Coefficients ``(n_classes, n)`` and biases ``(n_classes,)`` of multinomial logistic regression on ``x (clips, n)``, and the loss.

    ``ridge / 2`` times the squared coefficients is added to the mean cross-entropy or, with ``around``, the squared differences of
    coefficients and biases from these, which is the maximum a posteriori under a normal prior around them. Classes that no clip has then
    stay as they are. Products with ``x`` are computed in its precision.
    """
    target, weights = np.eye(n_classes)[truth], weights / weights.sum()
    n_coefficients = n_classes * x.shape[1]
    prior, biases_too, present = np.zeros((n_classes, x.shape[1])), 0.0, np.arange(n_classes)
    start = np.zeros(n_coefficients + n_classes)
    if around is not None:
        prior, biases_too, present = around[0].astype(np.float64), 1.0, np.unique(truth)
        start = np.concatenate([prior.ravel(), around[1].astype(np.float64)])
    prior_bias = start[n_coefficients:].copy()

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        coefficients, bias = flat[:n_coefficients].reshape(n_classes, -1), flat[n_coefficients:]
        logits = x @ coefficients.T.astype(x.dtype) + bias
        logs = log_softmax(logits[:, present], axis=1)
        errors = np.zeros_like(target)
        errors[:, present] = (np.exp(logs) - target[:, present]) * weights[:, None]
        away, away_bias = coefficients - prior, biases_too * (bias - prior_bias)
        gradient = np.concatenate([(errors.T.astype(x.dtype) @ x + ridge * away).ravel(), errors.sum(axis=0) + ridge * away_bias])
        penalty = ridge / 2 * (np.square(away).sum() + np.square(away_bias).sum())
        return -(weights @ (target[:, present] * logs).sum(axis=1)) + penalty, gradient

    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": MOST_ITERATIONS})
    return found.x[:n_coefficients].reshape(n_classes, -1), found.x[n_coefficients:], float(found.fun)
