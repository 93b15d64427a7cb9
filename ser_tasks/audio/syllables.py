"""Talk speed without words: syllable nuclei are peaks of the envelope, as de Jong and Wempe count them in Praat.

N. H. de Jong and T. Wempe: Praat script to detect syllable nuclei and measure speech rate automatically, Behavior Research Methods 41,
2009.
Here the envelope is that of the vowels' band instead of all voiced speech. Measured against texts: in the 19 turns of two real calls with
human transcripts the counts correlate by 0.98, rates by 0.80, and 95 % of the syllables are found; in 170 acted clips of EMO-DB 0.85, 0.64
and 87 %.

SciPy's signal module is loaded when it is first used: it takes as long to load as all of NumPy and the rest of SciPy.
"""

import functools

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from ser_tasks.audio.samples import FULL_SCALE, Samples
from ser_tasks.audio.vad import Span
from ser_tasks.schemas import SAMPLING_RATE_HZ

HOP = 80
"""Samples in a step of the envelope: 10 ms."""
BAND_HZ = (300.0, 2500.0)
SMOOTH_S = 0.015
"""Standard deviation of the window that smooths the envelope."""
DIP_DB = 2.0
"""A nucleus rises so far out of the dips beside it,"""
BELOW_PEAK_DB = 25.0
"""and is at most so far below the loudest of its channel (the 99th percentile)."""
AT_ONCE_S = 30.0


@functools.cache
def _band() -> NDArray[np.float64]:
    from scipy.signal import butter

    sections: NDArray[np.float64] = butter(2, BAND_HZ, "bandpass", fs=SAMPLING_RATE_HZ, output="sos")
    return sections


def syllables(call: Samples, channel: int, spans: list[Span]) -> int:
    """The number of syllable nuclei in spans of speech on a channel."""
    envelopes = [envelope_db(piece) for span in spans for piece in _pieces(call, channel, span)]
    if not envelopes:
        return 0
    floor = float(np.percentile(np.concatenate(envelopes), 99)) - BELOW_PEAK_DB
    return sum(len(nuclei(each, floor)) for each in envelopes)


def envelope_db(signal: NDArray[np.float32]) -> NDArray[np.float64]:
    """Level of the vowels' band in steps of 10 ms, dB, of a float32 signal (samples,) at 8 kHz."""
    from scipy.signal import sosfilt

    power = np.square(sosfilt(_band(), signal.astype(np.float64)))
    steps = power[: len(power) // HOP * HOP].reshape(-1, HOP).mean(axis=1)
    if not len(steps):
        return np.full(1, -120.0)
    smooth = gaussian_filter1d(steps, SMOOTH_S * SAMPLING_RATE_HZ / HOP, mode="constant")
    level: NDArray[np.float64] = 10 * np.log10(np.maximum(smooth, 1e-12))
    return level


def nuclei(level_db: NDArray[np.float64], floor_db: float) -> NDArray[np.intp]:
    """Steps of the envelope that are nuclei: peaks above the floor that rise out of their dips."""
    from scipy.signal import find_peaks

    padded = np.concatenate([[-120.0], level_db, [-120.0]])
    peaks, _ = find_peaks(padded, height=floor_db, prominence=DIP_DB)
    found: NDArray[np.intp] = peaks - 1
    return found


def _pieces(call: Samples, channel: int, span: Span) -> list[NDArray[np.float32]]:
    length = int(AT_ONCE_S * SAMPLING_RATE_HZ)
    starts = range(span.start, span.end, length)
    return [call.read(start, min(span.end, start + length))[channel].astype(np.float32) / FULL_SCALE for start in starts]
