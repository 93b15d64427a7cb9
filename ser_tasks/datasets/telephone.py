"""Clips at telephone quality: 8 kHz, G.711 mu-law, trimmed of silence."""

import io
from pathlib import Path

import numpy as np
import soundfile
import soxr

from ser_tasks.datasets.clip import read_clip
from ser_tasks.schemas import SAMPLING_RATE_HZ

SPEECH_LEVEL_DBFS = -26.0
"""Nominal speech level of telephone networks (ITU-T G.191, P.56)."""
LONGEST_S = 6.0
"""Longest segment that the pipeline scores: longer clips are cut to it, or scored in pieces."""
SILENCE_BELOW_PEAK_DB = 35.0
PADDING_S = 0.1


def read_trimmed(clip: str | Path) -> np.ndarray:
    """The clip (``clip.py``) at 8 kHz, mono, trimmed, its RMS at -26 dBFS: float32 ``(samples,)``.

    An empty or silent clip raises ``ValueError``.
    """
    signal, sampling_rate_hz = read_clip(clip)
    mono = signal.mean(axis=0)
    if sampling_rate_hz != SAMPLING_RATE_HZ:
        mono = soxr.resample(mono, sampling_rate_hz, SAMPLING_RATE_HZ, "HQ")
    trimmed = trim(mono)
    rms = float(np.sqrt(np.mean(trimmed**2))) if len(trimmed) else 0.0
    if not 0 < rms < np.inf:
        raise ValueError(f"{clip} holds no sound: its RMS is {rms}. Remove it from labels.csv.")
    return trimmed * np.float32(10 ** (SPEECH_LEVEL_DBFS / 20) / rms)


def trim(signal: np.ndarray) -> np.ndarray:
    """The signal (8 kHz) from 0.1 s before the first to 0.1 s after the last 20 ms within 35 dB of its loudest 20 ms."""
    frame = SAMPLING_RATE_HZ // 50
    n_frames = len(signal) // frame
    if n_frames < 2:
        return signal
    energy = np.square(signal[: n_frames * frame].reshape(n_frames, frame)).mean(axis=1)
    loud = np.flatnonzero(energy > energy.max() * 10 ** (-SILENCE_BELOW_PEAK_DB / 10))
    if not len(loud):
        return signal[:0]
    padding = int(PADDING_S * SAMPLING_RATE_HZ)
    return signal[max(0, loud[0] * frame - padding) : (loud[-1] + 1) * frame + padding]


def mu_law(signal: np.ndarray) -> np.ndarray:
    """The signal after G.711 mu-law coding and decoding; samples beyond full scale are clipped."""
    coded = io.BytesIO()
    signal = np.clip(signal, -1, 32767 / 32768)  # libsndfile reads past the end of its table for larger samples
    soundfile.write(coded, signal, SAMPLING_RATE_HZ, format="RAW", subtype="ULAW")
    coded.seek(0)
    decoded: np.ndarray = soundfile.read(coded, samplerate=SAMPLING_RATE_HZ, channels=1, format="RAW", subtype="ULAW", dtype="float32")[0]
    return decoded
