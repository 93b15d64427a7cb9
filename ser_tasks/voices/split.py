"""Which window is whose: the windows of one call, shared out among a known number of people.

A hidden Markov model has a state for each person. A window's vector is likely under a person by its cosine to their mean, and turns last:
the shorter the pause between two windows, the likelier the same person goes on (as in VBx, which differs in its prior: Landini, Profant,
Diez and Burget, 2022). It starts from three clusterings of scikit-learn and SciPy, and the likeliest result is kept.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ser_tasks.audio.vad import Span

Floats = NDArray[np.floating]
Ints = NDArray[np.intp]

SHARPNESS = 40.0
"""Log likelihood of a second of speech for each unit of cosine."""
SECONDS = (0.3, 2.0)
"""A window counts as so long, at least and at most."""
SAME_PERSON = ((0.15, 0.97), (0.4, 0.8), (np.inf, 0.6))
"""Probability that the same person goes on, after a pause shorter than so many seconds."""
ROUNDS = 10
CLUSTERED = 800
"""Windows that are clustered to start with, the longest ones: memory grows with their square."""


@dataclass(frozen=True)
class Split:
    """The people of a call, numbered from 0, in order of their windows."""

    person: Ints
    """Of each window, (windows,)."""
    certainty: Floats
    """Posterior probability of that person, (windows,)."""
    margin: Floats
    """Cosine to that person's mean, less that to the nearest other's, (windows,); 1 with one person."""
    separation: float
    """Mean margin, by seconds."""


def split(windows: list[Span], vectors: NDArray[np.float32], people: int) -> Split:
    """Shares out windows with their vectors (windows, n), of length 1, among ``people``, or as many as there are windows."""
    people = min(people, len(windows))
    if people < 2:
        return Split(np.zeros(len(windows), np.intp), np.ones(len(windows)), np.ones(len(windows)), 1.0)
    x = vectors.astype(np.float64)
    weights = np.clip([window.seconds for window in windows], *SECONDS)
    stays = _stays(windows)
    results = [_model(x, weights, stays, start, people) for start in _starts(x, weights, people)]
    posterior, _ = max(results, key=lambda result: result[1])
    person = posterior.argmax(axis=1)
    margin = margins(x, weights, person, people)
    return Split(person, posterior.max(axis=1), margin, float(np.average(margin, weights=weights)))


def margins(x: Floats, weights: Floats, person: Ints, people: int) -> Floats:
    """How far each window is from other people than its own: `Split.margin`."""
    cosines = x @ _means(x, np.eye(people)[person] * weights[:, None]).T
    own = cosines[np.arange(len(x)), person]
    cosines[np.arange(len(x)), person] = -np.inf
    margin: Floats = own - cosines.max(axis=1)
    return margin


def _starts(x: Floats, weights: Floats, people: int) -> list[Ints]:
    """Persons of all windows by three clusterings of the longest."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from sklearn.cluster import KMeans, SpectralClustering  # a second to load, for mono calls alone

    chosen = np.sort(np.argsort(-weights, kind="stable")[:CLUSTERED])
    part = x[chosen]
    starts = [
        fcluster(linkage(part, "average", metric="cosine"), people, "maxclust") - 1,
        KMeans(people, n_init=10, random_state=0).fit_predict(part, sample_weight=weights[chosen]),
    ]
    if len(part) > people + 1:
        similar = np.exp((part @ part.T - 1) * 5)
        starts.append(SpectralClustering(people, affinity="precomputed", random_state=0).fit_predict(similar))
    return [(x @ _means(part, np.eye(people)[start] * weights[chosen][:, None]).T).argmax(axis=1) for start in starts]


def _means(x: Floats, weights: Floats) -> Floats:
    """Directions of weighted means (people, n), of length 1."""
    means = weights.T @ x
    unit: Floats = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
    return unit


def _stays(windows: list[Span]) -> Floats:
    """Probability that each window but the first has the person of the one before, (windows - 1,)."""
    pauses_s = [(after.start - before.end) / 8000 for before, after in zip(windows, windows[1:], strict=False)]
    return np.array([next(probability for limit_s, probability in SAME_PERSON if pause_s < limit_s) for pause_s in pauses_s])


def _model(x: Floats, weights: Floats, stays: Floats, start: Ints, people: int) -> tuple[Floats, float]:
    """Posterior (windows, people) of the model after its rounds from one start, and its log likelihood."""
    posterior: Floats = np.eye(people)[start]
    likelihood = -np.inf
    for _ in range(ROUNDS):
        scores = SHARPNESS * weights[:, None] * (x @ _means(x, posterior * weights[:, None]).T)
        highest = scores.max(axis=1)
        posterior, chance = _forward_backward(np.exp(scores - highest[:, None]), stays)
        likelihood = float(highest.sum()) + chance
    return posterior, likelihood


def _forward_backward(emission: Floats, stays: Floats) -> tuple[Floats, float]:
    """Posterior (windows, people), and the log likelihood (Rabiner, 1989)."""
    count, people = emission.shape
    leaves = (1 - stays) / (people - 1)
    forward, scale = np.empty_like(emission), np.empty(count)
    state = np.full(people, 1 / people)
    for index in range(count):
        if index:
            state = state * stays[index - 1] + (1 - state) * leaves[index - 1]
        state = state * emission[index]
        scale[index] = state.sum()
        state = forward[index] = state / scale[index]
    backward = np.ones(people)
    posterior = forward.copy()
    for index in range(count - 2, -1, -1):
        after = backward * emission[index + 1]
        backward = after * stays[index] + (after.sum() - after) * leaves[index]
        backward = backward / backward.sum()
        posterior[index] *= backward
    return posterior / posterior.sum(axis=1, keepdims=True), float(np.log(scale).sum())
