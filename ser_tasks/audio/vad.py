"""Voice activity detection: Silero VAD over the channels of several calls at once, then spans of speech and segments to score.

Silero's 8 kHz network is used with its own weights and its windows of 256 samples. Only its loop is replaced: the encoder takes all
windows of a block in one batch, and the recurrent layer runs over them in one call. The probabilities equal those of the package's
own loop, window by window (a test allows 1e-4), and are computed about 30 times as fast.

No window is left out of the recurrent layer, and none has less than float32: its state drifts in silence for half an hour, so
that a gate moves the next onset (deploy/GROWTH.md has the figures). Digital silence alone has one encoding, computed once.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from ser_tasks.audio.samples import FULL_SCALE, Samples
from ser_tasks.schemas import SAMPLING_RATE_HZ

WINDOW = 256
"""Samples in one window, which gets one probability: 32 ms at 8 kHz."""
WINDOW_S = WINDOW / SAMPLING_RATE_HZ
SAME_SIGNAL = 1e-3
"""Channels that differ by less than this share of their energy (-30 dB) are one signal."""
_CONTEXT = 32
_FRAME = 128
"""Samples in one frame of the spectrum; half of them is the step to the next."""
_MIRRORED = 32
"""Samples after a window's end that its last frame covers: mirrored at the end."""
_STEP = 256
"""Windows of each channel in one step: 8 s. Where a channel ends within a step, zeros follow."""
_SHORTEST_STEP = 64
"""Windows to a multiple of which the last step is cut: each length has a primitive of its own in oneDNN's cache."""
_WINDOWS_AT_ONCE = 512
_MIN_ROWS = 2
"""A single row is multiplied by another routine, whose results differ in the last digits: it gets a row of zeros beside it."""

# Silero's defaults (get_speech_timestamps), except MIN_SILENCE_S: a short breath does not end a span of speech.
SPEECH_FROM = 0.5
SPEECH_UNTIL = 0.35
MIN_SPEECH_S = 0.25
MIN_SILENCE_S = 0.3
PAD_S = 0.03


State = tuple[torch.Tensor, torch.Tensor]
"""Hidden and cell state of the recurrent layer, each (1, rows, 128)."""


