"""What the speaker encoder in ``models/ge2e.py`` hears: its own mel bands, as far as the telephone carries them."""

import numpy as np

from ser_tasks.features.spectrum import decibels, mel_power, resampled

RATE_HZ = 8000
N_FFT = 200
HOP = 80
CENTRE_DB = -25.0
SPREAD_DB = 15.0
"""Levels below a segment's mean power are, in telephone speech, about -25 dB with a standard deviation of 15: as features about 0 and 1."""


def mel32(
    signal: np.ndarray,
    sampling_rate: int,
    lengths: np.ndarray | None = None,
    n_mels: int = 32,
    top_db: float = 70.0,
) -> np.ndarray:
    """Levels ``(channels, frames, n_mels)``, float32, of a float32 signal ``(channels, samples)``, in steps of 15 dB about -25 dB.

    The bands are the lowest ``n_mels`` of 40 from 0 to 8,000 Hz; 32 begin below 4,000 Hz. 0 dB is the channel's mean power over bands
    and frames, so that a gain changes nothing; no band is lower than ``top_db`` below the channel's loudest. Signals at another rate
    than 8 kHz are resampled first. With ``lengths``, channel ``i`` holds ``lengths[i]`` samples, then zeros, and its frames past
    ``frames(lengths[i], sampling_rate)`` mean nothing.
    """
    if not 1 <= n_mels <= 32:
        raise ValueError(f"n_mels is {n_mels}: from 1 to 32 bands begin below 4,000 Hz.")
    if lengths is None:
        lengths = np.full(len(signal), signal.shape[1])
    n_frames = np.array([frames(int(length), sampling_rate) for length in lengths])
    signal = resampled(signal, lengths, sampling_rate, RATE_HZ, margin=N_FFT // 2)
    power = mel_power(signal, n_frames, RATE_HZ, N_FFT, HOP, 40, 0.0, 2 * RATE_HZ / 2)[:, :, :n_mels].contiguous()
    level_db = decibels(power, n_frames, top_db).numpy()
    for row, length in zip(level_db, n_frames, strict=True):
        row[:length] = _levelled(row[:length])
    return level_db


def frames(n_samples: int, sampling_rate: int) -> int:
    """Frames of ``n_samples`` at ``sampling_rate`` Hz: one every 80 samples at 8 kHz (10 ms), from the first."""
    return 1 + -(-n_samples * RATE_HZ // sampling_rate) // HOP


def bands_db(features: np.ndarray, params: dict) -> np.ndarray:
    """Levels in dB of the bands, up to a constant of the clip, of features ``(frames, features)``."""
    return features * SPREAD_DB + CENTRE_DB


def of_bands_db(bands: np.ndarray, params: dict) -> np.ndarray:
    """Features of levels in dB ``(frames, bands)``."""
    return _levelled(bands)


def _levelled(level_db: np.ndarray) -> np.ndarray:
    mean_db = 10 * np.log10(np.mean(10 ** (level_db.astype(np.float64) / 10)))
    return ((level_db - mean_db - CENTRE_DB) / SPREAD_DB).astype(np.float32)
