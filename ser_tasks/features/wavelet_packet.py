"""Wavelet packet cepstral coefficients: 32 bands of equal width by PyWavelets, and the cosine transform of their levels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct, idct

from ser_tasks.features.rows import framed, row_by_row
from ser_tasks.features.spectrum import Framing
from ser_tasks.schemas import SAMPLING_RATE_HZ

FRAMING = Framing(SAMPLING_RATE_HZ, n_fft=256, hop=128)
WAVELET, LEVELS = "db4", 5
SIZE = 2**LEVELS
TOP_DB = 80.0
NEEDED = 'Wavelet features need PyWavelets: pip install -e ".[field]".'


def wavelet_packet(signal: NDArray[np.float32], sampling_rate: int, lengths: NDArray[np.integer] | None = None) -> NDArray[np.float32]:
    """Coefficients ``(channels, frames, 32)``, float32, of a float32 signal ``(channels, samples)``; frames of 32 ms every 16 ms, at 8 kHz.

    Each frame is decomposed by Daubechies' wavelet of 4 moments into the 32 leaves of a tree of 5 levels, in the order of frequency, 125 Hz
    each; the coefficients are the cosine transform of the leaves' levels in dB. After Wang, Su, Liu and Wang ("Wavelet packet analysis for
    speaker-independent emotion recognition", Neurocomputing 398, 2020). ``lengths``: as in `FeatureSet`.
    """
    return row_by_row(_row, signal, sampling_rate, lengths, FRAMING)


def bands_db(features: NDArray[np.float32], params: dict[str, Any]) -> NDArray[np.float32]:
    """Levels of the leaves in dB ``(frames, 32)`` of coefficients ``(frames, 32)``."""
    return np.asarray(idct(features, type=2, norm="ortho", axis=-1))


def of_bands_db(bands: NDArray[np.float32], params: dict[str, Any]) -> NDArray[np.float32]:
    """Coefficients of levels in dB ``(frames, 32)``."""
    return np.asarray(dct(bands, type=2, norm="ortho", axis=-1))


def _row(samples: NDArray[np.float32]) -> NDArray[np.floating]:
    try:
        import pywt
    except ImportError as error:
        raise ValueError(NEEDED) from error
    tree = pywt.WaveletPacket(framed(samples, FRAMING), WAVELET, mode="periodization", maxlevel=LEVELS, axis=-1)
    power = np.stack([np.mean(leaf.data**2, axis=-1) for leaf in tree.get_level(LEVELS, order="freq")], axis=1)
    level_db = 10 * np.log10(np.maximum(power, 1e-10))
    return of_bands_db(np.maximum(level_db, level_db.max() - TOP_DB), {})
