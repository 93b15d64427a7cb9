"""The classic set: 40 MFCC at 22,050 Hz, as a time series."""

import numpy as np
from scipy.fft import dct, idct

from ser_tasks.features.spectrum import decibels, mel_power, resampled

RATE_HZ = 22050
N_FFT = 2048
HOP = 512
N_MELS = 128
TOP_DB = 80.0
OVERSHOOT = 1.15
"""Above this multiple of a lower rate's upper limit, soxr leaves less than TOP_DB below what is under it: nothing to see."""


def mfcc40(signal: np.ndarray, sampling_rate: int, lengths: np.ndarray | None = None, n_mfcc: int = 40) -> np.ndarray:
    """MFCC ``(channels, frames, n_mfcc)``, float32, of a float32 signal ``(channels, samples)``.

    Equal to ``librosa.feature.mfcc(y=librosa.resample(y, orig_sr=sampling_rate, target_sr=22050), sr=22050, n_mfcc=n_mfcc)``
    of each channel. With ``lengths``, channel ``i`` holds ``lengths[i]`` samples, then zeros, and its frames past
    ``frames(lengths[i], sampling_rate)`` mean nothing.
    """
    if not 1 <= n_mfcc <= N_MELS:
        raise ValueError(f"n_mfcc is {n_mfcc}: there are between 1 and {N_MELS} coefficients of {N_MELS} mel bands.")
    if lengths is None:
        lengths = np.full(len(signal), signal.shape[1])
    n_frames = np.array([frames(int(length), sampling_rate) for length in lengths])
    signal = resampled(signal, lengths, sampling_rate, RATE_HZ, margin=N_FFT // 2)
    power = mel_power(signal, n_frames, RATE_HZ, N_FFT, HOP, N_MELS, 0.0, RATE_HZ / 2, top_hz=sampling_rate / 2 * OVERSHOOT)
    return dct(decibels(power, n_frames, TOP_DB).numpy(), type=2, norm="ortho", axis=-1)[..., :n_mfcc]


def frames(n_samples: int, sampling_rate: int) -> int:
    """Frames of ``n_samples`` at ``sampling_rate`` Hz: one every 512 samples at 22,050 Hz (23.2 ms), from the first."""
    return 1 + -(-n_samples * RATE_HZ // sampling_rate) // HOP


def bands_db(features: np.ndarray, params: dict) -> np.ndarray:
    """Levels in dB ``(frames, N_MELS)``, as smooth over the bands as the coefficients ``(frames, n_mfcc)`` tell."""
    return idct(features, type=2, n=N_MELS, norm="ortho", axis=-1)


def of_bands_db(bands: np.ndarray, params: dict) -> np.ndarray:
    """Coefficients of levels in dB ``(frames, N_MELS)``."""
    return dct(bands, type=2, norm="ortho", axis=-1)[:, : params["n_mfcc"]]
