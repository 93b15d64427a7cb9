"""Other voices from the same speech, so that few speakers train as more: pitch, speed and formants of a clip are shifted.

A copy in another voice depends on its clip alone, so that nothing of another speaker, or of another side of a split, enters it.
"""

import numpy as np
import scipy.signal
import soxr
from numpy.typing import NDArray

from ser_tasks.schemas import SAMPLING_RATE_HZ

SPEED = (0.85, 1.18)
"""Speed of a copy, which is also by how much its pitch is shifted."""
FORMANTS = (0.87, 1.15)
"""By how much formants are shifted: about the range of adults' vocal tracts."""
WINDOW_S, HOP_S = 0.032, 0.008
ENVELOPE_S = 0.002
"""Quefrencies below this are the envelope of a spectrum, 0.002 s: below the period of a pitch of 500 Hz."""
LEAST_MAGNITUDE = 1e-6


def other_voice(signal: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """The signal, float32 ``(samples,)``, spoken by another voice: at a random speed and pitch, and with other formants."""
    speed, formants = rng.uniform(*SPEED), rng.uniform(*FORMANTS)
    return shift_formants(soxr.resample(signal, SAMPLING_RATE_HZ * speed, SAMPLING_RATE_HZ, "HQ"), formants / speed)


def shift_formants(signal: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """The signal with the frequencies of its spectral envelope times ``factor``. Pitch, length and level stay as they are.

    The envelope of each window is the smooth part of its log spectrum, by its cepstrum (Oppenheim and Schafer, 1968). The peak of a
    resonance that is narrower than that, such as one 120 Hz wide, moves by some 60 % of the way.
    """
    length = int(WINDOW_S * SAMPLING_RATE_HZ)
    window = scipy.signal.windows.hann(length, sym=False)
    transform = scipy.signal.ShortTimeFFT(window, int(HOP_S * SAMPLING_RATE_HZ), SAMPLING_RATE_HZ)
    padded = np.pad(signal, (0, max(0, length - len(signal))))
    spectra = transform.stft(padded.astype(np.float64))
    cepstra = np.fft.irfft(np.log(np.abs(spectra) + LEAST_MAGNITUDE), axis=0)
    smooth = int(ENVELOPE_S * SAMPLING_RATE_HZ)
    cepstra[smooth : len(cepstra) - smooth + 1] = 0
    envelopes = np.fft.rfft(cepstra, axis=0).real
    bins = np.arange(len(envelopes))
    shifted = np.stack([np.interp(bins / factor, bins, envelope) for envelope in envelopes.T], axis=1)
    altered = transform.istft(spectra * np.exp(shifted - envelopes), k1=len(padded))[: len(signal)]
    level, before = np.sqrt(np.mean(np.square(altered))), np.sqrt(np.mean(np.square(signal)))
    leveled: NDArray[np.float32] = (altered * (before / level if level > 0 else 1.0)).astype(np.float32)
    return leveled
