"""Which voice belongs to which channel: copies of a whole channel (a mono mix saved as stereo), and one channel's echo on another.

Two channels are compared in blocks of 8 s, where speech on the one meets speech on the other up to MAX_LAG_S before or after. The lag of
a block is a peak of the whitened cross-correlation (GCC; Knapp and Carter, 1976). At that lag the one channel is predicted from the other
by the least-squares transfer function of the block, and each window's coherence is the share of its power that the prediction explains.
Gain, polarity and a line's frequency response are part of the transfer function; coding and noise lower the coherence.

All of it runs at 4 kHz, up to 1.7 kHz, where speech has most of its power and codecs keep the waveform.
"""

import functools
from collections.abc import Collection
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import uniform_filter1d

from ser_tasks.audio.samples import FULL_SCALE, Samples
from ser_tasks.audio.similarity import TAPS, predicted_by
from ser_tasks.audio.vad import WINDOW, WINDOW_S

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]
Spectra = NDArray[np.complex64]

MAX_LAG_S = 0.36
"""Longest time between a voice and its copy: satellite and packet networks stay below 300 ms, and an answer takes longer."""
COHERENT = 0.55
"""A window is another channel's voice if that channel explains at least this share of its power."""
SOURCE_DB = 1.5
"""The voice belongs to the channel on which it is louder by this; if neither is, to none."""
ABOVE_FLOOR = 2.0
"""What the other channel does not explain is a voice only if it has this many times the power of the channel's background."""
LEAK_DB = 25.0
"""A window this much below the source at the lag of its echo is that echo, too, however little a codec left of its waveform."""
SAME_SHARE = 0.9
"""Two channels are one signal if more than this share of their windows of speech is coherent,"""
SAME_DB = 12.0
"""and their levels differ by less than this: a fainter copy is an echo."""
ALIKE_SHARE = 0.2
"""Windows that are alike by their power are an echo if they are this share of those in which it may be: an echo lasts, chance does not."""
FOUND = 0.9
"""Where coherence finds this share of them, it decides alone: it is the more exact one where two speak at once."""
BLOCK = 256
"""Windows in a block."""
PEAK = 7.0
"""A lag is a peak of the cross-correlation this many times as high as its RMS."""

_RATE_HZ = 4000
_SMALLEST = np.float32(1e-9)
_HOP = WINDOW // 2
_FRAME = 2 * _HOP
_MAX_LAG = round(MAX_LAG_S * _RATE_HZ)
_MARGIN = _MAX_LAG + _HOP
_BAND_HZ = (200, 1700)
_ENOUGH = 8
"""Windows of background in a block that say how loud it is."""
_BINS = 5
"""Bins over which a transfer function is smooth: it is that of a path of some 13 ms."""
_BANDS = 12
_WORTH_POWER = 16
"""Windows of speech in a block, half a second, for which powers are compared."""
_NEIGHBOURS = 3
"""Windows before and after one whose power counts with its own: speech pauses within syllables."""


@dataclass(frozen=True)
class Crosstalk:
    """What the channels of one call have of each other."""

    foreign: Mask
    """Windows in which a channel carries another channel's voice and none of its own, (channels, windows)."""
    copy_of: tuple[int, ...]
    """For each channel the first one that carries the same signal throughout: itself, unless it is a copy."""


def compare_channels(call: Samples, speech: Mask, shared: Collection[int] = ()) -> Crosstalk:
    """Compares every two channels of a call; ``speech`` is (channels, windows), from the detector.

    ``shared`` channels are known to hold the voices of others too: what is on them is still its owner's.

    It reads the samples twice, a block at a time, and only where two channels speak.
    """
    foreign = np.zeros_like(speech)
    copy_of = list(range(call.channels))
    for one, other in combinations(range(call.channels), 2):
        pair = _Pair(call, (one, other), speech[[one, other]])
        if pair.same_signal():
            copy_of[other] = min(copy_of[other], copy_of[one])
        else:
            foreign[one] |= pair.foreign[0] & (other not in shared)
            foreign[other] |= pair.foreign[1] & (one not in shared)
    return Crosstalk(foreign, tuple(copy_of))


