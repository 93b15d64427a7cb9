"""wav2vec 2.0, WavLM and HuBERT in Hugging Face's layout, computed by ``transformers``. Nothing is fetched, no code of a folder is run."""

from typing import Any

import torch
from torch import nn

from ser_tasks.models.encoder_folder import PICKLE, PREPROCESSOR, SAFETENSORS, EncoderFolder, extractor_of, load_tensors, read_checkpoint
from ser_tasks.models.layer_sum import LayerSum, Shape

CLASSES = {
    "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2Model"),
    "wavlm": ("WavLMConfig", "WavLMModel"),
    "hubert": ("HubertConfig", "HubertModel"),
}
"""In ``transformers``, by ``model_type``."""
SHAPE = frozenset({"conv_kernel", "conv_stride", "num_hidden_layers", "hidden_size"})
"""Settings by which a model on an encoder is made, before the encoder itself is read."""
SMALLEST_VARIANCE = 1e-7
"""Added to a segment's variance, as by ``Wav2Vec2FeatureExtractor``."""
SAMPLING_RATE_HZ = 16_000
UNUSED = frozenset({"masked_spec_embed"})
"""Of training; some checkpoints lack it."""


class HuggingFaceEncoder(nn.Module):
    """The frozen encoder of a folder, in float32. Raises ``ValueError`` for a folder that does not hold together."""

    def __init__(self, folder: EncoderFolder) -> None:
        super().__init__()
        self.normalise = _is_normalised(folder)
        config = _config(folder)
        try:
            self.model: nn.Module = getattr(_transformers(), CLASSES[folder.kind][1])(config)
        except Exception as error:  # a wrong value raises whatever it leads to
            raise _describes_none(folder, error) from error
        load_tensors(self.model, _tensors(folder), folder.path, UNUSED)

    def forward(self, signal: torch.Tensor) -> list[torch.Tensor]:
        """States ``(batch, states, width)`` of each layer, from what enters the first one on, of signals ``(batch, samples)`` at 16 kHz."""
        if self.normalise:
            mean, variance = signal.mean(dim=1, keepdim=True), signal.var(dim=1, keepdim=True, correction=0)
            signal = (signal - mean) / (variance + SMALLEST_VARIANCE).sqrt()
        return list(self.model(signal, output_hidden_states=True).hidden_states)


class HuggingFaceSum(LayerSum):
    """A model on the layers of an encoder in Hugging Face's layout."""

    @staticmethod
    def open_encoder(folder: EncoderFolder) -> nn.Module:
        """As `LayerSum`'s. Raises ``ValueError`` for a folder that does not hold together."""
        return HuggingFaceEncoder(folder)

    @staticmethod
    def shape_of(folder: EncoderFolder) -> Shape:
        """As `LayerSum`'s. Raises ``ValueError`` where the configuration lacks them, and what ``_is_normalised`` raises, so that a folder
        that cannot be used is refused before anything is computed."""
        _is_normalised(folder)
        config = folder.config()
        if not config.keys() >= SHAPE:  # what a configuration leaves out has the default of its kind
            config = _config(folder).to_dict()
        try:
            convolutions = [(int(kernel), int(stride)) for kernel, stride in zip(config["conv_kernel"], config["conv_stride"], strict=True)]
            if not convolutions:
                raise ValueError("it has no convolution")
            return int(config["num_hidden_layers"]) + 1, int(config["hidden_size"]), convolutions
        except (TypeError, ValueError) as error:
            raise _describes_none(folder, error) from error


def _config(folder: EncoderFolder) -> Any:
    """``transformers``' configuration of the folder's encoder. Raises ``ValueError`` where it is none."""
    transformers = _transformers()
    try:
        return getattr(transformers, CLASSES[folder.kind][0]).from_dict(folder.config())
    except Exception as error:  # a wrong value raises whatever it leads to
        raise _describes_none(folder, error) from error


def _describes_none(folder: EncoderFolder, error: Exception) -> ValueError:
    return ValueError(f"{folder.files[0]} describes no {folder.kind} encoder: {type(error).__name__}: {error}")


def _is_normalised(folder: EncoderFolder) -> bool:
    """Whether segments are brought to mean 0 and deviation 1, as ``extractor_of`` the folder says."""
    extractor = extractor_of(folder.path)
    if extractor is None:
        raise FileNotFoundError(
            f"There is no {PREPROCESSOR} in {folder.path}: whether signals are normalised is not known. Copy it from its owner, or "
            'write {"do_normalize": true} or false into it, as the encoder was trained.'
        )
    file, settings = extractor
    if (rate := settings.get("sampling_rate", SAMPLING_RATE_HZ)) != SAMPLING_RATE_HZ:
        raise ValueError(f"{file} is of an encoder of {rate} Hz: only encoders of {SAMPLING_RATE_HZ} Hz can be used.")
    return bool(settings.get("do_normalize", True))


def _tensors(folder: EncoderFolder) -> dict[str, torch.Tensor]:
    """The encoder's tensors by today's names: without the prefix that heads put before them, and with the names of weight norm."""
    tensors: dict[str, torch.Tensor] = {}
    for file in folder.files:
        if file.suffix in (".safetensors", ".bin"):
            tensors |= {name: value for name, value in read_checkpoint(file).items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise ValueError(f"{folder.path} holds no weights: it needs {SAFETENSORS} or {PICKLE}.")
    renamed = {}
    for name, tensor in tensors.items():
        name = name.removeprefix(f"{folder.kind}.")
        for old, new in (("weight_g", "parametrizations.weight.original0"), ("weight_v", "parametrizations.weight.original1")):
            if name == f"encoder.pos_conv_embed.conv.{old}":
                name = f"encoder.pos_conv_embed.conv.{new}"
        renamed[name] = tensor
    return renamed


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ValueError('wav2vec2, wavlm and hubert need the package transformers: pip install -e ".[encoders]"') from error
    return transformers
