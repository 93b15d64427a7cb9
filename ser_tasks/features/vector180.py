"""The 180 values of two-way feature extraction, frame by frame: 40 MFCC, chroma and 128 mel bands."""

import numpy as np
from numpy.typing import NDArray

from ser_tasks.features.rows import row_by_row
from ser_tasks.features.vector162 import FRAMING, chroma_mfcc_mel

SIZE = 180


def vector180(signal: NDArray[np.float32], sampling_rate: int, lengths: NDArray[np.integer] | None = None) -> NDArray[np.float32]:
    """Values ``(channels, frames, 180)``, float32, of a float32 signal ``(channels, samples)``; a frame every 23.2 ms.

    In this order: 40 MFCC, 12 chroma, and the power of 128 mel bands, as in `vector162`. Aggarwal et al. (2022) average them over time.
    ``lengths``: as in `FeatureSet`.
    """
    return row_by_row(_row, signal, sampling_rate, lengths, FRAMING)


def _row(samples: NDArray[np.float32]) -> NDArray[np.floating]:
    chroma, mfcc, mel = chroma_mfcc_mel(samples, 40)
    return np.column_stack([mfcc, chroma, mel])
