"""The 34 short-term features of pyAudioAnalysis, computed here."""

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from ser_tasks.features.rows import chroma_filters, framed, row_by_row
from ser_tasks.features.spectrum import Framing, mel_filterbank
from ser_tasks.schemas import SAMPLING_RATE_HZ

FRAMING = Framing(SAMPLING_RATE_HZ, n_fft=400, hop=200)
SIZE = 34
BLOCKS = 10
"""Parts of a frame, and of its spectrum, over which entropies are computed."""
ROLL_OFF = 0.9
N_MELS, N_MFCC = 40, 13
SMALLEST = 1e-12


def short_term34(signal: NDArray[np.float32], sampling_rate: int, lengths: NDArray[np.integer] | None = None) -> NDArray[np.float32]:
    """Values ``(channels, frames, 34)``, float32, of a float32 signal ``(channels, samples)``; frames of 50 ms every 25 ms, at 8 kHz.

    As Giannakopoulos defines them (PLoS ONE 10(12), 2015): zero-crossing rate, energy, entropy of energy; centroid and spread (shares of
    4 kHz), entropy, flux and roll-off (90 %) of the spectrum; 13 MFCC; 12 chroma and their deviation. Each channel is scaled to a mean of
    0 and a peak of 1 before. The mel bands are those of librosa up to 4 kHz. ``lengths``: as in `FeatureSet`.
    """
    return row_by_row(_row, signal, sampling_rate, lengths, FRAMING)


def _row(samples: NDArray[np.float32]) -> NDArray[np.floating]:
    samples = samples.astype(np.float64) - samples.mean()
    frames = framed(samples / max(float(np.abs(samples).max()), SMALLEST), FRAMING)
    amplitude = np.abs(np.fft.rfft(frames)) / FRAMING.n_fft
    power = amplitude**2
    crossings = np.abs(np.diff(np.sign(frames), axis=1)).mean(axis=1) / 2
    bins = np.arange(1, amplitude.shape[1] + 1) / amplitude.shape[1]
    share = amplitude / np.maximum(amplitude.sum(axis=1, keepdims=True), SMALLEST)
    centroid = share @ bins
    spread = np.sqrt((share * (bins - centroid[:, None]) ** 2).sum(axis=1))
    flux = np.r_[0.0, (np.diff(share, axis=0) ** 2).sum(axis=1)]
    below = np.cumsum(power, axis=1) < ROLL_OFF * power.sum(axis=1, keepdims=True)
    mel = power @ mel_filterbank(SAMPLING_RATE_HZ, FRAMING.n_fft, N_MELS, 0.0, SAMPLING_RATE_HZ / 2).T
    mfcc = dct(np.log10(np.maximum(mel, SMALLEST)), type=2, norm="ortho", axis=1)[:, :N_MFCC]
    chroma = power @ chroma_filters(FRAMING).T
    chroma /= np.maximum(power.sum(axis=1, keepdims=True), SMALLEST)
    energy, spectral = (frames**2).mean(axis=1), _entropy(power[:, 1:])
    columns = [crossings, energy, _entropy(frames**2), centroid, spread, spectral, flux, below.mean(axis=1), mfcc, chroma]
    return np.column_stack([*columns, chroma.std(axis=1)])


def _entropy(energies: NDArray[np.floating]) -> NDArray[np.floating]:
    """Entropy in bits, ``(frames,)``, of how energies ``(frames, n)`` are spread over ten blocks of equal width."""
    width = energies.shape[1] // BLOCKS
    blocks = energies[:, : width * BLOCKS].reshape(len(energies), BLOCKS, width).sum(axis=2)
    shares = blocks / np.maximum(blocks.sum(axis=1, keepdims=True), SMALLEST)
    entropy: NDArray[np.floating] = -(shares * np.log2(shares + SMALLEST)).sum(axis=1)
    return entropy
