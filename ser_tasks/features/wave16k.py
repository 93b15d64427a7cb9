"""The signal itself at 16 kHz, in rows of 20 ms, for encoders that start from samples."""

import numpy as np
from numpy.typing import NDArray

from ser_tasks.features.spectrum import Framing, resampled

FRAMING = Framing(16_000, n_fft=320, hop=320)
SIZE = FRAMING.hop
END = float(np.finfo(np.float32).max)
"""Stands where a signal has ended, in its last row."""


def wave16k(signal: NDArray[np.float32], sampling_rate: int, lengths: NDArray[np.integer] | None = None) -> NDArray[np.float32]:
    """Samples ``(channels, frames, 320)``, float32, of a float32 signal ``(channels, samples)``, resampled by soxr HQ.

    Row after row, they are the signal; after its last sample, its last row holds ``END``. ``lengths``: as in `FeatureSet`. A channel with
    a sample that is not finite has samples that are not finite.
    """
    lengths = np.full(len(signal), signal.shape[1]) if lengths is None else lengths
    samples = resampled(signal, lengths, sampling_rate, FRAMING.sampling_rate_hz)
    features = np.zeros((len(signal), FRAMING.frames(signal.shape[1], sampling_rate), SIZE), np.float32)
    for row, channel, length in zip(features, samples, lengths.tolist(), strict=True):
        new, frames = -(-length * FRAMING.sampling_rate_hz // sampling_rate), FRAMING.frames(length, sampling_rate)
        flat = row[:frames].reshape(-1)
        flat[:new], flat[new:] = channel[:new], END
    return features
