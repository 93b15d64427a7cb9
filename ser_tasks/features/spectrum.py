"""The steps that all feature sets share: resampling, power spectra, mel bands and decibels, over rows padded on the right."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import soxr
import torch
from numpy.typing import NDArray

BANDS_AT_ONCE = 32
CACHED_SAMPLES = 2**17
"""Samples of frames transformed at once, at most: half a MB, which stays in a core's cache with their spectra."""
ROWS_OF_ROUTINES = 48
"""Products have a multiple of so many rows: one of 4, 6, 8, 12, 16 and 24 rows, which routines of matrix products take at a time."""
SMALLEST_POWER = 1e-10


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
        self, signal: NDArray[np.float32], sampling_rate: int, lengths: NDArray[np.integer] | None, *wanted: tuple[MelBands, float]
    ) -> list["Levels"]:
        """Levels of mel bands, for each set of bands that is wanted, with its ``top_db``.

        ``signal`` is float32 ``(channels, samples)``, of which ``lengths`` samples count in each channel (None: all). No level is
        more than ``top_db`` below the highest of its channel.
        """
        if lengths is None:
            lengths = np.full(len(signal), signal.shape[1])
        n_frames = np.array([self.frames(int(length), sampling_rate) for length in lengths])
        powers = mel_power(centred(signal, lengths, sampling_rate, self), self, [bands for bands, _ in wanted])
        return [decibels(power, n_frames, top_db) for power, (_, top_db) in zip(powers, wanted, strict=True)]


@dataclass(frozen=True)
class Levels:
    """Levels of mel bands of several channels."""

    db: NDArray[np.float32]
    """``(channels, frames, n_mels)``; frames after each channel's own are undefined."""
    frames: NDArray[np.integer]
    """Frames that count in each channel."""
    mean_db: NDArray[np.float64]
    """Level of each channel's mean power over bands and frames."""

    def relative(self, centre_db: float, unit_db: float) -> NDArray[np.float32]:
        """The levels in steps of ``unit_db`` from ``centre_db`` above each channel's mean power. In place: ``db`` is changed."""
        for row, n_frames, mean_db in zip(self.db, self.frames.tolist(), self.mean_db.tolist(), strict=True):
            row[:n_frames] -= np.float32(mean_db + centre_db)
            row[:n_frames] *= np.float32(1 / unit_db)
        return self.db


def centred(signal: NDArray[np.float32], lengths: NDArray[np.integer], sampling_rate: int, framing: Framing) -> NDArray[np.float32]:
    """Rows at the framing's rate, between zeros so that frames are centred on multiples of the hop, as with librosa's ``center=True,
    pad_mode="constant"``. Rows are a multiple of the hop long, so that frames of one row after the other are the frames of all.
    """
    half = framing.n_fft // 2
    return resampled(signal, lengths, sampling_rate, framing.sampling_rate_hz, half, framing.hop)


def resampled(
    signal: NDArray[np.float32], lengths: NDArray[np.integer], from_hz: int, to_hz: int, margin: int, multiple: int = 1
) -> NDArray[np.float32]:
    """Resamples rows with soxr HQ: ``(rows, margin + samples + margin)``, zero outside the ``ceil(length * to_hz / from_hz)`` samples.

    More zeros follow up to a ``multiple`` of samples.

    soxr returns the nearest number of samples (halves up); librosa appends a zero where that is less than ``ceil(...)``, and so does
    this function. Each row is resampled by itself, so that rows do not influence each other.
    """
    new_lengths = -(-lengths * to_hz // from_hz)
    width = -(-(margin + int(new_lengths.max()) + margin) // multiple) * multiple
    rows = np.zeros((len(signal), width), np.float32)
    for row, samples, length in zip(rows, signal, lengths, strict=True):
        new = samples[:length]
        if from_hz != to_hz:
            new = soxr.resample(new, from_hz, to_hz, "HQ")
        row[margin : margin + len(new)] = new
    return rows


def mel_power(rows: NDArray[np.float32], framing: Framing, wanted: Sequence[MelBands]) -> list[NDArray[np.float32]]:
    """Power in mel bands, float32 ``(rows, samples // hop, n_mels)``, for each set of bands, of `centred` rows; undefined after a row's end.

    Frames have a Hann window. Each band is summed over the bins where it is not zero. A frame's power depends on no other frame, bit by
    bit: products always have the same number of rows, as another number may be multiplied by another routine.
    """
    frames = torch.from_numpy(rows).flatten().unfold(-1, framing.n_fft, framing.hop)
    at_once = max(1, CACHED_SAMPLES // framing.n_fft // ROWS_OF_ROUTINES) * ROWS_OF_ROUTINES
    blocks = [_band_blocks(framing.sampling_rate_hz, framing.n_fft, bands) for bands in wanted]
    top = max((2 * last_bin for of_set in blocks for _, _, _, last_bin, _ in of_set), default=0)
    powers = [torch.zeros(rows.size // framing.hop, bands.n_mels) for bands in wanted]
    windowed, squares = torch.empty(at_once, framing.n_fft), torch.zeros(at_once, top)
    for start in range(0, len(frames), at_once):
        count = min(at_once, len(frames) - start)
        torch.mul(frames[start : start + count], _hann(framing.n_fft), out=windowed[:count])
        spectrum = torch.view_as_real(torch.fft.rfft(windowed[:count])).flatten(1)[:, :top]  # real and imaginary part side by side
        torch.mul(spectrum, spectrum, out=squares[:count])
        for power, of_set in zip(powers, blocks, strict=True):
            for first_band, last_band, first_bin, last_bin, weights in of_set:
                power[start : start + count, first_band:last_band] = (squares[:, 2 * first_bin : 2 * last_bin] @ weights)[:count]
    return [power.view(len(rows), -1, power.shape[1]).numpy() for power in powers]


def decibels(power: NDArray[np.float32], frames: NDArray[np.integer], top_db: float) -> Levels:
    """``10 log10(power)``, at least -100 dB and at least ``top_db`` below the maximum of each row's first ``frames``.

    The same as librosa's ``power_to_db(ref=1, amin=1e-10, top_db)`` for each row. Changes ``power`` in place.
    """
    means = np.empty(len(power))
    for index, (row, n_frames) in enumerate(zip(torch.from_numpy(power), frames.tolist(), strict=True)):
        counted = row[:n_frames].clamp_(min=SMALLEST_POWER)
        counted.clamp_(min=float(counted.max()) * 10 ** (-top_db / 10))
        means[index] = float(counted.sum(dtype=torch.float64)) / counted.numel()
        counted.log10_().mul_(10)
    return Levels(power, frames, 10 * np.log10(means))


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
