"""The telephone's own set: log-mel levels at 8 kHz, independent of the recording's level."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_tasks.features.spectrum import Framing, MelBands
from ser_tasks.schemas import SAMPLING_RATE_HZ

FRAMING = Framing(SAMPLING_RATE_HZ, n_fft=256, hop=80)
SPREAD_DB = 10.0
"""The usual standard deviation of levels in telephone speech."""
EVENED = 0.7
"""How far a segment's own deviation is moved towards it, 0 to 1. Whispers and shouts differ in deviation, but so do voices and lines."""


def logmel8k(  # noqa: PLR0913 - the parameters of a feature set are those of its function
    signal: NDArray[np.float32],
    sampling_rate: int,
    lengths: NDArray[np.integer] | None = None,
    *,
    n_mels: int = 64,
    fmin_hz: float = 50.0,
    top_db: float = 60.0,
    subtract_mean: bool = True,
    per_band: bool = False,
) -> NDArray[np.float32]:
    """Levels in dB ``(channels, frames, n_mels)``, float32, of a float32 signal ``(channels, samples)``; a frame every 10 ms.

    There are ``n_mels`` bands from ``fmin_hz`` to 4,000 Hz; no level is more than ``top_db`` below the channel's highest. With
    ``subtract_mean`` the mean over all bands and frames is subtracted from each channel, so that a gain changes nothing. With
    ``per_band`` the mean over frames is subtracted from each band instead, and most of the difference in deviation is evened out:
    changes in time remain, while the long-term spectrum (Atal, 1974) and dynamics of the voice and the line have little effect.
    Signals at other rates are resampled to 8 kHz; one below 8 kHz has no speech in the upper bands. ``lengths``: as in `FeatureSet`;
    later frames are undefined.
    """
    nyquist_hz = SAMPLING_RATE_HZ / 2
    if n_mels < 1 or not 0 <= fmin_hz < nyquist_hz:
        raise ValueError(f"n_mels is {n_mels} and fmin_hz {fmin_hz}: at least 1 band from between 0 and {nyquist_hz:.0f} Hz.")
    bands = MelBands(n_mels, fmin_hz, nyquist_hz, of=n_mels)
    [levels] = FRAMING.levels_db(signal, sampling_rate, lengths, (bands, top_db))
    for row, length in zip(levels.db, levels.frames.tolist(), strict=True):
        row[:length] = _normalised(row[:length], subtract_mean, per_band)
    return levels.db


def bands_db(features: NDArray[np.float32], params: dict[str, Any]) -> NDArray[np.float32]:
    """Levels of the bands in dB, up to a constant of the clip: the features ``(frames, features)`` themselves."""
    return features


def of_bands_db(bands: NDArray[np.float32], params: dict[str, Any]) -> NDArray[np.float32]:
    """Features of levels in dB ``(frames, bands)``."""
    return _normalised(bands, params["subtract_mean"], params["per_band"])


def _normalised(level_db: NDArray[np.float32], subtract_mean: bool, per_band: bool) -> NDArray[np.float32]:
    if per_band:
        level_db = level_db - level_db.mean(axis=0)
        return level_db * np.float32((SPREAD_DB / max(float(level_db.std()), 1.0)) ** EVENED)
    return level_db - level_db.mean() if subtract_mean else level_db
