"""Shorter precisions of scoring on a CPU: which this machine has, whether a bundle's scores survive them, and 8-bit products.

A run asks for one (SER_PRECISION). It moves scores of a fixed input by CHECK_LIMIT at most, or float32 is used: the answer depends on the
bundle and the processor, and on no call.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ser_tasks.features import features_of
from ser_tasks.inference.bundle import Bundle
from ser_tasks.schemas import SAMPLING_RATE_HZ

TOLERANCE = 1e-2
"""Largest difference from float32's probabilities that a shorter precision may make."""
CHECK_LIMIT = TOLERANCE / 2
"""Largest difference on ``check_input``. (Measured: 60 to 400 clips of actors move by up to twice as much as it, with six bundles.)"""
LEAST_INPUTS = 64
"""Products of fewer inputs stay in float32: they cost nothing, and the last layers of a model are among them."""
_VOICES_HZ = (85, 105, 130, 160, 190, 220, 260, 310)
_FORMANTS_HZ = ((700, 1200, 2600), (300, 2200, 2900), (500, 1000, 2400), (400, 1800, 2500))
_SPEECH_S = (1.1, 1.6, 2.1, 2.6)


def check_input() -> list[NDArray[np.float32]]:
    """Speech-like signals at 8 kHz, float32 (samples,), the same on every machine: voices that glide through vowels, in noise."""
    rng = np.random.default_rng(17)
    signals = []
    for number, voice_hz in enumerate(_VOICES_HZ):
        samples = int(_SPEECH_S[number % len(_SPEECH_S)] * SAMPLING_RATE_HZ)
        time_s = np.arange(samples) / SAMPLING_RATE_HZ
        pitch_hz = voice_hz * (1 + 0.2 * np.sin(2 * np.pi * 0.7 * time_s + number) + 0.02 * np.sin(2 * np.pi * 5 * time_s))
        phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLING_RATE_HZ
        glide = 0.5 + 0.5 * np.sin(2 * np.pi * 1.3 * time_s + 2 * number)
        signal = np.zeros(samples)
        for harmonic in range(1, int(3600 / voice_hz) + 1):
            strength = np.zeros(samples)
            for start_hz, end_hz in zip(_FORMANTS_HZ[number % 4], _FORMANTS_HZ[(number + 1) % 4], strict=True):
                formant_hz = start_hz + (end_hz - start_hz) * glide
                strength += 1 / (1 + ((harmonic * pitch_hz - formant_hz) / 120) ** 2)
            signal += strength * np.cos(harmonic * phase) * (harmonic * pitch_hz < 3700)
        signal *= np.clip(np.sin(2 * np.pi * 2.1 * time_s + number), 0.05, None)  # syllables
        noise = rng.standard_normal(samples) * 10 ** (-(10 + 4 * number) / 20)
        level = 10 ** (-(12 + 4 * (number % 5)) / 20)
        signals.append((level * (signal / signal.std() + noise)).astype(np.float32).clip(-1, 1))
    return signals


def check_frames(bundle: Bundle) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Raw features, float32 (frames, features), of ``check_input``, and the frames of each signal."""
    frames, lengths = features_of(bundle.feature_set, bundle.feature_params, check_input(), SAMPLING_RATE_HZ)
    return np.asarray(frames, np.float32), np.asarray(lengths, np.int64)


class Int8Products(TorchFunctionMode):
    """In this mode, linear layers of LEAST_INPUTS and more multiply 8-bit integers; all else stays in float32.

    Weights have a scale for each output, inputs one for each row (a frame of a segment), so that a row's product depends on no other.
    The sums are exact: 32-bit integers.
    """

    def __init__(self) -> None:
        super().__init__()
        self._weights: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is functional.linear and args[0].shape[-1] >= LEAST_INPUTS:
            return self._linear(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _linear(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        if id(weight) not in self._weights:
            scale = _scale(weight)
            self._weights[id(weight)] = weight, (weight / scale).round().to(torch.int8).t().contiguous(), scale.t()
        _, integers, of_outputs = self._weights[id(weight)]  # the weight is kept, so that its id stays its own
        rows = x.reshape(-1, x.shape[-1])
        of_rows = _scale(rows)
        product = torch._int_mm((rows / of_rows).round_().to(torch.int8), integers).float().mul_(of_rows).mul_(of_outputs)
        return (product if bias is None else product.add_(bias)).reshape(*x.shape[:-1], -1)


def _scale(rows: torch.Tensor) -> torch.Tensor:
    """What 1 stands for in each row of 8-bit integers, (rows, 1)."""
    return rows.abs().amax(dim=1, keepdim=True).clamp(min=1e-30) / 127
