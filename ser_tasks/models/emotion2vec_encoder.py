"""The encoder of emotion2vec: data2vec 2.0 on samples, with distances as attention biases, as FunASR and fairseq publish it."""

import ast
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ser_tasks.models.encoder_folder import EncoderFolder, load_tensors, read_checkpoint

AUDIO = "modality_encoders.AUDIO."
PREFIXES = ("module.", "model.", "d2v_model.")
"""That checkpoints of trainers, and of models with a head, put before the encoder's names."""
MOST_CONVOLUTIONS = 64
EPS = 1e-5
"""Of norms without a setting of their own."""


class Emotion2vecEncoder(nn.Module):
    """The frozen encoder of a folder, in float32 (Ma et al., 2024; Baevski et al., 2022). Raises ``ValueError`` for another's folder.

    Convolutions over samples, a projection, convolutions of positions, learned extra states before the others, and blocks of attention
    with a bias that falls with distance (Press et al., 2022).
    """

    def __init__(self, folder: EncoderFolder) -> None:
        super().__init__()
        settings = read_settings(folder)
        self.normalise = settings.normalise
        self.modality_encoders = nn.ModuleDict({"AUDIO": _AudioEncoder(settings)})
        self.blocks = nn.ModuleList(_Block(settings) for _ in range(settings.depth))
        self.norm = nn.LayerNorm(settings.width, settings.eps, settings.affine) if settings.norm_first else None
        load_tensors(self, _tensors(folder), folder.path)

    def forward(self, signal: torch.Tensor) -> list[torch.Tensor]:
        """States ``(batch, states, width)`` of each block, from what enters the first one on, of signals ``(batch, samples)`` at 16 kHz.

        The last are those that emotion2vec's own scripts return.
        """
        if self.normalise:
            signal = functional.layer_norm(signal, signal.shape[1:], eps=EPS)
        audio: Any = self.modality_encoders["AUDIO"]
        x, biases = audio.embedded(signal)
        states = [x]
        for block, bias in zip((*audio.context_encoder["blocks"], *self.blocks), biases, strict=True):
            x = block(x, bias)
            states.append(x)
        if self.norm is not None:
            states[-1] = self.norm(states[-1])
        return [state[:, audio.n_extra :] for state in states]


