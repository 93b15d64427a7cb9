"""Pitch, voicing, level, and the frequencies and bandwidths of three formants."""

import numpy as np
from numpy.typing import NDArray

from ser_tasks.features.rows import framed, row_by_row, window
from ser_tasks.features.spectrum import Framing
from ser_tasks.schemas import SAMPLING_RATE_HZ

FRAMING = Framing(SAMPLING_RATE_HZ, n_fft=320, hop=80)
SIZE = 9
LOWEST_HZ, HIGHEST_HZ = 75.0, 500.0
"""Of pitch."""
VOICED = 0.45
"""Autocorrelation from which on a frame is voiced (Boersma's default)."""
OCTAVE_COST = 0.05
"""By which longer periods, an octave each, must correlate better: a period's multiples correlate as well as the period."""
ORDER = 10
"""Of linear prediction: a pair of poles for each kHz, and two for the spectrum's slope."""
FORMANTS = 3
NEUTRAL_HZ = np.array([500.0, 1500.0, 2500.0])
"""Formants of a uniform tube of 17 cm, taken where prediction finds fewer than three."""
FORMANT_RANGE_HZ = (90.0, 3800.0)
WIDEST_HZ = 500.0
"""Wider poles are the slope of the spectrum, no formants."""
PRE_EMPHASIS = 0.97
SMALLEST = 1e-10


def pitch_formants(signal: NDArray[np.float32], sampling_rate: int, lengths: NDArray[np.integer] | None = None) -> NDArray[np.float32]:
    """Values ``(channels, frames, 9)``, float32, of a float32 signal ``(channels, samples)``; frames of 40 ms every 10 ms, at 8 kHz.

    Pitch in Hz, 0 where the frame is not voiced (autocorrelation divided by the window's own: Boersma, 1993); the autocorrelation there,
    0 to 1; level in dB; three formants in Hz and their bandwidths in Hz (poles of a linear prediction of order 10). ``lengths``: as in
    `FeatureSet`.
    """
    return row_by_row(_row, signal, sampling_rate, lengths, FRAMING)


def _row(samples: NDArray[np.float32]) -> NDArray[np.floating]:
    samples = samples.astype(np.float64)
    frames = framed(samples, FRAMING)
    pitch_hz, voicing = _pitch(frames)
    level_db = 10 * np.log10(np.maximum((frames**2).mean(axis=1), SMALLEST))
    emphasised = framed(np.append(samples[:1], samples[1:] - PRE_EMPHASIS * samples[:-1]), FRAMING)
    formants_hz, widths_hz = _formants(emphasised * window("hamming", FRAMING.n_fft))
    return np.column_stack([pitch_hz, voicing, level_db, formants_hz, widths_hz])


def _pitch(frames: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Pitch in Hz and the autocorrelation at its period, each ``(frames,)``."""
    hann = window("hann", FRAMING.n_fft)
    own, of_window = _autocorrelation((frames - frames.mean(axis=1, keepdims=True)) * hann), _autocorrelation(hann)
    shortest, longest = int(SAMPLING_RATE_HZ / HIGHEST_HZ), int(SAMPLING_RATE_HZ / LOWEST_HZ)
    lags = np.arange(shortest, longest + 1)
    normalised = own[:, lags] / np.maximum(own[:, :1], SMALLEST) / (of_window[lags] / of_window[0])
    best = (normalised - OCTAVE_COST * np.log2(lags)).argmax(axis=1)
    voicing = np.clip(normalised[np.arange(len(frames)), best], 0, 1)
    return np.where(voicing >= VOICED, SAMPLING_RATE_HZ / lags[best], 0.0), voicing


def _formants(frames: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Frequencies and bandwidths in Hz, each ``(frames, 3)``."""
    correlation = _autocorrelation(frames)[:, : ORDER + 1]
    correlation[:, 0] = correlation[:, 0] * (1 + 1e-6) + SMALLEST
    order = np.arange(ORDER)
    predictor = np.linalg.solve(correlation[:, np.abs(order[:, None] - order)], correlation[:, 1:, None])[:, :, 0]
    companion = np.zeros((len(frames), ORDER, ORDER))
    companion[:, 0] = predictor
    companion[:, order[1:], order[:-1]] = 1
    poles = np.linalg.eigvals(companion).astype(np.complex128)
    hz = np.angle(poles) * SAMPLING_RATE_HZ / (2 * np.pi)
    width_hz = -np.log(np.maximum(np.abs(poles), SMALLEST)) * SAMPLING_RATE_HZ / np.pi
    usable = (hz > FORMANT_RANGE_HZ[0]) & (hz < FORMANT_RANGE_HZ[1]) & (width_hz < WIDEST_HZ)
    lowest = np.argsort(np.where(usable, hz, np.inf), axis=1)[:, :FORMANTS]
    found = np.take_along_axis(usable, lowest, axis=1)
    return (
        np.where(found, np.take_along_axis(hz, lowest, axis=1), NEUTRAL_HZ),
        np.where(found, np.take_along_axis(width_hz, lowest, axis=1), WIDEST_HZ),
    )


def _autocorrelation(frames: NDArray[np.floating]) -> NDArray[np.floating]:
    """Autocorrelation over the last axis, at lags 0 to n - 1."""
    size = frames.shape[-1]
    return np.fft.irfft(np.abs(np.fft.rfft(frames, 2 * size)) ** 2)[..., :size]
