"""Functionals: one vector a clip, for classical classifiers. ``FUNCTIONALS`` lists them by name."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.fft import rfft
from scipy.stats import kurtosis, skew

from ser_tasks.features import features_of
from ser_tasks.features.rows import framed
from ser_tasks.features.spectrum import Framing, MelBands, mel_power, pack
from ser_tasks.features.wavelet_packet import NEEDED
from ser_tasks.schemas import SAMPLING_RATE_HZ

QUANTILES = (0.1, 0.5, 0.9)
SMALLEST = 1e-10
ENVELOPES = Framing(SAMPLING_RATE_HZ, n_fft=256, hop=40)
"""Frames of the modulation spectrum: 200 a second, which holds modulations up to 64 Hz."""
MODULATION_HZ = (2, 4, 8, 16, 32, 64)
MODULATION_BANDS = MelBands(19, 50.0, 4000.0, of=19)
WAVELETS = Framing(SAMPLING_RATE_HZ, n_fft=512, hop=256)

Signals = list[np.ndarray]
Frames = list[np.ndarray]


def _frames(feature_set: str, signals: Signals, **params: Any) -> Frames:
    """Features ``(frames, features)`` of each signal."""
    flat, lengths = features_of(feature_set, params, signals, SAMPLING_RATE_HZ)
    return np.split(flat, np.cumsum(lengths)[:-1])


def _change(frames: np.ndarray) -> np.ndarray:
    """Change from frame to frame; 0 where there is one frame."""
    return np.diff(frames, axis=0) if len(frames) > 1 else np.zeros_like(frames)


def _regression(frames: np.ndarray) -> np.ndarray:
    """Slope over five frames, as usual for MFCC (the first and the last frame are repeated)."""
    padded = np.pad(frames, ((2, 2), (0, 0)), mode="edge")
    slope: np.ndarray = (2 * (padded[4:] - padded[:-4]) + padded[3:-1] - padded[1:-3]) / 10
    return slope


def _mean_and_deviation(frames: np.ndarray) -> np.ndarray:
    statistics: np.ndarray = np.r_[frames.mean(axis=0), frames.std(axis=0)]
    return statistics


def _range(frames: np.ndarray) -> np.ndarray:
    """Mean, deviation, minimum and maximum."""
    statistics: np.ndarray = np.r_[_mean_and_deviation(frames), frames.min(axis=0), frames.max(axis=0)]
    return statistics


def _stacked(rows: list[np.ndarray]) -> np.ndarray:
    return np.stack(rows).astype(np.float32)


def _logmel(signals: Signals) -> np.ndarray:
    """Mean, deviation and quantiles of 64 log-mel levels and of their change from frame to frame: ``(clips, 640)``."""
    rows = []
    for levels in _frames("logmel8k", signals):
        parts = [levels, _change(levels)]
        rows.append(np.concatenate([np.r_[_mean_and_deviation(part), *np.quantile(part, QUANTILES, axis=0)] for part in parts]))
    return _stacked(rows)


def _mfcc40_mean(signals: Signals) -> np.ndarray:
    """40 MFCC averaged over time, as in the snippet that many projects share: ``(clips, 40)``."""
    return _stacked([frames.mean(axis=0) for frames in _frames("mfcc40", signals)])


def _mfcc39(signals: Signals) -> np.ndarray:
    """Mean and deviation of 13 MFCC, of their slope, and of its slope: ``(clips, 78)``."""
    rows = []
    for mfcc in _frames("mfcc40", signals, n_mfcc=13):
        slope = _regression(mfcc)
        rows.append(_mean_and_deviation(np.hstack([mfcc, slope, _regression(slope)])))
    return _stacked(rows)


def _vector162(signals: Signals) -> np.ndarray:
    """Means over time of zero crossings, chroma, 20 MFCC, RMS and 128 mel bands: ``(clips, 162)``."""
    return _stacked([frames.mean(axis=0) for frames in _frames("vector162", signals)])


def _vector180(signals: Signals) -> np.ndarray:
    """Means over time of 40 MFCC, chroma and 128 mel bands: ``(clips, 180)``."""
    return _stacked([frames.mean(axis=0) for frames in _frames("vector180", signals)])


def _short_term34(signals: Signals) -> np.ndarray:
    """Mean and deviation of pyAudioAnalysis' 34 short-term features: ``(clips, 68)``."""
    return _stacked([_mean_and_deviation(frames) for frames in _frames("short_term34", signals)])


def _wavelet_packet(signals: Signals) -> np.ndarray:
    """Nine statistics of 32 wavelet packet coefficients and of their slope: ``(clips, 576)``.

    Mean, deviation, skewness, kurtosis, minimum, maximum, range, and the lower and upper quartile. Skewness and kurtosis of what does not
    change are 0.
    """
    rows = []
    for coefficients in _frames("wavelet_packet", signals):
        values = np.hstack([coefficients, _regression(coefficients)]).astype(np.float64)
        spread = np.maximum(values.std(axis=0), SMALLEST)
        standard = np.where(values.std(axis=0) > SMALLEST, (values - values.mean(axis=0)) / spread, 0)
        shape = [np.nan_to_num(moment(standard, axis=0)) if len(values) > 1 else np.zeros(64) for moment in (skew, kurtosis)]
        low, high = values.min(axis=0), values.max(axis=0)
        quartiles = np.quantile(values, (0.25, 0.75), axis=0)
        rows.append(np.r_[_mean_and_deviation(values), *shape, low, high, high - low, *quartiles])
    return _stacked(rows)


