"""The telephone's own set: log-mel levels at 8 kHz, with the recording's level taken out."""

import numpy as np

from ser_tasks.features.spectrum import decibels, mel_power, resampled

RATE_HZ = 8000
N_FFT = 256
HOP = 80
SPREAD_DB = 10.0
"""Standard deviation of levels in running telephone speech, roughly."""
EVENED = 0.7
"""How much of the way a segment's own deviation is brought to it: whispers and shouts differ in it, but so do voices and lines."""


def logmel8k(
    signal: np.ndarray,
    sampling_rate: int,
    lengths: np.ndarray | None = None,
    n_mels: int = 64,
    fmin_hz: float = 50.0,
    top_db: float = 60.0,
    subtract_mean: bool = True,
    per_band: bool = False,
) -> np.ndarray:
    """Levels in dB ``(channels, frames, n_mels)``, float32, of a float32 signal ``(channels, samples)``.

    ``n_mels`` bands from ``fmin_hz`` to 4,000 Hz, no band lower than ``top_db`` below the channel's loudest. With
    ``subtract_mean`` the mean over all bands and frames is taken from each channel, so that a gain changes nothing. With
    ``per_band`` the mean over frames is taken from each band instead, and most of the difference in deviation is evened out: the
    voice's and the line's long-term spectrum (Atal, 1974) and dynamics then say little, what changes in time says it all.
    Signals at another rate than 8 kHz are resampled first; one below 8 kHz has no speech to hear in the upper bands.
    With ``lengths``, channel ``i`` holds ``lengths[i]`` samples, then zeros, and its frames past
    ``frames(lengths[i], sampling_rate)`` mean nothing.
    """
    if n_mels < 1 or not 0 <= fmin_hz < RATE_HZ / 2:
        raise ValueError(f"n_mels is {n_mels} and fmin_hz {fmin_hz}: at least 1 band from between 0 and {RATE_HZ // 2} Hz.")
    if lengths is None:
        lengths = np.full(len(signal), signal.shape[1])
    n_frames = np.array([frames(int(length), sampling_rate) for length in lengths])
    signal = resampled(signal, lengths, sampling_rate, RATE_HZ, margin=N_FFT // 2)
    power = mel_power(signal, n_frames, RATE_HZ, N_FFT, HOP, n_mels, fmin_hz, RATE_HZ / 2)
    level_db = decibels(power, n_frames, top_db).numpy()
    for row, length in zip(level_db, n_frames, strict=True):
        row[:length] = _normalised(row[:length], subtract_mean, per_band)
    return level_db


def frames(n_samples: int, sampling_rate: int) -> int:
    """Frames of ``n_samples`` at ``sampling_rate`` Hz: one every 80 samples at 8 kHz (10 ms), from the first."""
    return 1 + -(-n_samples * RATE_HZ // sampling_rate) // HOP


def bands_db(features: np.ndarray, params: dict) -> np.ndarray:
    """Levels in dB of the bands, up to a constant of the clip: what features ``(frames, features)`` are."""
    return features


def of_bands_db(bands: np.ndarray, params: dict) -> np.ndarray:
    """Features of levels in dB ``(frames, bands)``."""
    return _normalised(bands, params["subtract_mean"], params["per_band"])


def _normalised(level_db: np.ndarray, subtract_mean: bool, per_band: bool) -> np.ndarray:
    if per_band:
        level_db = level_db - level_db.mean(axis=0)
        return level_db * (SPREAD_DB / max(float(level_db.std()), 1.0)) ** EVENED
    return level_db - level_db.mean() if subtract_mean else level_db
