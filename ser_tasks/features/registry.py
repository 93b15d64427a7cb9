"""The registry of feature sets, and the features of many segments at once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_tasks.features import (
    logmel8k,
    mdre40,
    mel32,
    mel112,
    mfcc40,
    pitch_formants,
    short_term34,
    vector162,
    vector180,
    wave16k,
    wavelet_packet,
    whisper80,
)
from ser_tasks.features.spectrum import Framing

GROUP_S = 128.0
"""Seconds of audio computed at once, some 30 MB in memory."""

Params = dict[str, Any]
"""Parameters of a feature set, by name."""


@dataclass(frozen=True)
class FeatureSet:
    """A function of a float32 signal ``(channels, samples)`` that returns float32 features ``(channels, frames, features)``.

    It is called as ``function(signal, sampling_rate, lengths=None, **params)``. ``lengths`` are the numbers of samples that count in
    each channel; zeros follow them. ``version`` rises with every change of the values.
    """

    name: str
    version: int
    function: Callable[..., NDArray[np.float32]]
    framing: Framing
    size_param: str | int
    """The parameter that sets the number of features, or that number."""
    bands_db: Callable[[NDArray[np.float32], Params], NDArray[np.float32]] | None = None
    """Features -> levels of bands in dB, both ``(frames, ...)``. Sounds are mixed there; `of_bands_db` is the way back. None: features
    that are no levels of bands, in which sounds can't be mixed."""
    of_bands_db: Callable[[NDArray[np.float32], Params], NDArray[np.float32]] | None = None
    scaled: bool = False
    """Whether values have a mean of about 0 and a deviation of about 1 by definition: a bundle then does not normalise them."""
    words: bool = False
    """Whether the last feature is the number of a word (``place_words``), which is not normalised; signals alone leave it 0."""
    samples: bool = False
    """Whether values are the samples themselves, which only pretrained encoders read."""
    params: MappingProxyType[str, Any] = field(init=False)
    """Parameters and their defaults, from the function's signature."""

    def __post_init__(self) -> None:
        defaults = {name: p.default for name, p in signature(self.function).parameters.items()}
        for name in ("signal", "sampling_rate", "lengths"):
            del defaults[name]
        object.__setattr__(self, "params", MappingProxyType(defaults))

    @property
    def hop_s(self) -> float:
        """Seconds from one frame to the next."""
        return self.framing.hop / self.framing.sampling_rate_hz

    def frames(self, n_samples: int, sampling_rate: int) -> int:
        """Number of frames of ``n_samples`` at ``sampling_rate`` Hz."""
        return self.framing.frames(n_samples, sampling_rate)

    def n_features(self, params: Params) -> int:
        """Features in a frame with ``params``, which may omit defaults."""
        complete = self.complete(params)
        return int(complete[self.size_param]) if isinstance(self.size_param, str) else self.size_param

    def complete(self, params: Params) -> Params:
        """``params`` with the defaults filled in. Raises ``ValueError`` for an unknown parameter."""
        if unknown := sorted(params.keys() - self.params.keys()):
            raise ValueError(f"Feature set {self.name} has no parameter {', '.join(unknown)}: it has {', '.join(self.params)}.")
        return {**self.params, **params}


FEATURE_SETS: dict[str, FeatureSet] = {
    entry.name: entry
    for entry in (
        FeatureSet("mfcc40", 2, mfcc40.mfcc40, mfcc40.FRAMING, "n_mfcc", mfcc40.bands_db, mfcc40.of_bands_db),
        FeatureSet("logmel8k", 1, logmel8k.logmel8k, logmel8k.FRAMING, "n_mels", logmel8k.bands_db, logmel8k.of_bands_db),
        FeatureSet("mel32", 1, mel32.mel32, mel32.FRAMING, "n_mels", mel32.bands_db, mel32.of_bands_db, scaled=True),
        FeatureSet(
            "whisper80", 1, whisper80.whisper80, whisper80.FRAMING, "n_mels", whisper80.bands_db, whisper80.of_bands_db, scaled=True
        ),
        FeatureSet("mel112", 1, mel112.mel112, mel112.FRAMING, "n_mels", mel112.bands_db, mel112.of_bands_db, scaled=True),
        FeatureSet("vector162", 1, vector162.vector162, vector162.FRAMING, vector162.SIZE),
        FeatureSet("vector180", 1, vector180.vector180, vector162.FRAMING, vector180.SIZE),
        FeatureSet("mdre40", 1, mdre40.mdre40, mdre40.FRAMING, mdre40.SIZE, words=True),
        FeatureSet("wave16k", 1, wave16k.wave16k, wave16k.FRAMING, wave16k.SIZE, scaled=True, samples=True),
        FeatureSet("short_term34", 1, short_term34.short_term34, short_term34.FRAMING, short_term34.SIZE),
        FeatureSet("pitch_formants", 1, pitch_formants.pitch_formants, pitch_formants.FRAMING, pitch_formants.SIZE),
        FeatureSet(
            "wavelet_packet",
            1,
            wavelet_packet.wavelet_packet,
            wavelet_packet.FRAMING,
            wavelet_packet.SIZE,
            wavelet_packet.bands_db,
            wavelet_packet.of_bands_db,
        ),
    )
}


def feature_set(name: str) -> FeatureSet:
    """The feature set of this name. Raises ``ValueError`` for an unknown name."""
    if name not in FEATURE_SETS:
        raise ValueError(f"Feature set {name!r} is unknown: choose one of {', '.join(FEATURE_SETS)}.")
    return FEATURE_SETS[name]


def features_of(
    name: str, params: Params, segments: list[NDArray[np.float32]], sampling_rate: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features of all segments (1-D float32), one after the other, ``(total_frames, features)``, and the number of frames of each.

    The features of a segment do not depend on the other segments. A segment of one sample has one frame; a segment without samples
    raises ``ValueError``. A sample that is not finite makes only the features of its own segment not finite.
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
    """Indices in order of size, in groups that hold at most ``limit`` when padded to their largest; a larger one is alone."""
    groups: list[list[int]] = []
    for index in np.argsort(sizes, kind="stable").tolist():
        if groups and (len(groups[-1]) + 1) * sizes[index] <= limit:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
