"""What a telephone line does to a clip, one function a condition, listed in ``CONDITIONS``."""

import functools
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.signal
import soundfile

from ser_tasks.datasets.telephone import mu_law
from ser_tasks.schemas import SAMPLING_RATE_HZ

PACKET_S = 0.02
PACKET_LOSS = 0.1
MEAN_BURST = 2.0
"""Mean number of consecutive lost packets: losses come in bursts (Gilbert, 1960)."""


@dataclass(frozen=True)
class ConditionContext:
    """Inputs of a condition besides the clip: the clip's own random generator, and clips of other speakers for babble."""

    rng: np.random.Generator
    others: list[np.ndarray]
    """Clips of other speakers, float32 at 8 kHz."""


def clean(signal: np.ndarray, context: ConditionContext) -> np.ndarray:
    """8 kHz, not coded."""
    return signal


def g711(signal: np.ndarray, context: ConditionContext) -> np.ndarray:
    """G.711 mu-law: the reference of the other conditions."""
    return mu_law(signal)


def a_law(signal: np.ndarray, context: ConditionContext) -> np.ndarray:
    """G.711 A-law."""
    return coded(signal, context, format="WAV", subtype="ALAW")


def band_limited(signal: np.ndarray, context: ConditionContext) -> np.ndarray:
    """An analogue line's 300 to 3,400 Hz, then mu-law."""
    return mu_law(scipy.signal.sosfilt(_telephone_band(), signal).astype(np.float32))


def room(signal: np.ndarray, context: ConditionContext) -> np.ndarray:
    """Reverberation of a room: decays by 60 dB in 0.15 to 0.6 s, and is 0 to 15 dB below the direct sound, both at random.

    The impulse response is white noise with an exponential decay (Polack, 1988). Length and level of the signal do not change.
    """
    decay_s = context.rng.uniform(0.15, 0.6)
    time_s = np.arange(int(decay_s * SAMPLING_RATE_HZ)) / SAMPLING_RATE_HZ
    response = context.rng.standard_normal(len(time_s)) * 10 ** (-3 * time_s / decay_s)
    response *= 10 ** (-context.rng.uniform(0, 15) / 20) / np.sqrt(np.sum(response**2))
    response[0] = 1.0
    reverberant = scipy.signal.fftconvolve(signal, response)[: len(signal)]
    level = np.sqrt(np.mean(signal**2) / max(np.mean(reverberant**2), 1e-20))
    scaled: np.ndarray = (reverberant * level).astype(np.float32)
    return scaled


def coded(signal: np.ndarray, context: ConditionContext, **options: object) -> np.ndarray:
    """The signal after coding and decoding with a codec of libsndfile."""
    file = io.BytesIO()
    soundfile.write(file, np.clip(signal, -1, 32767 / 32768), SAMPLING_RATE_HZ, **options)
    file.seek(0)
    decoded: np.ndarray = soundfile.read(file, dtype="float32")[0]
    return decoded


def packet_loss(signal: np.ndarray, context: ConditionContext) -> np.ndarray:
    """Mu-law in packets of 20 ms, a tenth of which are lost in bursts and replaced by silence."""
    leave = 1 / MEAN_BURST
    enter = leave * PACKET_LOSS / (1 - PACKET_LOSS)
    received, size, lost = mu_law(signal), int(PACKET_S * SAMPLING_RATE_HZ), context.rng.random() < PACKET_LOSS
    for start in range(0, len(received), size):
        if lost:
            received[start : start + size] = 0
        lost = context.rng.random() < (1 - leave if lost else enter)
    return received


def gain(signal: np.ndarray, context: ConditionContext, gain_db: float) -> np.ndarray:
    """Louder or quieter by ``gain_db``, clipped at full scale, then mu-law."""
    return mu_law(signal * np.float32(10 ** (gain_db / 20)))


def noise(signal: np.ndarray, context: ConditionContext, snr_db: float) -> np.ndarray:
    """Noise with the long-term spectrum of the clip itself, which masks speech most among stationary noises, then mu-law."""
    magnitude = np.abs(np.fft.rfft(signal))
    width = max(1, len(magnitude) // 100)
    smooth = np.convolve(magnitude, np.ones(width) / width, "same")
    shaped = np.fft.irfft(smooth * np.exp(2j * np.pi * context.rng.random(len(smooth))), len(signal))
    return mu_law(_mixed(signal, shaped, snr_db))


def babble(signal: np.ndarray, context: ConditionContext, snr_db: float) -> np.ndarray:
    """Speech of several other speakers at the same time, then mu-law."""
    voices = np.zeros(len(signal), np.float32)
    for other in context.others:
        voices += np.resize(np.roll(other, context.rng.integers(len(other))), len(signal))
    return mu_law(_mixed(signal, voices, snr_db))


@functools.lru_cache(maxsize=1)
def _telephone_band() -> np.ndarray:
    sections: np.ndarray = scipy.signal.butter(4, (300, 3400), "bandpass", fs=SAMPLING_RATE_HZ, output="sos")
    return sections


def _mixed(signal: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    power = np.mean(np.square(noise))
    if power == 0:
        return signal
    scale = np.sqrt(np.mean(np.square(signal)) / power / 10 ** (snr_db / 10))
    mixed: np.ndarray = signal + (noise * scale).astype(np.float32)
    return mixed


REFERENCE = "mu-law"
SNR_DB = (20, 10, 5, 0)
CONDITIONS: dict[str, Callable[[np.ndarray, ConditionContext], np.ndarray]] = {
    REFERENCE: g711,
    "8 kHz": clean,
    "GSM": functools.partial(coded, format="WAV", subtype="GSM610"),
    "Opus 6 kbit/s": functools.partial(coded, format="OGG", subtype="OPUS", compression_level=1.0),
    "MP3 16 kbit/s": functools.partial(coded, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode="CONSTANT", compression_level=0.9),
    "packet loss 10 %": packet_loss,
    "gain +20 dB": functools.partial(gain, gain_db=20.0),
    "gain -20 dB": functools.partial(gain, gain_db=-20.0),
    **{f"noise {snr_db} dB": functools.partial(noise, snr_db=snr_db) for snr_db in SNR_DB},
    **{f"babble {snr_db} dB": functools.partial(babble, snr_db=snr_db) for snr_db in SNR_DB},
}
"""By name, the reference first. From float32 ``(samples,)`` at 8 kHz to the same."""
