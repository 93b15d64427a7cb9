"""The steps that all feature sets share: resampling, power spectra, mel bands and decibels, over rows padded on the right."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import soxr
import torch
from numpy.typing import NDArray

BANDS_AT_ONCE = 32
CACHED_SAMPLES = 2**18
"""Samples of frames transformed at once: 1 MB, which stays in a core's cache."""


@dataclass(frozen=True)
class MelBands:
    """The lowest ``n_mels`` of ``of`` bands between two frequencies."""

    n_mels: int
    fmin_hz: float
    fmax_hz: float
    of: int


@dataclass(frozen=True)
class Framing:
    """The sampling rate that signals are resampled to, and the frames: ``n_fft`` samples, one frame every ``hop`` samples."""

    sampling_rate_hz: int
    n_fft: int
    hop: int

    def frames(self, n_samples: int, sampling_rate: int) -> int:
        """Number of frames of ``n_samples`` at ``sampling_rate`` Hz: one every ``hop`` resampled samples, from the first on."""
        return 1 + -(-n_samples * self.sampling_rate_hz // sampling_rate) // self.hop

    def levels_db(
        self, signal: NDArray[np.float32], sampling_rate: int, lengths: NDArray[np.integer] | None, bands: MelBands, top_db: float
    ) -> tuple[NDArray[np.float32], NDArray[np.integer]]:
        """Levels of mel bands in dB ``(channels, frames, n_mels)``, and the number of frames that count in each channel.

        ``signal`` is float32 ``(channels, samples)``, of which ``lengths`` samples count in each channel (None: all). No level is
        more than ``top_db`` below the highest of its channel.
        """
        if lengths is None:
            lengths = np.full(len(signal), signal.shape[1])
        n_frames = np.array([self.frames(int(length), sampling_rate) for length in lengths])
        signal = resampled(signal, lengths, sampling_rate, self.sampling_rate_hz, margin=self.n_fft // 2)
        return decibels(mel_power(signal, n_frames, self, bands), n_frames, top_db).numpy(), n_frames


def resampled(signal: NDArray[np.float32], lengths: NDArray[np.integer], from_hz: int, to_hz: int, margin: int) -> NDArray[np.float32]:
    """Resamples rows with soxr HQ: ``(rows, margin + samples + margin)``, zero outside the ``ceil(length * to_hz / from_hz)`` samples.

    soxr returns the nearest number of samples (halves up); librosa appends a zero where that is less than ``ceil(...)``, and so does
    this function. Each row is resampled by itself, so that rows do not influence each other.
    """
    new_lengths = -(-lengths * to_hz // from_hz)
    rows = np.zeros((len(signal), margin + int(new_lengths.max()) + margin), np.float32)
    for row, samples, length in zip(rows, signal, lengths, strict=True):
        new = samples[:length]
        if from_hz != to_hz:
            new = soxr.resample(new, from_hz, to_hz, "HQ")
        row[margin : margin + len(new)] = new
    return rows


def mel_power(signal: NDArray[np.float32], n_frames: NDArray[np.integer], framing: Framing, bands: MelBands) -> torch.Tensor:
    """Power in mel bands, float32 ``(rows, 1 + samples // hop, n_mels)``, zero after each row's first ``n_frames``.

    ``signal`` has ``n_fft // 2`` zeros on both sides: frames under a Hann window are then centred on multiples of ``hop``, as with
    librosa's ``center=True, pad_mode="constant"``. Each band is summed over the bins where it is not zero.
    """
    frames = torch.from_numpy(signal).unfold(-1, framing.n_fft, framing.hop)
    mel = torch.zeros(len(signal), frames.shape[1], bands.n_mels)
    at_once = CACHED_SAMPLES // framing.n_fft
    blocks = _band_blocks(framing.sampling_rate_hz, framing.n_fft, bands)
    top = max(2 * last_bin for _, _, _, last_bin, _ in blocks)
    for row, end in enumerate(n_frames.tolist()):
        for start in range(0, end, at_once):
            stop = min(end, start + at_once)
            spectrum = torch.fft.rfft(frames[row, start:stop] * _hann(framing.n_fft))
            squares = torch.view_as_real(spectrum).flatten(1)[:, :top].square()  # real and imaginary part side by side
            for first_band, last_band, first_bin, last_bin, weights in blocks:
                mel[row, start:stop, first_band:last_band] = squares[:, 2 * first_bin : 2 * last_bin] @ weights
    return mel


def decibels(power: torch.Tensor, frames: NDArray[np.integer], top_db: float) -> torch.Tensor:
    """``10 log10(power)``, at least -100 dB and at least ``top_db`` below the maximum of each row's first ``frames``.

    The same as librosa's ``power_to_db(ref=1, amin=1e-10, top_db)`` for each row. Changes ``power`` in place.
    """
    level_db = power.clamp_(min=1e-10).log10_().mul_(10)
    for row, n_frames in zip(level_db, frames.tolist(), strict=True):
        row.clamp_(min=float(row[:n_frames].max()) - top_db)
    return level_db


@lru_cache(maxsize=16)
def mel_filterbank(sampling_rate: int, n_fft: int, n_mels: int, fmin_hz: float, fmax_hz: float) -> NDArray[np.float32]:
    """Triangles of area 1 on the Slaney mel scale ``(n_mels, 1 + n_fft // 2)``, equal to ``librosa.filters.mel``.

    The scale (Slaney, Auditory Toolbox, 1998) is linear up to 1 kHz, 200/3 Hz a mel, and logarithmic above, 27 mels to 6.4 kHz.
    """
    edges_hz = _mel_to_hz(np.linspace(_hz_to_mel(fmin_hz), _hz_to_mel(fmax_hz), n_mels + 2))
    bins_hz = np.fft.rfftfreq(n_fft, 1 / sampling_rate)
    low, centre, high = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    triangles = np.minimum((bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre))
    return np.asarray(np.maximum(triangles, 0) * 2 / (high - low), np.float32)


@lru_cache(maxsize=16)
def _band_blocks(sampling_rate: int, n_fft: int, bands: MelBands) -> list[tuple[int, int, int, int, torch.Tensor]]:
    """First and last band, first and last bin of neighbouring bands, and their weights, each twice (real and imaginary part)."""
    filterbank = mel_filterbank(sampling_rate, n_fft, bands.of, bands.fmin_hz, bands.fmax_hz)[: bands.n_mels]
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
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * float(np.log(hz / 1000) / np.log(6.4))


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))
