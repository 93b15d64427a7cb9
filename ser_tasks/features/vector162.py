"""The 162 values of many published systems, frame by frame: zero crossings, chroma, 20 MFCC, level and 128 mel bands."""

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from ser_tasks.features.rows import chroma_filters, framed, row_by_row, window
from ser_tasks.features.spectrum import Framing, mel_filterbank

FRAMING = Framing(sampling_rate_hz=22_050, n_fft=2048, hop=512)
N_MELS = 128
TOP_DB = 80.0
SIZE = 162


def vector162(signal: NDArray[np.float32], sampling_rate: int, lengths: NDArray[np.integer] | None = None) -> NDArray[np.float32]:
    """Values ``(channels, frames, 162)``, float32, of a float32 signal ``(channels, samples)``; a frame every 23.2 ms.

    In this order: zero-crossing rate, 12 chroma, 20 MFCC, RMS, and the power of 128 mel bands, as librosa computes each at 22,050 Hz
    (chroma of the amplitude spectrum, tuned to A = 440 Hz). Published systems average them over time. ``lengths``: as in `FeatureSet`.
    """
    return row_by_row(_row, signal, sampling_rate, lengths, FRAMING)


def chroma_mfcc_mel(samples: NDArray[np.float32], n_mfcc: int) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """Chroma ``(frames, 12)``, MFCC ``(frames, n_mfcc)`` and mel power ``(frames, 128)`` of samples at 22,050 Hz."""
    amplitude = np.abs(np.fft.rfft(framed(samples, FRAMING) * window("hann", FRAMING.n_fft)))
    chroma = amplitude @ chroma_filters(FRAMING).T
    highest = chroma.max(axis=1, keepdims=True)
    mel = amplitude**2 @ mel_filterbank(FRAMING.sampling_rate_hz, FRAMING.n_fft, N_MELS, 0.0, FRAMING.sampling_rate_hz / 2).T
    level_db = 10 * np.log10(np.maximum(mel, 1e-10))
    level_db = np.maximum(level_db, level_db.max() - TOP_DB)
    return chroma / np.where(highest > 0, highest, 1), dct(level_db, type=2, norm="ortho", axis=-1)[:, :n_mfcc], mel


def _row(samples: NDArray[np.float32]) -> NDArray[np.floating]:
    import librosa

    zero_crossings = librosa.feature.zero_crossing_rate(samples, frame_length=FRAMING.n_fft, hop_length=FRAMING.hop)[0]
    chroma, mfcc, mel = chroma_mfcc_mel(samples, 20)
    rms = np.sqrt((framed(samples, FRAMING) ** 2).mean(axis=1))
    return np.column_stack([zero_crossings, chroma, mfcc, rms, mel])