class Settings:
    """What of a checkpoint's settings its states depend on."""

    def __init__(self, model: Mapping[str, Any], normalise: object) -> None:
        audio = model["modalities"]["audio"]
        self.normalise = bool(normalise)
        self.width, self.heads = int(model["embed_dim"]), int(model["num_heads"])
        self.depth, self.prenet_depth = int(model["depth"]), int(audio["prenet_depth"])
        self.mlp = int(self.width * float(model.get("mlp_ratio", 4.0)))
        self.eps = float(model.get("norm_eps", EPS))
        self.affine = bool(model.get("norm_affine", True))
        self.norm_first = bool(model.get("layer_norm_first", False))
        self.convolutions = convolutions_of(str(audio["feature_encoder_spec"]))
        self.norm_of_convolutions = str(audio.get("extractor_mode", model.get("extractor_mode", "layer_norm")))
        self.position_depth, self.position_groups = int(audio["conv_pos_depth"]), int(audio["conv_pos_groups"])
        self.position_kernel = max(3, int(audio["conv_pos_width"]) // self.position_depth)
        self.position_norm = bool(audio.get("conv_pos_pre_ln", False))
        self.extra = int(audio.get("num_extra_tokens", 0))
        self.alibi = bool(audio.get("use_alibi_encoder", False))
        self.alibi_heads = int(audio.get("num_alibi_heads", self.heads))
        per_layer, per_head = (bool(audio.get(f"learned_alibi_scale_per_{each}", False)) for each in ("layer", "head"))
        scales = self.prenet_depth + self.depth if per_layer else 1
        self.alibi_scales = (scales, 1, self.alibi_heads if per_head else 1, 1, 1)
        if audio.get("learned_alibi"):
            raise ValueError("learned_alibi is true: attention biases that were learned are not supported")
        if self.norm_of_convolutions not in ("default", "layer_norm"):
            raise ValueError(f"extractor_mode is {self.norm_of_convolutions!r}: it must be default or layer_norm")
        if not 0 < self.alibi_heads <= self.heads or self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not fit a width of {self.width} and {self.alibi_heads} heads with biases")


def read_settings(folder: EncoderFolder) -> Settings:
    """The settings of a folder: of FunASR's ``config.yaml``, or of the checkpoint itself, as fairseq writes it. Raises ``ValueError``."""
    try:
        if folder.files[0].suffix == ".yaml":
            model = folder.config()["model_conf"]
            return Settings(model, model.get("normalize", True))
        settings = read_checkpoint(folder.files[0])["cfg"]
        return Settings(settings["model"], settings["task"].get("normalize", True))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{folder.files[0]} describes no emotion2vec encoder: {type(error).__name__}: {error}.") from error


def convolutions_of(text: str) -> list[tuple[int, int, int]]:
    """Channels, kernel and stride of each convolution, of a text as ``[(512, 10, 5)] + [(512, 3, 2)] * 4``. It is read, never run."""

    def value(node: ast.expr) -> Any:
        match node:
            case ast.BinOp(left, ast.Add(), right):
                return value(left) + value(right)
            case ast.BinOp(left, ast.Mult(), ast.Constant(int(times))) if 0 < times <= MOST_CONVOLUTIONS:
                return value(left) * times
            case ast.List():
                return [tuple(map(int, each)) for each in ast.literal_eval(node)]
        raise ValueError("it is no sum of lists")

    try:
        convolutions = value(ast.parse(text, mode="eval").body)
        if not 0 < len(convolutions) <= MOST_CONVOLUTIONS or any(len(each) != 3 or min(each) < 1 for each in convolutions):
            raise ValueError("each convolution has channels, kernel and stride")
    except (SyntaxError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"feature_encoder_spec is {text[:100]!r}: {error}") from error
    return list(convolutions)


def slopes(heads: int) -> list[float]:
    """By how much each head's bias falls with distance: a geometric row, filled up from that of twice as many (Press et al., 2022)."""
    power = 2 ** math.floor(math.log2(heads))
    row = [2 ** (-8 / power * number) for number in range(1, power + 1)]
    return row if power == heads else row + slopes(2 * power)[::2][: heads - power]


class _AudioEncoder(nn.Module):
    """From samples to the states that enter the blocks, and the attention biases of each block."""

    local_encoder: Any
    project_features: Any
    relative_positional_encoder: Any
    context_encoder: Any

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        width = settings.width
        channels = [1, *(channels for channels, _, _ in settings.convolutions)]
        self.n_extra = settings.extra
        self.n_blocks, self.alibi_heads = settings.prenet_depth + settings.depth, settings.alibi_heads if settings.alibi else 0
        layers = nn.ModuleList()
        for number, (out, kernel, stride) in enumerate(settings.convolutions):
            layer = nn.ModuleDict({"0": nn.Conv1d(channels[number], out, kernel, stride, bias=False)})
            if settings.norm_of_convolutions == "layer_norm":
                layer["2"] = nn.ModuleDict({"1": nn.LayerNorm(out)})
            elif number == 0:
                layer["2"] = nn.GroupNorm(out, out)
            layers.append(layer)
        self.local_encoder = nn.ModuleDict({"conv_layers": layers})
        self.project_features = nn.ModuleDict({"1": nn.LayerNorm(channels[-1]), "2": nn.Linear(channels[-1], width)})
        kernel = settings.position_kernel
        positions = nn.ModuleDict(
            {
                str(number + 1): nn.ModuleDict({"0": nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=settings.position_groups)})
                for number in range(settings.position_depth)
            }
        )
        self.relative_positional_encoder = (
            nn.ModuleDict({"0": nn.LayerNorm(width), "1": positions}) if settings.position_norm else positions
        )
        self.context_encoder = nn.ModuleDict({"blocks": nn.ModuleList(_Block(settings) for _ in range(settings.prenet_depth))})
        if not settings.norm_first:
            self.context_encoder["norm"] = nn.LayerNorm(width, settings.eps, settings.affine)
        if settings.extra:
            self.extra_tokens = nn.Parameter(torch.zeros(1, settings.extra, width))
        if settings.alibi:
            self.alibi_scale = nn.Parameter(torch.ones(settings.alibi_scales))

    def embedded(self, signal: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
        """States ``(batch, extra + states, width)`` and, for each block, a bias ``(1, heads, extra + states, extra + states)`` or None."""
        x = signal[:, None]
        for layer in self.local_encoder["conv_layers"]:
            x = layer["0"](x)
            if "2" in layer:
                norm = layer["2"]
                x = norm(x) if isinstance(norm, nn.GroupNorm) else norm["1"](x.transpose(1, 2)).transpose(1, 2)
            x = functional.gelu(x)
        x = self.project_features["2"](self.project_features["1"](x.transpose(1, 2)))
        n_states = x.shape[1]
        x = x + self._positions(x)
        if self.n_extra:
            x = torch.cat([self.extra_tokens.expand(len(x), -1, -1), x], dim=1)
        if "norm" in self.context_encoder:
            x = self.context_encoder["norm"](x)
        return x, self._biases(n_states, x.device)

    def _positions(self, x: torch.Tensor) -> torch.Tensor:
        encoder = self.relative_positional_encoder
        if "0" in encoder:
            x, encoder = encoder["0"](x), encoder["1"]
        n_states = x.shape[1]
        for layer in encoder.values():
            x = layer["0"](x.transpose(1, 2))[:, :, :n_states].transpose(1, 2)
            x = functional.gelu(functional.layer_norm(x, x.shape[2:], eps=EPS))
        return x

    def _biases(self, n_states: int, device: torch.device) -> list[torch.Tensor | None]:
        if not self.alibi_heads:
            return [None] * self.n_blocks
        place = torch.arange(n_states, device=device)
        falling = -torch.tensor(slopes(self.alibi_heads), device=device)[:, None, None] * (place[:, None] - place).abs()
        scales = self.alibi_scale.clamp(min=0)
        scales = scales.expand(self.n_blocks, *scales.shape[1:]) if len(scales) == 1 else scales
        return [functional.pad(falling * scale, (self.n_extra, 0, self.n_extra, 0)) for scale in scales]


class _Block(nn.Module):
    """Attention and two linear layers, each added to what enters it, and normalised before or after."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        width = settings.width
        self.heads, self.norm_first = settings.heads, settings.norm_first
        self.norm1, self.norm2 = (nn.LayerNorm(width, settings.eps, settings.affine) for _ in range(2))
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, settings.mlp), "fc2": nn.Linear(settings.mlp, width)})

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """States of the same shape. ``bias`` may have fewer heads than the block; the others have none."""
        if self.norm_first:
            # The states that attention was added to are replaced, not added to, as data2vec 2.0 does.
            x = self._mlp(self.norm2(x + self._attention(self.norm1(x), bias)))
            return x + x
        x = self.norm1(x + self._attention(x, bias))
        normalised: torch.Tensor = self.norm2(x + self._mlp(x))
        return normalised

    def _attention(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        batch, n_states, width = x.shape
        query, key, value = self.attn["qkv"](x).view(batch, n_states, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        if bias is not None:
            bias = functional.pad(bias, (0, 0, 0, 0, 0, self.heads - bias.shape[1]))
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        projected: torch.Tensor = self.attn["proj"](attended.transpose(1, 2).reshape(batch, n_states, width))
        return projected

    def _mlp(self, x: torch.Tensor) -> torch.Tensor:
        expanded: torch.Tensor = self.mlp["fc2"](functional.gelu(self.mlp["fc1"](x)))
        return expanded


def _tensors(folder: EncoderFolder) -> dict[str, torch.Tensor]:
    """The checkpoint's tensors without what precedes the encoder's names."""
    content = read_checkpoint(folder.files[-1])
    for key in ("model", "state_dict", "model_state_dict"):
        if isinstance(content.get(key), dict):
            content = content[key]
            break
    tensors = {}
    for name, tensor in content.items():
        if not isinstance(tensor, torch.Tensor):
            continue
        while prefix := next((each for each in PREFIXES if name.startswith(each)), None):
            name = name.removeprefix(prefix)
        if name == f"{AUDIO}alibi_scale" and tensor.ndim == 4:  # of older checkpoints
            tensor = tensor[None]
        tensors[name] = tensor
    return tensors
