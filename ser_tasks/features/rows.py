"""What feature sets share that compute one row of a signal after the other: exact lengths, centred frames, chroma filters."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ser_tasks.features.spectrum import Framing, resampled

Samples = NDArray[np.float32]


def row_by_row(
    features_of: Callable[[Samples], NDArray[np.floating]],
    signal: Samples,
    sampling_rate: int,
    lengths: NDArray[np.integer] | None,
    framing: Framing,
) -> NDArray[np.float32]:
    """Features ``(channels, frames, features)`` of a signal ``(channels, samples)``; later frames than ``lengths`` allows are 0.

    ``features_of`` takes one channel's samples alone, at the framing's rate, and returns ``(frames, features)``. A channel with a sample
    that is not finite has features that are NaN.
    """
    lengths = np.full(len(signal), signal.shape[1]) if lengths is None else lengths
    rows = []
    for channel, length in zip(signal, lengths.tolist(), strict=True):
        usable = bool(np.isfinite(channel[:length]).all())
        samples = channel[:length] if usable else np.zeros(length, np.float32)
        row = features_of(resampled(samples[None], np.array([length]), sampling_rate, framing.sampling_rate_hz)[0])
        rows.append(row if usable else np.full_like(row, np.nan))
    features = np.zeros((len(signal), framing.frames(signal.shape[1], sampling_rate), rows[0].shape[1]), np.float32)
    for into, row in zip(features, rows, strict=True):
        into[: len(row)] = row
    return features


def framed(samples: NDArray[np.floating], framing: Framing) -> NDArray[np.floating]:
    """Frames ``(frames, n_fft)`` centred on multiples of the hop, with zeros beyond the samples; as librosa's ``center=True``."""
    half = framing.n_fft // 2
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(samples, (half, framing.n_fft - half)), framing.n_fft)
    frames: NDArray[np.floating] = windows[:: framing.hop][: 1 + len(samples) // framing.hop]
    return frames


@lru_cache(maxsize=4)
def chroma_filters(framing: Framing) -> NDArray[np.float32]:
    """Weights ``(12, 1 + n_fft // 2)`` of the spectrum's bins in each of twelve pitch classes, tuned to A = 440 Hz."""
    import librosa

    filters: NDArray[np.float32] = librosa.filters.chroma(sr=framing.sampling_rate_hz, n_fft=framing.n_fft, tuning=0.0)
    return filters


@lru_cache(maxsize=4)
def window(name: str, samples: int) -> NDArray[np.float64]:
    """A periodic window ``(samples,)`` by SciPy's name for it."""
    from scipy.signal import get_window  # takes as long to load as all of NumPy and the rest of SciPy

    values: NDArray[np.float64] = get_window(name, samples)
    values.setflags(write=False)
    return values
