"""From windows of speech to vectors in which a person's moods lie together, and people apart.

The encoder's vectors follow arousal as well as the voice. They are multiplied by the inverse square root of the covariance within speakers,
measured over all moods of actors (within-class covariance normalisation: Hatch, Kajarekar and Stolcke, Interspeech 2006; its covariance is
shrunk as in Ledoit and Wolf, 2004): directions in which one speaker's moods differ count less. ``space.md`` says what it was learnt on.
"""

import functools
from pathlib import Path

import numpy as np
import safetensors.numpy
import soxr
import torch
from numpy.typing import NDArray

from ser_tasks.audio.samples import FULL_SCALE, Samples
from ser_tasks.audio.vad import Span
from ser_tasks.models.campplus import BANDS, STATES, computed_in, voice_states
from ser_tasks.schemas import SAMPLING_RATE_HZ
from ser_tasks.settings import Settings

Floats = NDArray[np.float32]

SPACE = Path(__file__).with_name("space.safetensors")
RATE_HZ = 16_000
FRAME, HOP, FFT = 400, 160, 512
LOWEST_HZ, HIGHEST_HZ = 20.0, 8_000.0
PRE_EMPHASIS = 0.97
FRAMES = 100
"""Every window goes through the encoder as so many frames of 10 ms: a longer one's middle, a shorter one repeated."""
HEARD = (FRAME + HOP * (FRAMES - 1)) * SAMPLING_RATE_HZ // RATE_HZ
"""Samples of these frames."""
AT_ONCE = 16
"""Windows that go through the encoder together, 10 MB of its inner states: always as many, as other shapes are rounded otherwise."""
READ_AT_ONCE = 256
"""Windows whose samples are held in memory, at most some nine minutes."""


def voice_vectors(call: Samples, channel: int, windows: list[Span]) -> Floats:
    """One vector of length 1 a window, (windows, 192). Windows are never filled up with zeros. A row depends on no other.

    On processors with AMX rows differ in the third place, unless SER_PRECISION is float32 (`computed_in` of campplus).
    """
    return in_space(raw_vectors(call, channel, windows))


def raw_vectors(call: Samples, channel: int, windows: list[Span]) -> Floats:
    """The encoder's own vectors, (windows, 192), before `in_space`."""
    dtype = torch.float32 if Settings().precision == "float32" else computed_in()
    states = np.zeros((len(windows), STATES), np.float32)
    for first in range(0, len(windows), READ_AT_ONCE):
        part = windows[first : first + READ_AT_ONCE]
        bands = [_at_length(log_mel(_middle(call, channel, span))) for span in part]
        for start in range(0, len(part), AT_ONCE):
            group = np.arange(start, min(start + AT_ONCE, len(part)))
            batch = np.stack([bands[index] for index in np.resize(group, AT_ONCE)])
            states[first + group] = voice_states(torch.from_numpy(batch), dtype).numpy()[: len(group)]
    return states


def _middle(call: Samples, channel: int, span: Span) -> Floats:
    """The HEARD samples in the middle of a window, or all of a shorter one."""
    start = span.start + max(0, span.end - span.start - HEARD) // 2
    middle: Floats = call.read(start, min(span.end, start + HEARD))[channel].astype(np.float32) / np.float32(FULL_SCALE)
    return middle


def _at_length(bands: Floats) -> Floats:
    """FRAMES frames of at most so many (frames, 80), each band's mean over time removed."""
    repeated = bands[np.arange(FRAMES) % len(bands)]
    centred: Floats = repeated - repeated.mean(axis=0)
    return centred


def in_space(states: Floats) -> Floats:
    """Vectors of length 1 of the encoder's (windows, 192): centred, and with the moods of one speaker drawn together."""
    space = _space()
    vectors: Floats = _unit(_unit(states - space["mean"]) @ space["transform"])
    return vectors


def mood_free(vectors: Floats) -> Floats:
    """Vectors of `voice_vectors` without the directions along which one speaker's moods differ most, of length 1 again."""
    moods = _space()["moods"]
    free: Floats = _unit(vectors - vectors @ moods @ moods.T)
    return free


def log_mel(samples: Floats) -> Floats:
    """Log mel bands (frames, 80) of 8 kHz samples (samples,), each band's mean over time removed: Kaldi's ``fbank``, at 16 kHz."""
    at_16_khz = soxr.resample(samples, SAMPLING_RATE_HZ, RATE_HZ, "HQ").astype(np.float32) * np.float32(FULL_SCALE)
    if len(at_16_khz) < FRAME:
        at_16_khz = np.resize(at_16_khz, FRAME)
    frames = np.lib.stride_tricks.sliding_window_view(at_16_khz, FRAME)[::HOP]
    frames = frames - frames.mean(axis=1, keepdims=True)
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    spectrum = np.fft.rfft((frames - np.float32(PRE_EMPHASIS) * before) * _window(), FFT, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    bands = np.log(np.maximum(power @ _filters(), np.finfo(np.float32).eps)).astype(np.float32)
    centred: Floats = bands - bands.mean(axis=0)
    return centred


@functools.cache
def _window() -> Floats:
    """Kaldi's own ("povey")."""
    return (np.hanning(FRAME) ** 0.85).astype(np.float32)


@functools.cache
def _filters() -> Floats:
    """Triangles of height 1 on the mel scale of HTK, (bins, 80)."""
    edges = np.linspace(_mel(np.array(LOWEST_HZ)), _mel(np.array(HIGHEST_HZ)), BANDS + 2)
    bins = _mel(np.arange(FFT // 2 + 1) * RATE_HZ / FFT)[:, None]
    rising, falling = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2]), (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles: Floats = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    return triangles


def _mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1127 * np.log(1 + hz / 700))


@functools.cache
def _space() -> dict[str, Floats]:
    return {name: tensor.astype(np.float32) for name, tensor in safetensors.numpy.load_file(SPACE).items()}


def _unit(rows: NDArray[np.floating]) -> Floats:
    unit: Floats = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)).astype(np.float32)
    return unit
