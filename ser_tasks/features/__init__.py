"""Feature sets: one file a set, listed in ``FEATURE_SETS``. ``features_of`` computes one over many segments at once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from types import MappingProxyType

import numpy as np

from ser_tasks.features import logmel8k, mel32, mfcc40

GROUP_S = 32.0
"""Audio computed at once, seconds: some 20 MB in flight. From 8 to 64 s the speed of one core was measured to vary by 6 %."""


@dataclass(frozen=True)
class FeatureSet:
    """A function of a float32 signal ``(channels, samples)`` that gives float32 features ``(channels, frames, features)``.

    It is called as ``function(signal, sampling_rate, lengths=None, **params)``; ``lengths`` are the samples of each channel
    that count, what follows them is zero. ``version`` rises with every change of the values.
    """

    name: str
    version: int
    function: Callable[..., np.ndarray]
    frames: Callable[[int, int], int]
    """Frames of so many samples at a sampling rate in Hz."""
    size_param: str
    """The parameter that sets the number of features."""
    hop_s: float
    bands_db: Callable[[np.ndarray, dict], np.ndarray]
    """Levels of bands in dB of features, both ``(frames, ...)``, so that sounds can be added up; and back again: of_bands_db."""
    of_bands_db: Callable[[np.ndarray, dict], np.ndarray]
    scaled: bool = False
    """Whether values are about 0 and 1 in mean and deviation by definition: a bundle takes them as they are then."""
    params: MappingProxyType = field(init=False)
    """Parameters and their defaults, as the function states them."""

    def __post_init__(self):
        defaults = {name: p.default for name, p in signature(self.function).parameters.items()}
        for name in ("signal", "sampling_rate", "lengths"):
            del defaults[name]
        object.__setattr__(self, "params", MappingProxyType(defaults))

    def n_features(self, params: dict) -> int:
        """Features of a frame under ``params``, which may leave defaults out."""
        return self.complete(params)[self.size_param]

    def complete(self, params: dict) -> dict:
        """``params`` with the defaults filled in. An unknown parameter raises ``ValueError``."""
        if unknown := sorted(params.keys() - self.params.keys()):
            raise ValueError(f"Feature set {self.name} has no parameter {', '.join(unknown)}: it has {', '.join(self.params)}.")
        return {**self.params, **params}


FEATURE_SETS: dict[str, FeatureSet] = {
    name: FeatureSet(
        name, 1, getattr(file, name), file.frames, size_param, file.HOP / file.RATE_HZ, file.bands_db, file.of_bands_db, scaled
    )
    for name, file, size_param, scaled in (
        ("mfcc40", mfcc40, "n_mfcc", False),
        ("logmel8k", logmel8k, "n_mels", False),
        ("mel32", mel32, "n_mels", True),
    )
}


def feature_set(name: str) -> FeatureSet:
    """The feature set of that name. An unknown name raises ``ValueError``."""
    if name not in FEATURE_SETS:
        raise ValueError(f"Feature set {name!r} is unknown: choose one of {', '.join(FEATURE_SETS)}.")
    return FEATURE_SETS[name]


def features_of(name: str, params: dict, segments: list[np.ndarray], sampling_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of all segments (1-D float32), end to end: float32 ``(total_frames, features)``, and int64 frames of each.

    A segment's features are the same whatever it is computed with. One sample is enough for one frame; a segment without
    samples raises ``ValueError``. A sample that is not finite makes that segment's features not finite, and no other's.
    """
    chosen = feature_set(name)
    params = chosen.complete(params)
    for index, segment in enumerate(segments):
        if segment.ndim != 1 or not len(segment):
            raise ValueError(f"Segment {index} has shape {segment.shape}: a segment is one row of at least 1 sample.")
    lengths = np.array([chosen.frames(len(segment), sampling_rate) for segment in segments], np.int64)
    ends = np.cumsum(lengths)
    flat = np.empty((int(lengths.sum()), chosen.n_features(params)), np.float32)
    for group in _groups([len(segment) for segment in segments], int(GROUP_S * sampling_rate)):
        rows = np.zeros((len(group), len(segments[group[-1]])), np.float32)
        for row, index in zip(rows, group, strict=True):
            row[: len(segments[index])] = segments[index]
        features = chosen.function(rows, sampling_rate, np.array([len(segments[index]) for index in group]), **params)
        for row, index in zip(features, group, strict=True):
            flat[ends[index] - lengths[index] : ends[index]] = row[: lengths[index]]
    return flat, lengths


def _groups(sizes: list[int], limit: int) -> list[list[int]]:
    """Indices by rising size, in groups of at most ``limit`` when padded to the largest; a larger one alone."""
    groups: list[list[int]] = []
    for index in np.argsort(sizes, kind="stable").tolist():
        if groups and (len(groups[-1]) + 1) * sizes[index] <= limit:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
