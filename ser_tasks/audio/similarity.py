"""Echoes whose waveform cannot be predicted, found by their power: reverberant rooms, echoes on several paths, a lag that changes.

An echo's power in a band is a sum of the source's earlier powers there with weights that are not negative, as in the echo suppressors
of telephony (Faller and Tournery, 2006). Channels are alike where that prediction rises and falls as the channel does.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

TAPS = 12
"""Windows of the source, the present one and those before it, that make up an echo."""
ALIKE = 0.5
"""Channels are alike from this correlation of log powers on. That of two voices at once stays below 0.35."""
EXCESS_DB = 2.0
"""A window this much above the predicted power holds another voice, too."""
_AROUND = 10
"""Windows before and after one over which powers are correlated: 0.7 s in all, a few syllables."""
_NEIGHBOURS = 3
_USUAL = 12
"""Windows before and after one whose mean power makes an error relative."""
_STEPS = 40
_SMALLEST = np.float32(1e-9)


def predicted_by(power: Floats, source: Floats, candidates: Mask) -> tuple[Mask, Floats]:
    """Windows whose power the source predicts, and each window's level above the source's, in dB, both (windows,).

    ``power`` is (windows, bands) of one channel, ``source`` (TAPS - 1 + windows, bands) of another one that begins TAPS - 1 windows
    earlier; the prediction is fitted to the windows in ``candidates``.
    """
    windows = len(power)
    floor = np.percentile(power, 10, axis=0).astype(np.float32) + _SMALLEST
    history = np.stack([source[TAPS - 1 - tap : TAPS - 1 - tap + windows] for tap in range(TAPS)])
    weights = _weights(power, history, candidates, floor)
    predicted = np.einsum("kb,kwb->wb", weights, history)
    alike = _correlation(np.log(power + floor), np.log(predicted + floor)) >= ALIKE
    excess_db = _mean(10 * np.log10((power + floor) / (predicted + floor)).mean(axis=1), _NEIGHBOURS)
    heard = predicted / (weights.sum(axis=0) + _SMALLEST)
    level_db = 10 * np.log10((_mean(power.sum(axis=1), _NEIGHBOURS) + _SMALLEST) / (_mean(heard.sum(axis=1), _NEIGHBOURS) + _SMALLEST))
    return alike & (excess_db < EXCESS_DB), level_db


def _weights(power: Floats, history: Floats, candidates: Mask, floor: Floats) -> Floats:
    """Weights of the taps (TAPS, bands), not negative: those of the least squares of relative errors (Lee and Seung, 2001)."""
    relative = candidates[:, None] / (_mean(power, _USUAL) + floor)
    taps = (history * relative).transpose(2, 0, 1)
    squares = taps @ taps.transpose(0, 2, 1)
    wanted = taps @ (np.maximum(power - floor, 0) * relative).T[:, :, None]
    weights = np.full_like(wanted, 0.1)
    for _ in range(_STEPS):
        weights *= wanted / (squares @ weights + _SMALLEST)
    fitted: Floats = weights[:, :, 0].T
    return fitted


def _correlation(one: Floats, other: Floats) -> Floats:
    """Correlation (windows,) of two (windows, bands) within _AROUND windows, without the means of each band there."""
    one_mean, other_mean = _mean(one, _AROUND), _mean(other, _AROUND)
    shared = (_mean(one * other, _AROUND) - one_mean * other_mean).sum(axis=1)
    one_power = (_mean(one * one, _AROUND) - one_mean**2).sum(axis=1)
    other_power = (_mean(other * other, _AROUND) - other_mean**2).sum(axis=1)
    correlation: Floats = shared / np.sqrt(np.maximum(one_power * other_power, _SMALLEST))
    return correlation


def _mean(values: Floats, around: int) -> Floats:
    """Mean over each window and ``around`` on either side."""
    mean: Floats = uniform_filter1d(values, 2 * around + 1, axis=0, mode="nearest")
    return mean
