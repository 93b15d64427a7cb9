"""CAM++, a pretrained encoder of speakers: from the mel bands of a stretch of speech to a vector in which one person's stretches lie close.

(Wang, Zheng, Chen, Cheng and Chen, "CAM++: a fast and efficient network for speaker verification using context-aware masking",
Interspeech 2023.) Batch normalisation is folded into the weights where it follows a convolution.
"""

import functools
from pathlib import Path

import safetensors.torch
import torch
from torch.nn import functional

WEIGHTS = Path(__file__).with_name("campplus.safetensors")
"""Int8 weights with a scale for each output channel; ``campplus.md`` states their source."""
BANDS = 80
STATES = 192
LAYERS = (12, 24, 16)
"""Densely connected layers of each of three blocks."""
DILATIONS = (1, 2, 2)
GROWTH = 32
CONTEXT = 100
"""States, each of 20 ms, whose mean is a layer's local context."""


@torch.inference_mode()
def voice_states(bands: torch.Tensor) -> torch.Tensor:
    """Vectors ``(batch, 192)``, float32, of log mel bands ``(batch, frames, 80)``, all of the same length, their mean over time removed.

    A row depends on no other row.
    """
    x = _front(bands)
    x = functional.relu(_over_time(x, "tdnn", stride=2))
    for block, (layers, dilation) in enumerate(zip(LAYERS, DILATIONS, strict=True), 1):
        x = _dense_block(x, block, layers, dilation)
        x = _activated(x, f"transit{block}.norm") @ _of(f"transit{block}.weight").T
    x = _activated(x, "out.norm")
    spread = x.std(dim=1) if x.shape[1] > 1 else torch.zeros_like(x[:, 0])
    return functional.linear(torch.cat([x.mean(dim=1), spread], dim=1), _of("dense.weight"), _of("dense.bias"))


def _front(bands: torch.Tensor) -> torch.Tensor:
    """Two-dimensional convolutions over bands and time: ``(batch, frames, 320)``."""
    x = bands.transpose(1, 2)[:, None].contiguous(memory_format=torch.channels_last)
    x = functional.relu(_over_both(x, "head.conv1"))
    for layer in (1, 2):
        for number, stride in ((0, 2), (1, 1)):
            name = f"head.layer{layer}.{number}"
            inner = functional.relu(_over_both(x, f"{name}.conv1", stride))
            skipped = _over_both(x, f"{name}.shortcut", stride, padding=0) if number == 0 else x
            x = functional.relu(_over_both(inner, f"{name}.conv2") + skipped)
    x = functional.relu(_over_both(x, "head.conv2", 2))
    return x.flatten(1, 2).transpose(1, 2)


def _over_both(x: torch.Tensor, name: str, stride: int = 1, padding: int = 1) -> torch.Tensor:
    return functional.conv2d(x, _of(f"{name}.weight"), _of(f"{name}.bias"), stride=(stride, 1), padding=padding)


def _over_time(x: torch.Tensor, name: str, stride: int = 1, dilation: int = 1) -> torch.Tensor:
    """A convolution over time of ``(batch, frames, channels)``."""
    weight = _of(f"{name}.weight")
    padding = (weight.shape[2] - 1) // 2 * dilation
    bias = _of(f"{name}.bias") if f"{name}.bias" in _weights() else None
    return functional.conv1d(x.transpose(1, 2), weight, bias, stride, padding, dilation).transpose(1, 2)


def _dense_block(x: torch.Tensor, block: int, layers: int, dilation: int) -> torch.Tensor:
    batch, frames, channels = x.shape
    grown = x.new_empty(batch, frames, channels + layers * GROWTH)
    grown[:, :, :channels] = x
    for layer in range(1, layers + 1):
        name = f"block{block}.{layer}"
        inner = functional.linear(_activated(grown[:, :, :channels], f"{name}.norm"), _of(f"{name}.weight"), _of(f"{name}.bias")).relu_()
        mask = functional.linear(_context(inner), _of(f"{name}.mask1.weight"), _of(f"{name}.mask1.bias")).relu_()
        mask = functional.linear(mask, _of(f"{name}.mask2.weight"), _of(f"{name}.mask2.bias")).sigmoid_()
        local = _over_time(inner, f"{name}.local", dilation=dilation)
        places = torch.arange(frames) // CONTEXT
        torch.mul(local, mask[:, places], out=grown[:, :, channels : channels + GROWTH])
        channels += GROWTH
    return grown


def _context(x: torch.Tensor) -> torch.Tensor:
    """Means over all frames plus those over each stretch of CONTEXT frames, ``(batch, stretches, channels)``."""
    local = torch.stack([part.mean(dim=1) for part in torch.split(x, CONTEXT, dim=1)], dim=1)
    return local + x.mean(dim=1, keepdim=True)


def _activated(x: torch.Tensor, name: str) -> torch.Tensor:
    return torch.addcmul(_of(f"{name}.bias"), x, _of(f"{name}.scale_of")).relu_()


def _of(name: str) -> torch.Tensor:
    return _weights()[name]


@functools.cache
def _weights() -> dict[str, torch.Tensor]:
    """The weights in float32, by name."""
    stored = safetensors.torch.load_file(WEIGHTS)
    scales = {name: stored.pop(name) for name in list(stored) if name.endswith(".scale")}
    for name, scale in scales.items():
        weight = stored[name.replace(".scale", ".weight")].float()
        stored[name.replace(".scale", ".weight")] = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    return {name: _laid_out(tensor.float()) for name, tensor in stored.items()}


def _laid_out(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
