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
        packed = pack(signal, np.full(len(signal), signal.shape[1]) if lengths is None else lengths, sampling_rate, self)
        powers = mel_power(packed, [bands for bands, _ in wanted])
        return [decibels(power, packed, top_db) for power, (_, top_db) in zip(powers, wanted, strict=True)]


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


@dataclass(frozen=True)
class Packed:
    """Rows at the framing's rate, one after the other: frames of all of them are one strided view."""

    samples: NDArray[np.float32]
    """Each row lies between zeros, so that its frames are centred on multiples of the hop, and begins at one: as with librosa's
    ``center=True, pad_mode="constant"``."""
    framing: Framing
    starts: NDArray[np.integer]
    """First frame of each row. Between the rows are frames of two of them, which mean nothing."""
    frames: NDArray[np.integer]
    """Frames of each row."""

    def rows(self, frames: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Each row's part of values ``(frames, ...)``: views."""
        return [frames[start : start + count] for start, count in zip(self.starts.tolist(), self.frames.tolist(), strict=True)]


def pack(signal: NDArray[np.float32], lengths: NDArray[np.integer], sampling_rate: int, framing: Framing) -> Packed:
    """Rows ``(rows, samples)``, of which ``lengths`` samples count in each, at the framing's rate."""
    half, hop = framing.n_fft // 2, framing.hop
    hops = -(-(-(-lengths * framing.sampling_rate_hz // sampling_rate) + 2 * half) // hop)
    ends = np.cumsum(hops)
    packed = Packed(
        np.zeros(int(ends[-1]) * hop + framing.n_fft, np.float32),
        framing,
        ends - hops,
        np.array([framing.frames(length, sampling_rate) for length in lengths.tolist()]),
    )
    for row, length, start in zip(signal, lengths.tolist(), packed.starts.tolist(), strict=True):
        new = at_rate(row[:length], sampling_rate, framing.sampling_rate_hz)
        packed.samples[start * hop + half :][: len(new)] = new
    return packed


def at_rate(samples: NDArray[np.float32], from_hz: int, to_hz: int) -> NDArray[np.float32]:
    """One row resampled with soxr HQ, by itself, so that rows do not influence each other; itself where the rates are equal."""
    return samples if from_hz == to_hz else np.asarray(soxr.resample(samples, from_hz, to_hz, "HQ"), np.float32)


def resampled(signal: NDArray[np.float32], lengths: NDArray[np.integer], from_hz: int, to_hz: int) -> NDArray[np.float32]:
    """Resamples rows: ``(rows, samples)``, zero after the ``ceil(length * to_hz / from_hz)`` samples of each.

    soxr returns the nearest number of samples (halves up); librosa appends a zero where that is less than ``ceil(...)``, and so do this
    function and `pack`.
    """
    rows = np.zeros((len(signal), int((-(-lengths * to_hz // from_hz)).max())), np.float32)
    for row, samples, length in zip(rows, signal, lengths.tolist(), strict=True):
        new = at_rate(samples[:length], from_hz, to_hz)
        row[: len(new)] = new
    return rows


def mel_power(packed: Packed, wanted: Sequence[MelBands]) -> list[NDArray[np.float32]]:
    """Power in mel bands, float32 ``(frames, n_mels)``, of frames under a Hann window, for each set of bands. See `Packed.rows`.

    Each band is summed over the bins where it is not zero. A frame's power depends on no other frame, bit by bit: products always have
    the same number of rows, as another number may be multiplied by another routine.
    """
    n_fft, hop, rate_hz = packed.framing.n_fft, packed.framing.hop, packed.framing.sampling_rate_hz
    frames = torch.from_numpy(packed.samples).unfold(-1, n_fft, hop)
    at_once = max(1, CACHED_SAMPLES // n_fft // ROWS_OF_ROUTINES) * ROWS_OF_ROUTINES
    starts = range(0, len(frames), at_once)
    blocks = [_band_blocks(rate_hz, n_fft, bands) for bands in wanted]
    top = max((2 * last_bin for of_set in blocks for _, _, _, last_bin, _ in of_set), default=0)
    powers = [torch.zeros(len(starts) * at_once, bands.n_mels) for bands in wanted]
    windowed, squares = torch.empty(at_once, n_fft), torch.zeros(at_once, top)
    for start in starts:
        count = min(at_once, len(frames) - start)
        torch.mul(frames[start : start + count], _hann(n_fft), out=windowed[:count])
        spectrum = torch.view_as_real(torch.fft.rfft(windowed[:count])).flatten(1)[:, :top]  # real and imaginary part side by side
        torch.mul(spectrum, spectrum, out=squares[:count])
        for power, of_set in zip(powers, blocks, strict=True):
            for first_band, last_band, first_bin, last_bin, weights in of_set:
                into = power[start : start + at_once, first_band:last_band]
                torch.mm(squares[:, 2 * first_bin : 2 * last_bin], weights, out=into)
    return [power.numpy() for power in powers]


def decibels(power: NDArray[np.float32], packed: Packed, top_db: float) -> Levels:
    """``10 log10(power)``, at least -100 dB and at least ``top_db`` below the maximum of each row.

    The same as librosa's ``power_to_db(ref=1, amin=1e-10, top_db)`` for each row. Changes ``power`` in place.
    """
    db = np.empty((len(packed.frames), int(packed.frames.max()), power.shape[1]), np.float32)
    means = np.empty(len(db))
    for index, (row, levels) in enumerate(zip(packed.rows(power), db, strict=True)):
        of_row = torch.from_numpy(row)
        of_row.clamp_(min=max(float(of_row.max()) * 10 ** (-top_db / 10), SMALLEST_POWER))  # NaN stays NaN in this order
        means[index] = float(of_row.mean())
        torch.log10(of_row, out=torch.from_numpy(levels[: len(row)])).mul_(10)
    return Levels(db, packed.frames, 10 * np.log10(means))


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