class Detector(nn.Module):
    """Silero VAD's 8 kHz network over many windows and channels at once.

    A window's spectrum has four frames, which the encoder's strides reduce to two, one and one. Each convolution is therefore
    written as matrix products, with channels last and without the taps that only meet padding. The product with the basis of the
    Fourier transform (its weights are those of a Hann window) is the fast transform.
    """

    def __init__(self) -> None:
        super().__init__()
        from silero_vad import load_silero_vad

        weights = {name: tensor.detach() for name, tensor in load_silero_vad()._model_8k.state_dict().items()}
        self.hann = torch.hann_window(_FRAME) / FULL_SCALE
        kernels = [weights[f"encoder.{layer}.reparam_conv.weight"].permute(2, 1, 0) for layer in range(4)]
        self.kernels = [kernel.flatten(0, 1).contiguous() for kernel in kernels]  # (taps * channels in, channels out)
        self.biases = [weights[f"encoder.{layer}.reparam_conv.bias"] for layer in range(4)]
        self.lstm = nn.LSTM(128, 128)
        self.lstm.load_state_dict(
            {f"{name}_l0": weights[f"decoder.rnn.{name}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        )
        self.output = nn.Linear(128, 1)
        self.output.weight.data = weights["decoder.decoder.2.weight"].squeeze(-1)
        self.output.bias.data = weights["decoder.decoder.2.bias"]
        self.eval().requires_grad_(False)
        with torch.inference_mode():
            self.silent = self._encode(torch.zeros(1, _MIN_ROWS, _CONTEXT + WINDOW), torch.empty(_MIN_ROWS, 128))[0]

    def forward(self, samples: torch.Tensor, sounding: NDArray[np.bool_], state: State | None) -> tuple[torch.Tensor, State]:
        """Probabilities of speech (channels, windows) of float32 samples (channels, 32 + windows * 256), and the recurrent state.

        Samples have 16-bit values: full scale is FULL_SCALE. The first 32 are the end of the block before. ``sounding`` (channels,
        windows) is false only where a window and the samples before it are zero. ``state`` is what the call for the block before returned.
        """
        missing = max(0, _MIN_ROWS - len(samples))
        encoded = self.encode(samples, sounding)
        if missing:
            encoded = functional.pad(encoded, (0, 0, 0, 0, 0, missing))
        hidden, state = self.lstm(encoded.transpose(0, 1), state)
        return torch.sigmoid_(self.output(hidden.relu_())).squeeze(-1).T[: len(samples)], state

    def encode(self, samples: torch.Tensor, sounding: NDArray[np.bool_]) -> torch.Tensor:
        """The input of the recurrent layer (channels, windows, 128). Windows are read where they are, unless one is digital silence."""
        windows = samples.unfold(1, _CONTEXT + WINDOW, WINDOW)
        channels, count, _ = windows.shape
        encoded = torch.empty(channels, count, 128)
        at_once = max(1, _WINDOWS_AT_ONCE // count)
        for first in range(0, channels, at_once):
            rows = slice(first, first + at_once)
            part, out, sound = windows[rows], encoded[rows], sounding[rows]
            if sound.all() and sound.size >= _MIN_ROWS:
                self._encode(part, out.flatten(0, 1))
            else:
                out[:] = self.silent
                if here := int(sound.sum()):
                    chosen = functional.pad(part[torch.from_numpy(sound)], (0, 0, 0, max(0, _MIN_ROWS - here)))
                    out[torch.from_numpy(sound)] = self._encode(chosen[None], torch.empty(len(chosen), 128))[:here]
        return encoded

    def _encode(self, windows: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Fills and returns ``out`` (channels * windows, 128), for windows with the 32 samples before them (channels, windows, 288)."""
        channels, count, _ = windows.shape
        frames = torch.empty(channels, count, 4, _FRAME)
        torch.mul(windows.unfold(2, _FRAME, _FRAME // 2), self.hann, out=frames[:, :, :3])
        torch.mul(windows[:, :, 3 * _FRAME // 2 :], self.hann[:-_MIRRORED], out=frames[:, :, 3, :-_MIRRORED])
        torch.mul(windows[:, :, -_MIRRORED - 1 : -1].flip(2), self.hann[-_MIRRORED:], out=frames[:, :, 3, -_MIRRORED:])
        spectrum = torch.fft.rfft(frames).numpy()
        magnitude = torch.from_numpy(np.abs(spectrum)).view(channels * count, 4 * 65)  # NumPy's takes a tenth of the time of torch's
        four = torch.empty(len(magnitude), 4 * 128)
        for place in range(4):  # the first and the last cover two frames, and padding
            first, last = max(0, place - 1), min(4, place + 2)
            self._layer(0, magnitude[:, first * 65 : last * 65], four[:, place * 128 : (place + 1) * 128], first_tap=int(place == 0))
        four.relu_()
        two = torch.empty(len(magnitude), 2 * 64)
        self._layer(1, four[:, : 2 * 128], two[:, :64], first_tap=1)
        self._layer(1, four[:, 128:], two[:, 64:])
        one = self._layer(2, two.relu_(), torch.empty(len(magnitude), 64), first_tap=1)
        return self._layer(3, one.relu_(), out, first_tap=1).relu_()

    def _layer(self, layer: int, x: torch.Tensor, out: torch.Tensor, first_tap: int = 0) -> torch.Tensor:
        """A convolution at one place: ``x`` holds the inputs of its taps from ``first_tap`` on, side by side; earlier taps meet padding."""
        taps = self.kernels[layer]
        first = first_tap * (len(taps) // 3)
        return torch.addmm(self.biases[layer], x, taps[first : first + x.shape[1]], out=out)


@functools.cache
def detector() -> Detector:
    """The detector of this process, loaded once (a fraction of a second)."""
    return Detector()


@dataclass(frozen=True)
class VadResult:
    """The detector's output for one call."""

    probabilities: NDArray[np.float32]
    """Probability of speech, (channels, windows)."""
    power: NDArray[np.float32]
    """Mean square of each window's samples, (channels, windows)."""
    same_signal: bool
    """Whether all of several channels carry the same signal, as in a mono mix saved as stereo, perhaps by a lossy codec."""


@torch.inference_mode()
def detect_speech(calls: Sequence[Samples]) -> list[VadResult]:
    """Runs the detector over the channels of all calls in parallel, three times as fast as over one channel at a time.

    The result of a call does not depend on the other calls. Its last window is padded with zeros.
    """
    windows = [-(-call.samples // WINDOW) for call in calls]
    results = [
        VadResult(np.zeros((call.channels, count), np.float32), np.zeros((call.channels, count), np.float32), False)
        for call, count in zip(calls, windows, strict=True)
    ]
    differences = np.zeros(len(calls))
    longest_first = sorted(range(len(calls)), key=lambda index: -windows[index])  # finished calls leave at the end
    buffer = np.zeros((sum(call.channels for call in calls), _CONTEXT + _STEP * WINDOW), np.float32)
    state: State | None = None
    longest = max(windows, default=0)
    for first in range(0, longest, _STEP):
        step = min(_STEP, -(-(longest - first) // _SHORTEST_STEP) * _SHORTEST_STEP)
        active = [index for index in longest_first if windows[index] > first]
        n_rows = sum(calls[index].channels for index in active)
        samples = buffer[:n_rows, : _CONTEXT + step * WINDOW]
        samples[:, :_CONTEXT] = buffer[:n_rows, -_CONTEXT:]
        fresh = samples[:, _CONTEXT:]
        rows_of: dict[int, slice] = {}
        row = 0
        for index in active:
            rows_of[index] = slice(row, row := row + calls[index].channels)
            block = calls[index].read(first * WINDOW, (first + step) * WINDOW)
            own = fresh[rows_of[index]]
            own[:, : block.shape[1]] = block
            own[:, block.shape[1] :] = 0
            differences[index] += sum(float(np.vdot(other, other)) for other in own[1:] - own[0])
        if state is not None:
            hidden, cell = state
            state = hidden[:, : max(n_rows, _MIN_ROWS)], cell[:, : max(n_rows, _MIN_ROWS)]
        power = window_power(fresh) / np.float32(FULL_SCALE**2)
        sounding = power > 0
        sounding[:, 1:] |= power[:, :-1] > 0
        sounding[:, 0] |= samples[:, :_CONTEXT].any(axis=1)
        probabilities, state = detector()(torch.from_numpy(samples), sounding, state)
        for index in active:
            count = min(step, windows[index] - first)
            results[index].probabilities[:, first : first + count] = probabilities[rows_of[index], :count]
            results[index].power[:, first : first + count] = power[rows_of[index], :count]
    differences /= FULL_SCALE**2
    return [_finished(result, call.samples, float(diff)) for result, call, diff in zip(results, calls, differences, strict=True)]


def window_power(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean square of each whole window, (channels, windows), of float32 samples (channels, windows * 256)."""
    windows = samples.reshape(len(samples), -1, WINDOW)
    power: NDArray[np.float32] = np.einsum("cws,cws->cw", windows, windows)
    return power / np.float32(WINDOW)


def _finished(result: VadResult, samples: int, difference: float) -> VadResult:
    if samples % WINDOW:
        result.power[:, -1] *= WINDOW / (samples % WINDOW)
    energy = float(result.power.sum(dtype=np.float64)) * WINDOW
    return replace(result, same_signal=len(result.power) > 1 and difference < SAME_SIGNAL * energy)


@dataclass(frozen=True)
class Span:
    """A span of time, in samples at 8 kHz: from ``start`` up to, not including, ``end``."""

    start: int
    end: int

    @property
    def seconds(self) -> float:
        return (self.end - self.start) / SAMPLING_RATE_HZ


def speech_spans(probabilities: NDArray[np.float32], samples: int) -> list[Span]:
    """Spans of speech in one channel, in order and without overlap, from its probabilities (windows,).

    Speech begins at a window of at least SPEECH_FROM and ends at one below SPEECH_UNTIL. Spans less than MIN_SILENCE_S apart are
    joined, those shorter than MIN_SPEECH_S dropped, and the others extended by PAD_S on both sides.
    """
    speech = _hysteresis(probabilities)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], speech.astype(np.int8), [0]])))
    starts, ends = edges[::2], edges[1::2]
    if len(starts) == 0:
        return []
    separate = (starts[1:] - ends[:-1]) * WINDOW_S >= MIN_SILENCE_S
    starts, ends = starts[np.concatenate([[True], separate])], ends[np.concatenate([separate, [True]])]
    long_enough = (ends - starts) * WINDOW_S >= MIN_SPEECH_S
    pad = int(PAD_S * SAMPLING_RATE_HZ)
    return [
        Span(max(0, start * WINDOW - pad), min(samples, end * WINDOW + pad))
        for start, end in zip(starts[long_enough].tolist(), ends[long_enough].tolist(), strict=True)
    ]


def _hysteresis(probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
    """True from each window of at least SPEECH_FROM until one below SPEECH_UNTIL, (windows,)."""
    decisive = np.where(probabilities >= SPEECH_FROM, 1, np.where(probabilities < SPEECH_UNTIL, 0, -1))
    latest = np.maximum.accumulate(np.where(decisive >= 0, np.arange(len(decisive)), -1))
    speech: NDArray[np.bool_] = (latest >= 0) & (decisive[np.maximum(latest, 0)] == 1)
    return speech


def segments(speech: Span, probabilities: NDArray[np.float32], min_s: float, max_s: float) -> list[Span]:
    """Cuts a span of speech into segments of ``min_s`` to ``max_s``, where the probability of speech is lowest.

    The segments cover the span without gaps or overlap. A span shorter than ``min_s`` gives none.
    """
    shortest, longest = int(min_s * SAMPLING_RATE_HZ), int(max_s * SAMPLING_RATE_HZ)
    cuts = [speech.start]
    while speech.end - cuts[-1] > longest:
        # Neither this segment nor the rest may become too short.
        earliest = cuts[-1] + max(shortest, longest // 2)
        latest = min(cuts[-1] + longest, speech.end - shortest)
        first, final = -(-earliest // WINDOW), latest // WINDOW
        if first < final:
            cuts.append((first + int(np.argmin(probabilities[first:final]))) * WINDOW)
        else:
            cuts.append(latest)
    cuts.append(speech.end)
    spans = [Span(start, end) for start, end in zip(cuts, cuts[1:], strict=False)]
    return [span for span in spans if span.end - span.start >= shortest]
