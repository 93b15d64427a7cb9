"""The first layers of the speech encoder of Whisper base, and the states of its blocks."""

import functools
import hashlib
import math
from pathlib import Path

import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

from ser_tasks.models.masking import valid_frames

WEIGHTS = Path(__file__).with_name("whisper.safetensors")
"""Int8 weights with a scale for each output channel; ``whisper.md`` states their source."""
ORIGIN = (
    "Two convolutions and three of the six blocks of its encoder are those of Whisper base by OpenAI, MIT License, trained to transcribe\n"
    "and translate 680,000 hours of speech (Radford et al., 2022). Their weights are rounded to 8 bits. Left out are the upper blocks and\n"
    "the decoder, so that no words are recognised."
)
WIDTH = 512
HEADS = 8
BLOCKS = 3
LONGEST_PERIOD = 10_000
"""Of the sinusoids of positions, in multiples of ``2 pi`` states."""


class WhisperEncoder(nn.Module):
    """Two convolutions and the first three of the six blocks of Whisper base's encoder (Radford et al., 2022); 10.3 M parameters.

    With 80 bands, those of ``whisper80``, it has its pretrained weights, which are frozen and no part of its ``state_dict``: that has only
    their digest, and refuses another with ``ValueError``. With another number of bands it is trained from scratch.
    """

    BANDS = 80

    def __init__(self, n_bands: int) -> None:
        super().__init__()
        self.pretrained = n_bands == self.BANDS
        for name, tensor in (_pretrained() if self.pretrained else _initial(n_bands)).items():
            if self.pretrained or name.endswith(".scale"):
                self.register_buffer(_attribute(name), tensor, persistent=False)
            else:
                self.register_parameter(_attribute(name), nn.Parameter(tensor))
        if self.pretrained:
            self.register_buffer("digest", _digest())
            self.register_load_state_dict_pre_hook(_same_weights)  # type: ignore[no-untyped-call]

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """States after each block, each ``(batch, ceil(frames / 2), 512)``, a state every 20 ms, and the number that count of each segment.

        ``x`` is float32 ``(batch, frames, n_bands)``, of which ``lengths`` frames count. The states that count depend neither on the other
        segments nor on later frames. Unlike Whisper, which fills segments up to 30 s, the encoder sees each at its own length.
        """
        x = x.masked_fill(~valid_frames(lengths, x.shape[1])[:, :, None], 0).transpose(1, 2)
        x = functional.gelu(self._conv("conv1", x, stride=1))
        x = x * valid_frames(lengths, x.shape[2])[:, None].to(x.dtype)
        x = functional.gelu(self._conv("conv2", x, stride=2))
        lengths = (lengths + 1) // 2
        valid = valid_frames(lengths, x.shape[2])
        x = x.transpose(1, 2).float() + _positions(x.shape[2]).to(x.device)
        states = []
        for block in range(BLOCKS):
            x = self._block(f"blocks.{block}", x, valid[:, None, None])
            states.append(x)
        return states, lengths

    def _block(self, name: str, x: torch.Tensor, heard: torch.Tensor) -> torch.Tensor:
        """States after one block; attention only reaches states that are ``heard``, bool ``(batch, 1, 1, states)``."""
        batch, n_states, _ = x.shape
        projected = self._linear(f"{name}.qkv", self._norm(f"{name}.ln1", x))
        query, key, value = projected.view(batch, n_states, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=heard)
        x = x + self._linear(f"{name}.out", attended.transpose(1, 2).reshape(batch, n_states, WIDTH), torch.float32)
        hidden = functional.gelu(self._linear(f"{name}.fc1", self._norm(f"{name}.ln2", x)))
        return x + self._linear(f"{name}.fc2", hidden, torch.float32)

    def _conv(self, name: str, x: torch.Tensor, stride: int) -> torch.Tensor:
        product = functional.conv1d(x, self._of(f"{name}.weight"), stride=stride, padding=1)
        return product * self._of(f"{name}.scale")[:, None] + self._of(f"{name}.bias")[:, None]

    def _linear(self, name: str, x: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Scaled and shifted in ``dtype``, that of the product by default."""
        product = functional.linear(x, self._of(f"{name}.weight"))
        dtype = dtype or product.dtype
        return product * self._of(f"{name}.scale").to(dtype) + self._of(f"{name}.bias").to(dtype)

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, (WIDTH,), self._of(f"{name}.weight"), self._of(f"{name}.bias"))

    def _of(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = getattr(self, _attribute(name))
        return tensor


def _attribute(name: str) -> str:
    """A tensor's name as that of an attribute, which has no dots."""
    return name.replace(".", "_")


@functools.cache
def _pretrained() -> dict[str, torch.Tensor]:
    """The weights in float32, by name.

    Only the power of two in a channel's scale is in its weights. These are exact in bfloat16 then, where rounded weights would shift every
    state of a segment alike, so that its mean over time would not average the error out. The rest, 1 to 2, is applied to the products.
    """
    stored = {name: tensor.float() for name, tensor in safetensors.torch.load_file(WEIGHTS).items()}
    for name in [name for name in stored if name.endswith(".scale")]:
        weight = name.replace(".scale", ".weight")
        power = torch.exp2(stored[name].log2().floor())
        stored[weight] *= power.reshape(-1, *[1] * (stored[weight].ndim - 1))
        stored[name] /= power
    return stored


@functools.cache
def _digest() -> torch.Tensor:
    """The SHA-256 of the weights' file, uint8 ``(32,)``."""
    return torch.frombuffer(bytearray(hashlib.sha256(WEIGHTS.read_bytes()).digest()), dtype=torch.uint8)


def _same_weights(module: nn.Module, tensors: dict[str, torch.Tensor], prefix: str, *_: object) -> None:
    given, own = tensors.get(f"{prefix}digest"), _digest()
    if given is not None and not torch.equal(given.cpu(), own):
        raise ValueError(
            f"The weights were trained with another encoder, of SHA-256 {_hex(given)}: this package has {_hex(own)}. "
            "Train the bundle again, or install the package it was trained with."
        )


def _hex(digest: torch.Tensor) -> str:
    return bytes(digest.to(torch.uint8).tolist()).hex()[:16]


def _initial(n_bands: int) -> dict[str, torch.Tensor]:
    """Newly initialised weights, by name; their scales are 1."""
    layers: dict[str, nn.Module] = {"conv1": nn.Conv1d(n_bands, WIDTH, 3), "conv2": nn.Conv1d(WIDTH, WIDTH, 3)}
    for block in range(BLOCKS):
        layers |= {
            f"blocks.{block}.ln1": nn.LayerNorm(WIDTH),
            f"blocks.{block}.qkv": nn.Linear(WIDTH, 3 * WIDTH),
            f"blocks.{block}.out": nn.Linear(WIDTH, WIDTH),
            f"blocks.{block}.ln2": nn.LayerNorm(WIDTH),
            f"blocks.{block}.fc1": nn.Linear(WIDTH, 4 * WIDTH),
            f"blocks.{block}.fc2": nn.Linear(4 * WIDTH, WIDTH),
        }
    weights = {f"{layer}.{name}": tensor.detach() for layer, module in layers.items() for name, tensor in module.named_parameters()}
    scaled = [layer for layer, module in layers.items() if not isinstance(module, nn.LayerNorm)]
    return weights | {f"{layer}.scale": torch.ones(len(weights[f"{layer}.bias"])) for layer in scaled}


def _positions(n_states: int) -> torch.Tensor:
    """Sinusoids of positions, float32 ``(n_states, 512)`` (Vaswani et al., 2017): sines of all frequencies, then cosines."""
    half = WIDTH // 2
    frequencies = torch.exp(torch.arange(half) * (-math.log(LONGEST_PERIOD) / (half - 1)))
    angles = torch.arange(n_states)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
