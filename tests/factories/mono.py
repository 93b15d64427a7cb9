"""Mono mixes of made-up voices that differ in pitch and in the size of the vocal tract."""

import numpy as np
import soxr

from tests.factories.calls import RATE_HZ, speechlike

VOICES = {"agent": (80.0, 0.8), "customer": (260.0, 1.3), "prompt": (150.0, 1.0)}
"""Pitch in Hz, and factor on all formants."""
SPOKEN = [("agent", 0.5, 4), ("customer", 4.6, 7.4), ("agent", 8, 11), ("customer", 11.5, 15), ("agent", 15.4, 18), ("customer", 18.4, 22)]


def voice(who: str, seconds: float, seed: int) -> np.ndarray:
    """Speech-like sound of one of VOICES, float32 (samples,)."""
    pitch_hz, size = VOICES[who]
    slow = speechlike(seconds * size, seed, pitch_hz / size)
    return soxr.resample(slow, RATE_HZ * size, RATE_HZ, "HQ")[: int(seconds * RATE_HZ)].astype(np.float32)


def mixed(turns: list[tuple[str, float, float]] = SPOKEN, seconds: float = 23, seed: int = 4) -> np.ndarray:
    """A mono call, float32 (samples,), of turns (who, from_s, to_s)."""
    call = 3e-4 * np.random.default_rng(seed).standard_normal(int(seconds * RATE_HZ), np.float32)
    for number, (who, from_s, to_s) in enumerate(turns):
        spoken = voice(who, to_s - from_s, 1000 * seed + number)
        call[int(from_s * RATE_HZ) :][: len(spoken)] += spoken
    return call
