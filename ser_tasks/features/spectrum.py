"""What the feature sets share: resampling, power spectra, mel bands and decibels, each over rows padded on the right."""

import math
from functools import lru_cache
from itertools import pairwise

import numpy as np
import soxr
import torch
from torch.nn import functional

BANDS_AT_ONCE = 32
CACHED_SAMPLES = 2**18
"""Samples of frames transformed at once: 1 MB, which stays in a core's cache."""


def resampled(signal: np.ndarray, lengths: np.ndarray, from_hz: int, to_hz: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows ``(rows, samples)`` at ``to_hz`` by soxr HQ, with their new lengths ``ceil(length * to_hz / from_hz)``.

    What the filter rings past the end of a row is cut, so that a row does not depend on its padding. soxr alone gives
    the nearest number of samples (halves up), librosa pads these with a zero to ``ceil(...)``, and so does this.
    """
    if from_hz == to_hz:
        return signal, lengths
    new_lengths = -(-lengths * to_hz // from_hz)
    filled = (2 * lengths * to_hz + from_hz) // (2 * from_hz)
    rows = np.zeros((len(signal), int(new_lengths.max())), np.float32)
    for row, samples, length, end in zip(rows, signal, lengths, filled, strict=True):
        row[:end] = soxr.resample(samples[:length], from_hz, to_hz, "HQ")
    return rows, new_lengths


def mel_power(
    signal: np.ndarray,
    n_frames: np.ndarray,
    sampling_rate: int,
    n_fft: int,
    hop: int,
    n_mels: int,
    fmin_hz: float,
    fmax_hz: float,
    top_hz: float = math.inf,
) -> torch.Tensor:
    """Power in mel bands, float32 ``(rows, 1 + samples // hop, n_mels)``, zero past each row's first ``n_frames``.

    Frames under a Hann window are centred on multiples of ``hop``, and zeros surround the signal, as with librosa's
    ``center=True, pad_mode="constant"``. Bands are summed over the bins where they are not zero and not above ``top_hz``.
    """
    padded = functional.pad(torch.from_numpy(signal), (n_fft // 2, n_fft // 2))
    frames = padded.unfold(-1, n_fft, hop)
    mel = torch.zeros(len(signal), frames.shape[1], n_mels)
    at_once = CACHED_SAMPLES // n_fft
    blocks = _band_blocks(
        min(n_fft // 2 + 1, math.ceil(min(top_hz, sampling_rate) / sampling_rate * n_fft)), sampling_rate, n_fft, n_mels, fmin_hz, fmax_hz
    )
    top = max(2 * last_bin for _, _, first_bin, last_bin, _ in blocks)
    for row, end in enumerate(n_frames.tolist()):
        for start in range(0, end, at_once):
            stop = min(end, start + at_once)
            spectrum = torch.fft.rfft(frames[row, start:stop] * _hann(n_fft))
            squares = torch.view_as_real(spectrum).flatten(1)[:, :top].square()  # real and imaginary part side by side
            for first_band, last_band, first_bin, last_bin, weights in blocks:
                mel[row, start:stop, first_band:last_band] = squares[:, 2 * first_bin : 2 * last_bin] @ weights
    return mel


def decibels(power: torch.Tensor, frames: np.ndarray, top_db: float) -> torch.Tensor:
    """``10 log10(power)``, at least -100 dB and at least each row's maximum over its first ``frames`` minus ``top_db``.

    librosa's ``power_to_db(ref=1, amin=1e-10, top_db)``, row by row. Changes ``power``.
    """
    level_db = power.clamp_(min=1e-10).log10_().mul_(10)
    for row, n_frames in zip(level_db, frames.tolist(), strict=True):
        row.clamp_(min=float(row[:n_frames].max()) - top_db)
    return level_db


@lru_cache(maxsize=16)
def mel_filterbank(sampling_rate: int, n_fft: int, n_mels: int, fmin_hz: float, fmax_hz: float) -> np.ndarray:
    """Triangles of area 1 over the Slaney mel scale ``(n_mels, 1 + n_fft // 2)``, those of ``librosa.filters.mel``.

    The scale (Slaney, Auditory Toolbox, 1998) is linear up to 1 kHz, 200/3 Hz a mel, and logarithmic above, 27 mels to 6.4 kHz.
    """
    edges_hz = _mel_to_hz(np.linspace(_hz_to_mel(fmin_hz), _hz_to_mel(fmax_hz), n_mels + 2))
    bins_hz = np.fft.rfftfreq(n_fft, 1 / sampling_rate)
    low, centre, high = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    triangles = np.minimum((bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre))
    return (np.maximum(triangles, 0) * 2 / (high - low)).astype(np.float32)


@lru_cache(maxsize=16)
def _band_blocks(n_bins: int, *filterbank_of) -> list[tuple[int, int, int, int, torch.Tensor]]:
    """First and last band, first and last bin of neighbouring bands, and their weights, each twice, over ``n_bins`` bins."""
    filterbank = mel_filterbank(*filterbank_of)[:, :n_bins]
    blocks = []
    for first, last in pairwise([*range(0, len(filterbank), BANDS_AT_ONCE), len(filterbank)]):
        bins = np.flatnonzero(filterbank[first:last].any(axis=0))
        if len(bins):
            first_bin, last_bin = int(bins[0]), int(bins[-1]) + 1
            weights = torch.from_numpy(filterbank[first:last, first_bin:last_bin].T.repeat(2, axis=0))
            blocks.append((first, last, first_bin, last_bin, weights))
    return blocks


@lru_cache(maxsize=4)
def _hann(n_fft: int) -> torch.Tensor:
    return torch.hann_window(n_fft)


def _hz_to_mel(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))
