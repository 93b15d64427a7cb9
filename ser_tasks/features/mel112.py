"""The inputs of both speech encoders side by side: ``whisper80``, then ``mel32``, of the same frames."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_tasks.features import mel32, whisper80
from ser_tasks.features.spectrum import MelBands

FRAMING = whisper80.FRAMING
N_MELS = 112


def mel112(
    signal: NDArray[np.float32], sampling_rate: int, lengths: NDArray[np.integer] | None = None, *, n_mels: int = N_MELS
) -> NDArray[np.float32]:
    """Features ``(channels, frames, 112)``, float32: the 80 of ``whisper80``, and 32 like those of ``mel32``; a frame every 10 ms.

    The latter are computed at 16 kHz here, as the speaker encoder's own are, and at 8 kHz in ``mel32``. ``lengths``: as in `FeatureSet`;
    later frames are undefined.
    """
    if n_mels != N_MELS:
        raise ValueError(f"n_mels is {n_mels}: it must be {N_MELS}, 80 and 32 bands.")
    of_speech = MelBands(whisper80.N_MELS, 0.0, 8_000.0, of=whisper80.N_MELS), whisper80.TOP_DB
    of_speakers = MelBands(32, 0.0, 8_000.0, of=40), 70.0
    speech, speakers = FRAMING.levels_db(signal, sampling_rate, lengths, of_speech, of_speakers)
    parts = speech.relative(whisper80.CENTRE_DB, whisper80.UNIT_DB), speakers.relative(mel32.CENTRE_DB, mel32.SPREAD_DB)
    return np.concatenate(parts, axis=2)


def bands_db(features: NDArray[np.float32], params: dict[str, Any]) -> NDArray[np.float32]:
    """Levels of the bands in dB, up to a constant of the clip in each of the two parts, of features ``(frames, features)``."""
    split = whisper80.N_MELS
    return np.concatenate([whisper80.bands_db(features[:, :split], params), mel32.bands_db(features[:, split:], params)], axis=1)


def of_bands_db(bands: NDArray[np.float32], params: dict[str, Any]) -> NDArray[np.float32]:
    """Features of levels in dB ``(frames, bands)``."""
    split = whisper80.N_MELS
    return np.concatenate([whisper80.of_bands_db(bands[:, :split], params), mel32.of_bands_db(bands[:, split:], params)], axis=1)
