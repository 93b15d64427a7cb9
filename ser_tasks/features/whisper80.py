"""The input of the speech encoder in ``models/whisper.py``: Whisper's mel bands at a fixed level of speech."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_tasks.features.spectrum import Framing, MelBands

FRAMING = Framing(16_000, n_fft=400, hop=160)
N_MELS = 80
TOP_DB = 80.0
SPEECH_DB = -16.2
"""Mean power of a band in telephone speech at -26 dBFS, to which every segment is brought. 0 dB is a mel power of 1."""
UNIT_DB = 40.0
CENTRE_DB = -SPEECH_DB - UNIT_DB
"""Level of a feature of 0, relative to a segment's mean power."""


def whisper80(
    signal: NDArray[np.float32], sampling_rate: int, lengths: NDArray[np.integer] | None = None, *, n_mels: int = N_MELS
) -> NDArray[np.float32]:
    """Levels ``(channels, frames, n_mels)``, float32, as Whisper scales them: 0 is -40 dB, and 1 is 0 dB (Radford et al., 2022).

    There are ``n_mels`` bands from 0 to 8,000 Hz and a frame every 10 ms; no level is more than 80 dB below the channel's highest. The
    channel's mean power over bands and frames is brought to that of speech at -26 dBFS, so that a gain changes nothing. Signals at other
    rates are resampled to 16 kHz. ``lengths``: as in `FeatureSet`; later frames are undefined.
    """
    if n_mels < 1:
        raise ValueError(f"n_mels is {n_mels}: at least 1 band is needed.")
    [levels] = FRAMING.levels_db(signal, sampling_rate, lengths, (MelBands(n_mels, 0.0, 8_000.0, of=n_mels), TOP_DB))
    return levels.relative(CENTRE_DB, UNIT_DB)


def bands_db(features: NDArray[np.float32], params: dict[str, Any]) -> NDArray[np.float32]:
    """Levels of the bands in dB, up to a constant of the clip, of features ``(frames, features)``."""
    return features * UNIT_DB - UNIT_DB


def of_bands_db(bands: NDArray[np.float32], params: dict[str, Any]) -> NDArray[np.float32]:
    """Features of levels in dB ``(frames, bands)``."""
    mean_db = 10 * np.log10(np.mean(10 ** (bands.astype(np.float64) / 10)))
    return np.asarray((bands - mean_db - CENTRE_DB) / UNIT_DB, np.float32)
