"""The input of the speaker encoder in ``models/ge2e.py``: its own mel bands, up to the telephone's 4,000 Hz."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_tasks.features.spectrum import Framing, MelBands
from ser_tasks.schemas import SAMPLING_RATE_HZ

FRAMING = Framing(SAMPLING_RATE_HZ, n_fft=200, hop=80)
CENTRE_DB = -25.0
SPREAD_DB = 15.0
"""In telephone speech, levels relative to a segment's mean power are about -25 dB, with a standard deviation of 15 dB. As features they
are thus about 0 and 1."""


def mel32(
    signal: NDArray[np.float32],
    sampling_rate: int,
    lengths: NDArray[np.integer] | None = None,
    *,
    n_mels: int = 32,
    top_db: float = 70.0,
) -> NDArray[np.float32]:
    """Levels ``(channels, frames, n_mels)``, float32, of a float32 signal ``(channels, samples)``, in steps of 15 dB from -25 dB.

    The bands are the lowest ``n_mels`` of 40 from 0 to 8,000 Hz; 32 begin below 4,000 Hz. There is a frame every 10 ms. 0 dB is the
    channel's mean power over bands and frames, so that a gain changes nothing; no level is more than ``top_db`` below the channel's
    highest. Signals at other rates are resampled to 8 kHz. ``lengths``: as in `FeatureSet`; later frames are undefined.
    """
    if not 1 <= n_mels <= 32:
        raise ValueError(f"n_mels is {n_mels}: from 1 to 32 bands begin below 4,000 Hz.")
    [levels] = FRAMING.levels_db(signal, sampling_rate, lengths, (MelBands(n_mels, 0.0, 8_000.0, of=40), top_db))
    return levels.relative(CENTRE_DB, SPREAD_DB)


def bands_db(features: NDArray[np.float32], params: dict[str, Any]) -> NDArray[np.float32]:
    """Levels of the bands in dB, up to a constant of the clip, of features ``(frames, features)``."""
    return features * SPREAD_DB + CENTRE_DB


def of_bands_db(bands: NDArray[np.float32], params: dict[str, Any]) -> NDArray[np.float32]:
    """Features of levels in dB ``(frames, bands)``."""
    mean_db = 10 * np.log10(np.mean(10 ** (bands.astype(np.float64) / 10)))
    return np.asarray((bands - mean_db - CENTRE_DB) / SPREAD_DB, np.float32)