class _Pair:
    """Two channels, compared window by window."""

    def __init__(self, call: Samples, channels: tuple[int, int], speech: Mask):
        self._call, self._channels, self._speech = call, list(channels), speech
        windows = speech.shape[1]
        self.foreign = np.zeros((2, windows), bool)
        self.coherence = np.zeros((2, windows), np.float32)
        """Share of a window's power that the other channel explains."""
        self.level_db = np.full(windows, np.nan, np.float32)
        """Level of the second channel relative to the first where they are coherent."""
        self._alike = np.zeros((2, windows), bool)
        self._alike_db = np.zeros((2, windows), np.float32)
        reach = round(MAX_LAG_S / WINDOW_S)
        near = np.array([_dilated(channel, reach) for channel in speech])
        self._candidates = speech & near[::-1]
        blocks = [first for first in range(0, windows, BLOCK) if self._candidates[:, first : first + BLOCK].any()]
        lags = {first: self._lags(first) for first in blocks}
        usual = [lag for found in lags.values() for lag in found]
        commonest = max(sorted(set(usual)), key=usual.count) if usual else None
        for first in blocks:
            found = lags[first]
            if commonest is not None and all(abs(lag - commonest) > 2 for lag in found):
                found = [*found, commonest]
            samples = self._read(first)
            if found:
                self._compare(first, samples, found)
            self._compare_power(first, samples)
        self._add_alike()

    def _read(self, first: int) -> Floats:
        """A block at 4 kHz with _MARGIN before and behind, (2, samples)."""
        margin = 2 * _MARGIN
        start, end = first * WINDOW - margin, (first + BLOCK) * WINDOW + margin
        samples = self._call.read(max(0, start), end)[self._channels].astype(np.float32) / np.float32(FULL_SCALE)
        before = max(0, -start)
        return _halved(np.pad(samples, ((0, 0), (before, end - start - before - samples.shape[1]))))

    def _lags(self, first: int) -> list[int]:
        """Lags of the second channel behind the first, in samples at 4 kHz: the peaks of a block, one on either side of 0 at most."""
        samples = self._read(first)
        windows = samples[:, _MARGIN : _MARGIN + BLOCK * _HOP].reshape(2, BLOCK, _HOP)
        active = np.zeros((2, BLOCK), np.float32)
        part = self._candidates[:, first : first + BLOCK]
        active[:, : part.shape[1]] = part
        # Every window counts alike: a quiet echo beside loud speech is found, too.
        windows = windows * (active / (np.sqrt(np.square(windows).mean(axis=2)) + np.float32(1e-5)))[:, :, None]
        return _peaks(windows.reshape(2, -1))

    def _compare(self, first: int, samples: Floats, lags: list[int]) -> None:
        second = _spectra(samples[1], 0)
        for lag in lags:
            # The second channel's windows beside what is ``lag`` earlier on the first: to its windows they belong shifted back.
            spectra = np.stack([_spectra(samples[0], lag), second])
            power = _over_windows(_power(spectra))
            level_db = 10 * np.log10((power[1] + _SMALLEST) / (power[0] + _SMALLEST))
            self._judge(0, first - round(lag / _HOP), spectra[0], spectra[1], power[0], -level_db)
            self._judge(1, first, spectra[1], spectra[0], power[1], level_db)

    def _judge(self, channel: int, first: int, spectra: Spectra, source: Spectra, power: Floats, level_db: Floats) -> None:
        """Compares a channel's windows from ``first`` on with the other's, at one lag. ``level_db`` is its level above the other's."""
        here = slice(max(0, first), min(first + BLOCK, self._speech.shape[1]))
        block = slice(here.start - first, here.stop - first)
        candidates, speaks = np.zeros(BLOCK, bool), np.ones(BLOCK, bool)
        candidates[block], speaks[block] = self._candidates[channel, here], self._speech[channel, here]
        if not candidates.any():
            return
        left = _unexplained(spectra, source, candidates / (power + _SMALLEST))
        share = 1 - np.minimum(left / (power + _SMALLEST), 1)
        coherent = share >= COHERENT
        floor = np.median(power[~speaks]) if (~speaks).sum() > _ENOUGH else np.percentile(power, 10)
        own = (~coherent & (level_db > -LEAK_DB) & (left > ABOVE_FLOOR * floor)) | (level_db > SOURCE_DB)
        self.foreign[channel, here] |= (candidates & ~own)[block]
        self.coherence[channel, here] = np.maximum(self.coherence[channel, here], share[block])
        if channel:
            self.level_db[here] = np.where(coherent[block], level_db[block], self.level_db[here])

    def _compare_power(self, first: int, samples: Floats) -> None:
        """Judges what the coherence leaves of a block's windows by their power (similarity.py)."""
        here = slice(first, min(first + BLOCK, self._speech.shape[1]))
        count = here.stop - first
        left = self._candidates[:, here] & ~self.foreign[:, here]
        worth = left.sum(axis=1) >= _WORTH_POWER
        if not worth.any():
            return
        bands = _bands(samples)
        for channel in np.flatnonzero(worth):
            candidates = self._candidates[channel, here]
            power, source = bands[channel, TAPS - 1 : TAPS - 1 + count], bands[1 - channel, : TAPS - 1 + count]
            echo = candidates & self.foreign[channel, here]  # a fit to what coherence is sure of leaves out the customer's voice
            alike, level_db = predicted_by(power, source, echo if echo.sum() >= _WORTH_POWER else candidates)
            self._alike[channel, here] = alike & candidates
            self._alike_db[channel, here] = level_db

    def _add_alike(self) -> None:
        """Counts windows that are alike by their power, if coherence misses them, and chance does not explain them (FOUND, ALIKE_SHARE)."""
        for channel, sign in ((0, -1), (1, 1)):
            alike, level_db = self._alike[channel], self._alike_db[channel]
            found = (alike & self.foreign[channel]).sum() >= FOUND * alike.sum()
            if not found and alike.sum() >= ALIKE_SHARE * self._candidates[channel].sum():
                self.foreign[channel] |= alike & (level_db <= SOURCE_DB)
                self.coherence[channel][alike] = 1
                self.level_db[:] = np.where(alike & np.isnan(self.level_db), sign * level_db, self.level_db)

    def same_signal(self) -> bool:
        """Whether nearly all speech of either channel is coherent with the other, at a level of the same order (SAME_SHARE, SAME_DB)."""
        speaking = self._speech.any(axis=0)
        alike = speaking & (self.coherence >= COHERENT).any(axis=0)
        if alike.sum() <= SAME_SHARE * speaking.sum():
            return False
        levels = self.level_db[alike & ~np.isnan(self.level_db)]
        return len(levels) > 0 and abs(float(np.median(levels))) < SAME_DB