def _pitch_formants(signals: Signals) -> np.ndarray:
    """Mean, deviation, minimum and maximum of pitch, level, formants and bandwidths over voiced frames, and their share: ``(clips, 33)``.

    All frames are taken of a clip without a voiced one.
    """
    return _stacked([np.r_[_range(_voiced(frames)), (frames[:, 0] > 0).mean()] for frames in _frames("pitch_formants", signals)])


def _voiced(frames: np.ndarray) -> np.ndarray:
    """Pitch, level, formants and bandwidths of the voiced frames, or of all where none is."""
    voiced = frames[:, 0] > 0
    return np.delete(frames[voiced] if voiced.any() else frames, 1, axis=1)


def _mfcc_wavelet_pitch(signals: Signals) -> np.ndarray:
    """Mean, deviation, minimum and maximum of 13 MFCC, 6 wavelet levels, pitch, level and zero crossings: ``(clips, 88)``.

    After Koduru et al. (International Journal of Speech Technology 23, 2020).
    """
    each = zip(
        _frames("mfcc40", signals, n_mfcc=13),
        map(_wavelet_levels, signals),
        [frames[:, [0, 2]] for frames in _frames("pitch_formants", signals)],
        [frames[:, :1] for frames in _frames("short_term34", signals)],
        strict=True,
    )
    return _stacked([np.concatenate([_range(part) for part in parts]) for parts in each])


def _wavelet_levels(signal: np.ndarray) -> np.ndarray:
    """Levels in dB ``(frames, 6)`` of the approximation and five details by Daubechies' wavelet of 4 moments, in frames of 64 ms."""
    try:
        import pywt
    except ImportError as error:
        raise ValueError(NEEDED) from error
    parts = pywt.wavedec(framed(signal, WAVELETS), "db4", mode="periodization", level=5, axis=-1)
    levels: np.ndarray = 10 * np.log10(np.maximum(np.stack([np.mean(part**2, axis=-1) for part in parts], axis=1), SMALLEST))
    return levels


def _modulation(signals: Signals) -> np.ndarray:
    """Modulation spectrum and MFCC: ``(clips, 121)``. After Kerkeni et al. (2019), with mel bands in place of gammatone filters.

    Levels in dB of 5 modulation bands from 2 to 64 Hz, an octave each, of the envelopes of 19 bands, relative to the envelopes' own level;
    mean and deviation of 13 MFCC.
    """
    return _stacked(
        [
            np.r_[_modulation_levels(signal), _mean_and_deviation(mfcc)]
            for signal, mfcc in zip(signals, _frames("mfcc40", signals, n_mfcc=13), strict=True)
        ]
    )


def _modulation_levels(signal: np.ndarray) -> np.ndarray:
    packed = pack(signal[None], np.array([len(signal)]), SAMPLING_RATE_HZ, ENVELOPES)
    [power] = packed.rows(mel_power(packed, [MODULATION_BANDS])[0])
    envelopes = np.sqrt(power.astype(np.float64))
    spectrum = np.abs(rfft(envelopes * np.hanning(len(envelopes) + 2)[1:-1, None], n=max(400, len(envelopes)), axis=0)) ** 2
    hz = np.arange(len(spectrum)) * SAMPLING_RATE_HZ / ENVELOPES.hop / max(400, len(envelopes))
    bands = np.digitize(hz, MODULATION_HZ)
    energies = np.stack([spectrum[bands == band].mean(axis=0) for band in range(1, len(MODULATION_HZ))])
    levels: np.ndarray = 10 * np.log10((energies + SMALLEST) / (spectrum[0] + SMALLEST))
    return levels.ravel()


def _opensmile(name: str, signals: Signals) -> np.ndarray:
    extractor = _extractor(name)
    return np.concatenate([extractor.process_signal(signal, SAMPLING_RATE_HZ).to_numpy(np.float32) for signal in signals])


@functools.lru_cache(maxsize=4)
def _extractor(name: str) -> Any:
    """openSMILE's feature set ``egemaps``, ``is09`` or ``is10``."""
    try:
        import opensmile
    except ImportError as error:
        raise ValueError(f'{name} needs openSMILE: pip install -e ".[egemaps]" (its licence allows research only).') from error
    if name == "egemaps":
        return opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    challenges = {"is09": "IS09_emotion.conf", "is10": "IS10_paraling_compat.conf"}
    return opensmile.Smile(str(Path(opensmile.__file__).parent / "core" / "config" / "is09-13" / challenges[name]), "func")


def _egemaps(signals: Signals) -> np.ndarray:
    """The 88 functionals of eGeMAPS v02 (Eyben et al., 2016) by openSMILE: ``(clips, 88)``."""
    return _opensmile("egemaps", signals)


def _is09(signals: Signals) -> np.ndarray:
    """The 384 functionals of the Interspeech 2009 emotion challenge (Schuller et al., 2009) by openSMILE: ``(clips, 384)``."""
    return _opensmile("is09", signals)


def _is10(signals: Signals) -> np.ndarray:
    """The 1,582 functionals of the Interspeech 2010 paralinguistic challenge (Schuller et al., 2010) by openSMILE: ``(clips, 1582)``."""
    return _opensmile("is10", signals)


FUNCTIONALS: dict[str, Callable[[Signals], np.ndarray]] = {
    "logmel": _logmel,
    "egemaps": _egemaps,
    "is09": _is09,
    "is10": _is10,
    "mfcc40_mean": _mfcc40_mean,
    "mfcc39": _mfcc39,
    "vector162": _vector162,
    "vector180": _vector180,
    "short_term34": _short_term34,
    "wavelet_packet": _wavelet_packet,
    "pitch_formants": _pitch_formants,
    "mfcc_wavelet_pitch": _mfcc_wavelet_pitch,
    "modulation": _modulation,
}
"""By name: from 8 kHz signals to float32 ``(clips, functionals)``. A clip's do not depend on the other clips."""
