"""CAM++, a pretrained encoder of speakers: from the mel bands of a stretch of speech to a vector in which one person's stretches lie close.

(Wang, Zheng, Chen, Cheng and Chen, "CAM++: a fast and efficient network for speaker verification using context-aware masking",
Interspeech 2023.) Batch normalisation is folded into the weights: into those before it where it follows a convolution; where a ReLU follows
it, max(0, a x + b) is a max(x, -b / a) + b for a > 0 (a min(x, -b / a) + b for a < 0), and a and b go into the weights after it.

It computes in bfloat16 where the processor multiplies such matrices itself (AMX), three times as fast, and in float32 elsewhere.
"""

import functools
from pathlib import Path

import safetensors.torch
import torch
from torch.nn import functional

from ser_tasks.models.processor import has_amx

WEIGHTS = Path(__file__).with_name("campplus.safetensors")
"""Int8 weights with a scale for each output channel; ``campplus.md`` states their source."""
BANDS = 80
STATES = 192
LAYERS = (12, 24, 16)
"""Densely connected layers of each of three blocks."""
DILATIONS = (1, 2, 2)
GROWTH = 32
MOST_FRAMES = 200
"""A layer's local context is the mean over 100 states of 20 ms: of shorter stretches, the mean over all."""


def computed_in() -> torch.dtype:
    """What this processor computes in: bfloat16 or float32."""
    return torch.bfloat16 if has_amx() else torch.float32


@torch.inference_mode()
def voice_states(bands: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Vectors ``(batch, 192)``, float32, of log mel bands ``(batch, frames, 80)``, all of the same length, their mean over time removed.

    Computed in ``dtype``, `computed_in` by default. A row depends on no other row of a batch of the same shape. Raises ValueError for more
    than MOST_FRAMES frames.
    """
    if bands.shape[1] > MOST_FRAMES:
        raise ValueError(f"{bands.shape[1]} frames are more than {MOST_FRAMES}: cut the stretch.")
    of = _weights(dtype or computed_in())
    x = functional.relu(_over_time(_front(bands.to(of["tdnn.bias"].dtype), of), of, "tdnn", stride=2))
    for block, (layers, dilation) in enumerate(zip(LAYERS, DILATIONS, strict=True), 1):
        x = _activated(_dense_block(x, of, block, layers, dilation), of, f"transit{block}")
    x = torch.addcmul(of["out.norm.bias"], x.float(), of["out.norm.scale_of"]).relu_()
    mean = x.mean(dim=1)
    spread = ((x - mean[:, None]).square().sum(dim=1) / max(1, x.shape[1] - 1)).sqrt()
    return functional.linear(torch.cat([mean, spread], dim=1), of["dense.weight"], of["dense.bias"])


Weights = dict[str, torch.Tensor]


def _front(bands: torch.Tensor, of: Weights) -> torch.Tensor:
    """Two-dimensional convolutions over bands and time: ``(batch, frames, 320)``."""
    x = bands.transpose(1, 2)[:, None].contiguous(memory_format=torch.channels_last)
    x = _over_both(x, of, "head.conv1").relu_()
    for layer in (1, 2):
        for number, stride in ((0, 2), (1, 1)):
            name = f"head.layer{layer}.{number}"
            inner = _over_both(x, of, f"{name}.conv1", stride).relu_()
            skipped = _over_both(x, of, f"{name}.shortcut", stride, padding=0) if number == 0 else x
            x = _over_both(inner, of, f"{name}.conv2").add_(skipped).relu_()
    x = _over_both(x, of, "head.conv2", 2).relu_()
    return x.flatten(1, 2).transpose(1, 2)


def _over_both(x: torch.Tensor, of: Weights, name: str, stride: int = 1, padding: int = 1) -> torch.Tensor:
    return functional.conv2d(x, of[f"{name}.weight"], of[f"{name}.bias"], stride=(stride, 1), padding=padding)


def _over_time(x: torch.Tensor, of: Weights, name: str, stride: int = 1, dilation: int = 1) -> torch.Tensor:
    """A convolution over time of ``(batch, frames, channels)``, as one of pictures of height 1, which are quicker."""
    weight = of[f"{name}.weight"]
    padding = (weight.shape[3] - 1) // 2 * dilation
    pictures = x.transpose(1, 2)[:, :, None].contiguous(memory_format=torch.channels_last)
    found = functional.conv2d(pictures, weight, of.get(f"{name}.bias"), (1, stride), (0, padding), (1, dilation))
    return found[:, :, 0].transpose(1, 2)


def _dense_block(x: torch.Tensor, of: Weights, block: int, layers: int, dilation: int) -> torch.Tensor:
    batch, frames, channels = x.shape
    grown = x.new_empty(batch, frames, channels + layers * GROWTH)
    grown[:, :, :channels] = x
    for layer in range(1, layers + 1):
        name = f"block{block}.{layer}"
        inner = _activated(grown[:, :, :channels], of, name).relu_()
        context = 2 * inner.mean(dim=1, keepdim=True)
        mask = functional.linear(context, of[f"{name}.mask1.weight"], of[f"{name}.mask1.bias"]).relu_()
        mask = functional.linear(mask, of[f"{name}.mask2.weight"], of[f"{name}.mask2.bias"]).sigmoid_()
        local = _over_time(inner, of, f"{name}.local", dilation=dilation)
        torch.mul(local, mask, out=grown[:, :, channels : channels + GROWTH])
        channels += GROWTH
    return grown


def _activated(x: torch.Tensor, of: Weights, name: str) -> torch.Tensor:
    """Batch normalisation, ReLU and a product with weights, as limits on each channel and a product."""
    x = torch.maximum(x, of[f"{name}.least"])
    if f"{name}.most" in of:
        x = torch.minimum(x, of[f"{name}.most"])
    return functional.linear(x, of[f"{name}.weight"], of[f"{name}.bias"])


@functools.cache
def _weights(dtype: torch.dtype) -> Weights:
    """The weights by name, normalisation folded in."""
    stored = safetensors.torch.load_file(WEIGHTS)
    for name in [name for name in stored if name.endswith(".scale")]:
        scale, weight = stored.pop(name), stored[name.replace(".scale", ".weight")].float()
        stored[name.replace(".scale", ".weight")] = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    for name in [name.removesuffix(".norm.bias") for name in stored if name.endswith(".norm.bias") and name != "out.norm.bias"]:
        stored |= _folded(stored, name, dtype)
    return {name: tensor.float() if name.startswith(("out.", "dense.")) else _laid_out(tensor.to(dtype)) for name, tensor in stored.items()}


def _folded(stored: Weights, name: str, dtype: torch.dtype) -> Weights:
    """Limits, weights and bias of `_activated`. The bias is that of the rounded limits and weights: below a limit nothing is left."""
    scale, shift = stored.pop(f"{name}.norm.scale_of").double(), stored.pop(f"{name}.norm.bias").double()
    limit, weight = (-shift / scale).to(dtype), (stored[f"{name}.weight"].double() * scale).to(dtype)
    bias = stored.get(f"{name}.bias", torch.zeros(())).double() - weight.double() @ limit.double()
    folded = {f"{name}.weight": weight, f"{name}.bias": bias, f"{name}.least": torch.where(scale > 0, limit, -torch.inf)}
    if (scale < 0).any():
        folded[f"{name}.most"] = torch.where(scale < 0, limit, torch.inf)
    return folded


def _laid_out(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor[:, :, None] if tensor.ndim == 3 else tensor
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
