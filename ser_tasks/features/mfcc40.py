"""The classic set: 40 MFCC at 22,050 Hz, as a time series."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct, idct

from ser_tasks.features.spectrum import Framing, MelBands

FRAMING = Framing(sampling_rate_hz=22_050, n_fft=2048, hop=512)
N_MELS = 128
TOP_DB = 80.0


def mfcc40(
    signal: NDArray[np.float32], sampling_rate: int, lengths: NDArray[np.integer] | None = None, *, n_mfcc: int = 40
) -> NDArray[np.float32]:
    """MFCC ``(channels, frames, n_mfcc)``, float32, of a float32 signal ``(channels, samples)``; a frame every 23.2 ms.

    Equal to ``librosa.feature.mfcc(y=librosa.resample(y, orig_sr=sampling_rate, target_sr=22050), sr=22050, n_mfcc=n_mfcc)`` of each
    channel. ``lengths``: as in `FeatureSet`; later frames are undefined.
    """
    if not 1 <= n_mfcc <= N_MELS:
        raise ValueError(f"n_mfcc is {n_mfcc}: there are between 1 and {N_MELS} coefficients of {N_MELS} mel bands.")
    bands = MelBands(N_MELS, fmin_hz=0.0, fmax_hz=FRAMING.sampling_rate_hz / 2, of=N_MELS)
    [levels] = FRAMING.levels_db(signal, sampling_rate, lengths, (bands, TOP_DB))
    mfcc = np.empty((*levels.db.shape[:2], n_mfcc), np.float32)
    for into, row, frames in zip(mfcc, levels.db, levels.frames.tolist(), strict=True):  # of all rows at once, digits depend on the place
        into[:frames] = dct(row[:frames], type=2, norm="ortho", axis=-1)[:, :n_mfcc]
    return mfcc


def bands_db(features: NDArray[np.float32], params: dict[str, Any]) -> NDArray[np.float32]:
    """Levels in dB ``(frames, N_MELS)`` of coefficients ``(frames, n_mfcc)``: smoothed over the bands, as higher ones are missing."""
    return np.asarray(idct(features, type=2, n=N_MELS, norm="ortho", axis=-1))


def of_bands_db(bands: NDArray[np.float32], params: dict[str, Any]) -> NDArray[np.float32]:
    """Coefficients of levels in dB ``(frames, N_MELS)``."""
    return np.asarray(dct(bands, type=2, norm="ortho", axis=-1)[:, : params["n_mfcc"]])
