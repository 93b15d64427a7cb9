"""What models share that classify a weighted sum of the layers of a frozen encoder, which lies in a folder of its own."""

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import nn

from ser_tasks.features.wave16k import END
from ser_tasks.models.encoder_folder import HEX_DIGITS, EncoderFolder, find_encoder
from ser_tasks.models.pooled import PooledLinear

HIDDEN = 128
AT_ONCE_S = 120
"""Audio of equally long segments that the encoder is given at once."""
SAMPLING_RATE_HZ = 16_000

Shape = tuple[int, int, list[tuple[int, int]]]
"""Layers of states, their width, and kernel and stride of each convolution."""


class FrozenEncoder(nn.Module):
    """An encoder that is no part of the module's weights: ``state_dict`` has only its SHA-256, and refuses another with ``ValueError``.

    Its weights are read when they are first needed: training on states that are kept never does.
    """

    def __init__(self, folder: EncoderFolder, load: Callable[[EncoderFolder], nn.Module], shape: Shape) -> None:
        super().__init__()
        self.folder = folder
        self.layers, self.width, convolutions = shape
        one_state = functools.reduce(lambda states, each: (states - 1) * each[1] + each[0], reversed(convolutions), 1)
        self.least_samples = max(one_state, sum(convolutions[0]))  # two values of the first convolution, which may be normalised over time
        self._load = load
        self._networks: list[nn.Module] = []  # in a list, so that it is no part of this module
        self.digest: torch.Tensor
        self.register_buffer("digest", torch.frombuffer(bytearray.fromhex(folder.sha256), dtype=torch.uint8))
        self.register_load_state_dict_pre_hook(_same_encoder)  # type: ignore[no-untyped-call]

    def forward(self, signals: list[torch.Tensor]) -> torch.Tensor:
        """Mean over time of each layer's states, float32 ``(segments, layers, width)``, of signals ``(samples,)`` at 16 kHz.

        Only segments of equal length are computed together, so that none is padded: a segment's states depend on nothing but its samples.
        Those shorter than one state needs are lengthened by zeros.
        """
        signals = [nn.functional.pad(signal, (0, max(0, self.least_samples - len(signal)))) for signal in signals]
        means: list[torch.Tensor | None] = [None] * len(signals)
        for samples in sorted({len(signal) for signal in signals}):
            members = [index for index, signal in enumerate(signals) if len(signal) == samples]
            at_once = max(1, AT_ONCE_S * SAMPLING_RATE_HZ // samples)
            for start in range(0, len(members), at_once):
                some = members[start : start + at_once]
                for index, mean in zip(some, self._means(torch.stack([signals[index] for index in some])), strict=True):
                    means[index] = mean
        return torch.stack([mean for mean in means if mean is not None])

    def _means(self, signals: torch.Tensor) -> torch.Tensor:
        with torch.autocast(signals.device.type, enabled=False):
            return torch.stack([states.mean(dim=1) for states in self.network()(signals.float())], dim=1)

    def network(self) -> nn.Module:
        """The encoder itself, on this module's device."""
        if not self._networks:
            self._networks.append(self._load(self.folder).to(self.digest.device))
        return self._networks[0]

    def _apply(self, function: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> "FrozenEncoder":
        for network in self._networks:
            network._apply(function, recurse)  # type: ignore[no-untyped-call]
        super()._apply(function, recurse)  # type: ignore[no-untyped-call]
        return self


class LayerSum(PooledLinear):
    """``logits = W relu(V (sum over layers of softmax(s) * standardised means of the layer) + a) + b``.

    The means over time of every layer's states are standardised by the training clips or by a line, then summed with weights that are
    trained, as Pepino et al. (2021) and SUPERB (Yang et al., 2021) sum them. The encoder is in a folder of its own: ``find_encoder``.
    ``x`` are signals at 16 kHz, as ``wave16k`` cuts them in rows. Raises what ``find_encoder`` raises.
    """

    FEATURE_SETS = ("wave16k",)
    KIND: ClassVar[str]
    """Of the encoder."""

    @staticmethod
    def open_encoder(folder: EncoderFolder) -> nn.Module:
        """The encoder in a folder, which returns the states of each layer."""
        raise NotImplementedError

    @staticmethod
    def shape_of(folder: EncoderFolder) -> Shape:
        """Layers of states, their width, and kernel and stride of each convolution of a folder's encoder, from its settings alone."""
        raise NotImplementedError

    def __init__(self, n_classes: int, n_features: int, encoder_sha256: str | None = None) -> None:
        folder = find_encoder(self.KIND, encoder_sha256)
        shape = self.shape_of(folder)
        self.N_POOLED = shape[0] * shape[1]
        super().__init__(n_classes, n_features)
        self.encoder: FrozenEncoder = FrozenEncoder(folder, self.open_encoder, shape)
        self.layer_weights = nn.Parameter(torch.zeros(shape[0]))
        self.hidden = nn.Linear(shape[1], HIDDEN)
        self.logits = nn.Linear(HIDDEN, n_classes)

    def pooled(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Mean over time of each layer's states, one layer after the other."""
        signals = [row[:length].flatten() for row, length in zip(x, lengths.tolist(), strict=True)]
        means: torch.Tensor = self.encoder([signal[signal != END] for signal in signals])
        return means.flatten(1)

    def classify(self, standardised: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, n_classes)`` of standardised pooled features ``(batch, N_POOLED)``, always in float32."""
        with torch.autocast(standardised.device.type, enabled=False):
            layers = standardised.float().view(-1, self.encoder.layers, self.encoder.width)
            summed = torch.einsum("l,blw->bw", self.layer_weights.softmax(dim=0), layers)
            logits: torch.Tensor = self.logits(torch.relu(self.hidden(summed)))
        return logits


def _same_encoder(module: FrozenEncoder, tensors: dict[str, Any], prefix: str, *_: object) -> None:
    given = tensors.get(f"{prefix}digest")
    if given is not None and not torch.equal(given.cpu(), module.digest.cpu()):
        theirs, own = (bytes(digest.to(torch.uint8).tolist()).hex()[:HEX_DIGITS] for digest in (given, module.digest))
        raise ValueError(f"The weights were trained with another encoder, of SHA-256 {theirs}: {module.folder.path} has {own}.")
