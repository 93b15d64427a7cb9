"""Models: one file a model, listed in ``MODELS``.

A model is made with ``Model(n_classes, n_features)``. Called with ``x`` float32 ``(batch, frames, n_features)`` and
``lengths`` int64 ``(batch,)``, it returns logits ``(batch, n_classes)``, one row a segment, in order. A segment's logits
depend neither on the other segments nor on what lies in ``x`` beyond its length. ``Model.HEADS`` names its layers of one output a
class: a model can be trained on more emotions than it is asked for later. ``Model.ORIGIN``, where it has one, says where weights come
from that training did not make. A model may have ``summary(x, lengths)`` and ``learn_usual(summaries)``: after training it is shown the
training clips once more, to know strangers by.
"""

from collections.abc import Mapping

import torch
from torch import nn

from ser_tasks.models.cnn_lstm import CnnLstm
from ser_tasks.models.cnn_tcn import CnnTcn
from ser_tasks.models.crnn import Crnn
from ser_tasks.models.ge2e_tcn import Ge2eTcn

MODELS: dict[str, type[nn.Module]] = {"cnn_lstm": CnnLstm, "crnn": Crnn, "cnn_tcn": CnnTcn, "ge2e_tcn": Ge2eTcn}


def make_model(name: str, n_classes: int, n_features: int) -> nn.Module:
    """The model of that name, with fresh weights. An unknown name raises ``ValueError``."""
    if name not in MODELS:
        raise ValueError(f"Model {name!r} is unknown: choose one of {', '.join(MODELS)}.")
    return MODELS[name](n_classes, n_features)


@torch.no_grad()
def only_classes(name: str, module: nn.Module, kept: list[int], n_features: int) -> nn.Module:
    """The module without all classes but ``kept``, in that order: the logits of these stay what they were."""
    tensors = dict(module.state_dict())
    for head in MODELS[name].HEADS:
        for part in ("weight", "bias"):
            tensors[f"{head}.{part}"] = tensors[f"{head}.{part}"][kept].clone()
    smaller = make_model(name, len(kept), n_features)
    smaller.load_state_dict(tensors)
    return smaller.eval()


def load_classic(model: nn.Module, state_dict: Mapping[str, torch.Tensor]) -> None:
    """Loads weights whose keys are named otherwise but whose tensors have the model's shapes, in the model's order.

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
