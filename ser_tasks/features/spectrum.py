"""What the feature sets share: resampling, power spectra, mel bands and decibels, each over rows padded on the right."""

import math
from functools import lru_cache
from itertools import pairwise

import numpy as np
import soxr
import torch

BANDS_AT_ONCE = 32
CACHED_SAMPLES = 2**18
"""Samples of frames transformed at once: 1 MB, which stays in a core's cache."""


def resampled(signal: np.ndarray, lengths: np.ndarray, from_hz: int, to_hz: int, margin: int) -> np.ndarray:
    """Rows ``(rows, margin + samples + margin)`` at ``to_hz`` by soxr HQ, zero but for the ``ceil(length * to_hz / from_hz)`` samples.

    soxr alone gives the nearest number of samples (halves up), librosa pads these with a zero to ``ceil(...)``, and so does
    this. Each row goes through soxr by itself, so that none leaves a trace in another.
    """
    new_lengths = -(-lengths * to_hz // from_hz)
    rows = np.zeros((len(signal), margin + int(new_lengths.max()) + margin), np.float32)
    for row, samples, length in zip(rows, signal, lengths, strict=True):
        found = samples[:length]
        if from_hz != to_hz:
            found = soxr.resample(found, from_hz, to_hz, "HQ")
        row[margin : margin + len(found)] = found
    return rows


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

    ``signal`` has ``n_fft // 2`` zeros on either side: frames under a Hann window are then centred on multiples of ``hop``,
    as with librosa's ``center=True, pad_mode="constant"``. Bands are summed over the bins where they are not zero and not
    above ``top_hz``.
    """
    frames = torch.from_numpy(signal).unfold(-1, n_fft, hop)
    mel = torch.zeros(len(signal), frames.shape[1], n_mels)
    at_once = CACHED_SAMPLES // n_fft
    blocks = _band_blocks(min(top_hz, sampling_rate / 2), sampling_rate, n_fft, n_mels, fmin_hz, fmax_hz)
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
def _band_blocks(top_hz: float, sampling_rate: int, n_fft: int, *bands_of: float) -> list[tuple[int, int, int, int, torch.Tensor]]:
    """First and last band, first and last bin of neighbouring bands, and their weights, each twice (real and imaginary part)."""
    filterbank = mel_filterbank(sampling_rate, n_fft, *bands_of)[:, : math.ceil(top_hz / sampling_rate * n_fft) + 1]
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