def _dilated(mask: Mask, by: int) -> Mask:
    """True where the mask is True at most ``by`` windows before or after."""
    counts = np.cumsum(np.pad(mask.astype(np.int32), (by + 1, by)))
    return counts[2 * by + 1 :] - counts[: -2 * by - 1] > 0


def _halved(samples: Floats) -> Floats:
    """Every second sample behind a half-band filter: 8 kHz to 4 kHz."""
    even, odd = samples[:, ::2], np.pad(samples[:, 1::2], ((0, 0), (2, 1)))
    count = even.shape[1]
    halved: Floats = odd[:, 1 : count + 1] + odd[:, 2 : count + 2]
    halved *= np.float32(9)
    halved -= odd[:, :count]
    halved -= odd[:, 3 : count + 3]
    halved += np.float32(16) * even
    halved *= np.float32(1 / 32)
    return halved


@functools.cache
def _hann() -> Floats:
    return np.hanning(_FRAME + 1)[:-1].astype(np.float32)


def _spectra(samples: Floats, lag: int) -> Spectra:
    """Spectrum of each window of a block, (BLOCK, bins), of the samples ``lag`` earlier; a frame is a window and half of each neighbour."""
    first = _MARGIN - _HOP // 2 - lag
    frames = np.lib.stride_tricks.sliding_window_view(samples[first : first + (BLOCK + 1) * _HOP], _FRAME)[::_HOP]
    low, high = (round(hz * _FRAME / _RATE_HZ) for hz in _BAND_HZ)
    spectra: Spectra = fft.rfft(frames * _hann(), axis=1)[:, low:high]
    return spectra


