"""The first two layers of a pretrained speaker encoder."""

import functools
import math
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from ser_tasks.features.mel32 import CENTRE_DB, SPREAD_DB
from ser_tasks.models.masking import valid_frames

WEIGHTS = Path(__file__).with_name("ge2e.safetensors")
"""Weights of the encoder; ``ge2e.md`` states their source."""
ORIGIN = (
    "Two of its layers are those of the voice encoder in Resemblyzer 0.1.4 by Resemble.AI, Apache License 2.0, trained to\n"
    "distinguish speakers of LibriSpeech, VoxCeleb1 and VoxCeleb2 (Wan et al., ICASSP 2018). Their weights are unchanged. Left out\n"
    "are the third layer and the embedding, so that no voice print is computed, and the bands above 4,000 Hz."
)
HIDDEN = 256
LAYERS = 2
MEAN_POWER = 0.0127
"""Mean power of a mel band in speech at -30 dBFS, the level of the encoder's training data."""


class Ge2eEncoder(nn.ModuleList):
    """Two LSTM layers of a GE2E speaker encoder, trained to distinguish some 9,000 speakers (Wan et al., 2018); 0.8 M parameters.

    With 32 bands, those of ``mel32``, it has its pretrained weights and is frozen; with another number it is trained from scratch.
    """

    BANDS = 32

    def __init__(self, n_bands: int) -> None:
        super().__init__(nn.LSTM(n_bands if layer == 0 else HIDDEN, HIDDEN, batch_first=True) for layer in range(LAYERS))
        if n_bands == self.BANDS:
            self.load_state_dict(_pretrained())
            self.requires_grad_(False)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """States after each layer, each ``(batch, frames, 256)``, and the number that count of each segment, ``lengths``.

        ``x`` is float32 ``(batch, frames, n_bands)``, of which ``lengths`` frames count. The states that count depend neither on the other
        segments nor on later frames.
        """
        x = x.masked_fill(~valid_frames(lengths, x.shape[1])[:, :, None], 0)
        x = torch.exp((x * SPREAD_DB + CENTRE_DB) * (math.log(10) / 10)) * MEAN_POWER  # the encoder takes power, not dB
        outputs = []
        for layer in self:  # forwards in time: padding after a segment does not change its states
            x, _ = layer(x)
            outputs.append(x)
        return outputs, lengths


@functools.cache
def _pretrained() -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(WEIGHTS)
