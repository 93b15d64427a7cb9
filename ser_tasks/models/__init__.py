"""Models: one file a model, listed in ``MODELS``.

A model is a ``SegmentModel(n_classes, n_features)``. Called with ``x`` float32 ``(batch, frames, n_features)`` and
``lengths`` int64 ``(batch,)``, it returns logits ``(batch, n_classes)``, one row a segment, in order. A segment's logits
depend neither on the other segments nor on values of ``x`` beyond its length. ``HEADS`` names its layers with one output a class, so
that classes can be removed after training. A model that is ``NoveltyAware`` is fitted to the summaries of the training clips after
training.
"""

from collections.abc import Mapping

import torch
from torch import nn

from ser_tasks.models.attention_gru import AttentionGru
from ser_tasks.models.attention_gru_one_step import AttentionGruOneStep
from ser_tasks.models.base import LineModel, NoveltyAware, SegmentModel
from ser_tasks.models.clustered_bilstm import ClusteredBiLstm
from ser_tasks.models.cnn import Cnn
from ser_tasks.models.cnn_lstm import CnnLstm
from ser_tasks.models.cnn_tcn import CnnTcn
from ser_tasks.models.crnn import Crnn
from ser_tasks.models.emotion2vec import Emotion2vec
from ser_tasks.models.encoder_folder import find_encoder
from ser_tasks.models.ensemble_1d import Ensemble1d
from ser_tasks.models.ge2e_lr import Ge2eLinear
from ser_tasks.models.ge2e_tcn import Ge2eTcn
from ser_tasks.models.hubert import HuBert
from ser_tasks.models.joint_lr import JointLinear
from ser_tasks.models.keyframe_cnn3d import KeyframeCnn3d
from ser_tasks.models.layer_sum import LayerSum
from ser_tasks.models.lflb_lstm import LflbLstm
from ser_tasks.models.lstm import Lstm
from ser_tasks.models.mdre import Mdre
from ser_tasks.models.mdre_audio import MdreAudio
from ser_tasks.models.mdre_text import MdreText
from ser_tasks.models.mean_cnn import MeanCnn
from ser_tasks.models.pooled import PooledLinear, mean_and_deviation
from ser_tasks.models.two_way_dense import TwoWayDense
from ser_tasks.models.two_way_image import TwoWayImage
from ser_tasks.models.wav2vec2 import Wav2Vec2
from ser_tasks.models.wavlm import WavLM
from ser_tasks.models.whisper_lr import WhisperLinear

MODELS: dict[str, type[SegmentModel]] = {
    "cnn_lstm": CnnLstm,
    "crnn": Crnn,
    "cnn_tcn": CnnTcn,
    "ge2e_tcn": Ge2eTcn,
    "ge2e_lr": Ge2eLinear,
    "whisper_lr": WhisperLinear,
    "joint_lr": JointLinear,
    "cnn": Cnn,
    "lstm": Lstm,
    "lflb_lstm": LflbLstm,
    "attention_gru": AttentionGru,
    "attention_gru_one_step": AttentionGruOneStep,
    "ensemble_1d": Ensemble1d,
    "mean_cnn": MeanCnn,
    "clustered_bilstm": ClusteredBiLstm,
    "keyframe_cnn3d": KeyframeCnn3d,
    "two_way_dense": TwoWayDense,
    "two_way_image": TwoWayImage,
    "mdre": Mdre,
    "mdre_audio": MdreAudio,
    "mdre_text": MdreText,
    "wav2vec2": Wav2Vec2,
    "wavlm": WavLM,
    "hubert": HuBert,
    "emotion2vec": Emotion2vec,
}


def make_model(name: str, n_classes: int, n_features: int, encoder_sha256: str | None = None) -> SegmentModel:
    """The model of that name, with newly initialised weights. An unknown name raises ``ValueError``.

    A model whose encoder is in a folder of its own (``needs_encoder``) takes the one in ``SER_ENCODERS``, or among several the one of
    that SHA-256, and raises what ``find_encoder`` raises.
    """
    if name not in MODELS:
        raise ValueError(f"Model {name!r} is unknown: choose one of {', '.join(MODELS)}.")
    model = MODELS[name]
    return model(n_classes, n_features, encoder_sha256) if issubclass(model, LayerSum) else model(n_classes, n_features)


def needs_encoder(name: str) -> bool:
    """Whether the model of that name has a pretrained encoder in a folder of its own."""
    return name in MODELS and issubclass(MODELS[name], LayerSum)


def encoder_of(name: str) -> dict[str, str]:
    """Name and SHA-256 of the encoder that a model of that name takes; empty where it needs none."""
    model = MODELS[name]
    return find_encoder(model.KIND).names if issubclass(model, LayerSum) else {}


@torch.no_grad()
def only_classes(name: str, module: nn.Module, kept: list[int], n_features: int) -> nn.Module:
    """The module with the classes ``kept`` alone, in that order. Their logits do not change."""
    tensors = dict(module.state_dict())
    for head in MODELS[name].HEADS:
        for part in ("weight", "bias"):
            tensors[f"{head}.{part}"] = tensors[f"{head}.{part}"][kept].clone()
    encoder_sha256 = module.encoder.folder.sha256 if isinstance(module, LayerSum) else None
    smaller = make_model(name, len(kept), n_features, encoder_sha256)
    smaller.load_state_dict(tensors)
    return smaller.eval()


def load_classic(model: nn.Module, state_dict: Mapping[str, torch.Tensor]) -> None:
    """Loads weights with other keys whose tensors have the model's shapes in the model's order.

    The first tensor that does not fit raises ``ValueError`` and leaves the model as it was.
    """
    expected = model.state_dict()
    if expected.keys() == state_dict.keys():
        state_dict = {name: state_dict[name] for name in expected}
    for (name, tensor), (given_name, given) in zip(expected.items(), state_dict.items(), strict=False):
        if tensor.shape != given.shape:
            raise ValueError(f"Tensor {given_name!r} does not fit {name!r}: {tuple(given.shape)} != {tuple(tensor.shape)}.")
    if len(expected) != len(state_dict):
        longer, shorter = sorted((expected, state_dict), key=len, reverse=True)
        first = list(longer)[len(shorter)]
        counts = f"{len(state_dict)} != {len(expected)}"
        raise ValueError(f"Tensors given and needed differ in number: {counts}. {first!r} has no match.")
    model.load_state_dict(dict(zip(expected, state_dict.values(), strict=True)))


__all__ = [
    "MODELS",
    "LayerSum",
    "LineModel",
    "NoveltyAware",
    "PooledLinear",
    "SegmentModel",
    "encoder_of",
    "load_classic",
    "make_model",
    "mean_and_deviation",
    "needs_encoder",
    "only_classes",
]