def _bands(samples: Floats) -> Floats:
    """Power of a block's windows, and of the TAPS - 1 before them, in bands, (channels, windows, bands)."""
    first = _MARGIN - _HOP // 2 - (TAPS - 1) * _HOP
    frames = np.lib.stride_tricks.sliding_window_view(samples[:, first : first + (BLOCK + TAPS) * _HOP], _FRAME, axis=1)[:, ::_HOP]
    low, high = (round(hz * _FRAME / _RATE_HZ) for hz in _BAND_HZ)
    spectra = fft.rfft(frames * _hann(), axis=2)[:, :, low:high]
    bands: Floats = (spectra.real**2 + spectra.imag**2).reshape(*spectra.shape[:2], _BANDS, -1).sum(axis=3)
    return bands


def _peaks(samples: Floats) -> list[int]:
    """Lags of the second row of samples behind the first: the highest peak at lags up to 0, and from 0 on, if it is one (PEAK)."""
    size = fft.next_fast_len(samples.shape[1] + _MAX_LAG, real=True)
    first, second = fft.rfft(samples, size, axis=1)
    low, high = (round(hz * size / _RATE_HZ) for hz in _BAND_HZ)
    cross = np.zeros_like(first)
    band = np.conj(first[low:high]) * second[low:high]
    cross[low:high] = band / (np.abs(band) + _SMALLEST)
    correlation = fft.irfft(cross, size)
    around = np.abs(np.concatenate([correlation[-_MAX_LAG:], correlation[: _MAX_LAG + 1]]))
    limit = PEAK * np.sqrt(np.mean(around**2))
    found = set()
    for start, part in ((0, around[: _MAX_LAG + 1]), (_MAX_LAG, around[_MAX_LAG:])):
        peak = int(part.argmax())
        if part[peak] > limit:
            found.add(start + peak - _MAX_LAG)
    return sorted(found)


def _unexplained(spectra: Spectra, source: Spectra, weights: Floats) -> Floats:
    """Power of each window (windows,) that a linear filter of ``source`` does not explain, both (windows, bins).

    The filter is the least-squares one with a weight for each window; it is smooth over bins, and each window is predicted without
    its own part in it (leave-one-out residuals), or a short stretch would explain itself.
    """
    weights = weights[:, None]
    energy = weights * (source.real**2 + source.imag**2)
    total = _over_bins(energy.sum(axis=0)) + _SMALLEST
    transfer = _over_bins((weights * np.conj(source) * spectra).sum(axis=0)) / total
    residual = (spectra - source * transfer) / (1 - np.minimum(energy / total, np.float32(0.9)))
    return _over_windows(_power(residual))


def _power(spectra: Spectra) -> Floats:
    """Sum over the bins, the last axis, of the squared magnitudes."""
    power: Floats = np.sum(spectra.real**2 + spectra.imag**2, axis=-1)
    return power


def _over_bins(values: NDArray[Any]) -> NDArray[Any]:
    return np.convolve(values, np.ones(_BINS, np.float32), "same")


def _over_windows(values: Floats) -> Floats:
    """Sum over a window and its _NEIGHBOURS on either side, along the last axis."""
    summed: Floats = uniform_filter1d(values, 2 * _NEIGHBOURS + 1, axis=-1, mode="constant") * np.float32(2 * _NEIGHBOURS + 1)
    return summed
