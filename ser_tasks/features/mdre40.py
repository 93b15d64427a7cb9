"""The audio features of MDRE, and a column of words, which the signal itself leaves empty."""

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from ser_tasks.features.rows import framed, row_by_row, window
from ser_tasks.features.spectrum import Framing, mel_filterbank
from ser_tasks.schemas import SAMPLING_RATE_HZ

FRAMING = Framing(SAMPLING_RATE_HZ, n_fft=200, hop=160)
N_MELS, N_MFCC, DELTA_FRAMES = 26, 12, 9
SIZE = 3 * (N_MFCC + 1) + 1
SMALLEST = 1e-10


def mdre40(signal: NDArray[np.float32], sampling_rate: int, lengths: NDArray[np.integer] | None = None) -> NDArray[np.float32]:
    """Values ``(channels, frames, 40)``, float32, of a float32 signal ``(channels, samples)``; frames of 25 ms every 20 ms, at 8 kHz.

    12 MFCC and log energy, their first and second derivatives over 9 frames (as Yoon et al., 2018, but every 20 ms in place of 10), and a
    last column of zeros, in which ``place_words`` writes the words, where they are known. ``lengths``: as in `FeatureSet`.
    """
    return row_by_row(_row, signal, sampling_rate, lengths, FRAMING)


def _row(samples: NDArray[np.float32]) -> NDArray[np.floating]:
    from scipy.signal import savgol_filter

    frames = framed(samples.astype(np.float64), FRAMING)
    power = np.abs(np.fft.rfft(frames * window("hamming", FRAMING.n_fft))) ** 2
    mel = power @ mel_filterbank(SAMPLING_RATE_HZ, FRAMING.n_fft, N_MELS, 0.0, SAMPLING_RATE_HZ / 2).T
    mfcc = dct(np.log(np.maximum(mel, SMALLEST)), type=2, norm="ortho", axis=1)[:, 1 : N_MFCC + 1]
    static = np.column_stack([mfcc, np.log(np.maximum((frames**2).sum(axis=1), SMALLEST))])
    padded = np.pad(static, ((DELTA_FRAMES // 2, DELTA_FRAMES // 2), (0, 0)), mode="edge")
    half = slice(DELTA_FRAMES // 2, DELTA_FRAMES // 2 + len(static))
    slopes = [savgol_filter(padded, DELTA_FRAMES, order, deriv=order, axis=0)[half] for order in (1, 2)]
    return np.column_stack([static, *slopes, np.zeros(len(static))])
