"""Tiny pretrained encoders with random weights, in the layouts of their owners."""

import json
from pathlib import Path
from typing import Any

import torch
import yaml

KINDS = ("wav2vec2", "wavlm", "hubert", "emotion2vec")
TINY = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "conv_dim": (12, 12, 12),
    "conv_kernel": (10, 3, 3),
    "conv_stride": (5, 2, 2),
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "num_buckets": 16,
    "max_bucket_distance": 40,
}
"""Of Hugging Face's configurations."""


def hugging_face_encoder(folder: Path, kind: str, seed: int = 0, do_normalize: bool = True, **changes: Any) -> Path:
    """A folder with config.json, preprocessor_config.json and model.safetensors, of which every weight is random."""
    import transformers

    configs = {"wav2vec2": "Wav2Vec2", "wavlm": "WavLM", "hubert": "Hubert"}
    settings = {name: value for name, value in TINY.items() if kind == "wavlm" or not name.endswith(("buckets", "distance"))} | changes
    config = getattr(transformers, f"{configs[kind]}Config")(**settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, f"{configs[kind]}Model")(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=do_normalize).save_pretrained(folder)
    return folder


def emotion2vec_settings(**changes: Any) -> dict[str, Any]:
    """``model_conf`` of FunASR's config.yaml. ``changes`` are of the map, or of its ``modalities.audio``, wherever the name is."""
    settings: dict[str, Any] = {
        "depth": 2,
        "num_heads": 4,
        "norm_eps": "1e-05",
        "norm_affine": True,
        "embed_dim": 24,
        "mlp_ratio": 2.0,
        "layer_norm_first": False,
        "normalize": True,
        "layerdrop": 0.05,
    }
    audio = {
        "type": "AUDIO",
        "prenet_depth": 1,
        "num_extra_tokens": 3,
        "use_alibi_encoder": True,
        "learned_alibi": False,
        "learned_alibi_scale_per_head": True,
        "learned_alibi_scale_per_layer": False,
        "num_alibi_heads": 4,
        "model_depth": 2,
        "extractor_mode": "layer_norm",
        "feature_encoder_spec": "[(12, 10, 5)] + [(12, 3, 2)] * 1 + [(16,3,2)]",
        "conv_pos_width": 15,
        "conv_pos_groups": 4,
        "conv_pos_depth": 3,
        "conv_pos_pre_ln": False,
    }
    settings |= {name: value for name, value in changes.items() if name in settings}
    audio |= {name: value for name, value in changes.items() if name in audio}
    audio["model_depth"] = settings["depth"]
    return settings | {"modalities": {"audio": audio}}


def emotion2vec_encoder(folder: Path, seed: int = 0, layout: str = "funasr", prefix: str = "", **changes: Any) -> Path:
    """A folder with config.yaml and model.pt (``funasr``), or with one checkpoint that has its own settings (``fairseq``)."""
    settings = emotion2vec_settings(**changes)
    tensors = {prefix + name: tensor for name, tensor in emotion2vec_tensors(settings, seed).items()}
    folder.mkdir(parents=True)
    if layout == "funasr":
        document = {"model": "Emotion2vec", "model_conf": settings}
        (folder / "config.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        (folder / "configuration.json").write_text(json.dumps({"model": {"type": "funasr"}}), encoding="utf-8")
        torch.save({"model": tensors}, folder / "model.pt")
    else:
        cfg = {"model": settings, "task": {"normalize": settings["normalize"]}}
        torch.save({"args": None, "cfg": cfg, "model": tensors}, folder / "emotion2vec_base.pt")
    return folder


def emotion2vec_tensors(settings: dict[str, Any], seed: int) -> dict[str, torch.Tensor]:  # noqa: PLR0915  one formula after the other
    """Random tensors under the names of the published checkpoint, with some of its training beside them."""
    audio, width, generator = settings["modalities"]["audio"], settings["embed_dim"], torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}

    def linear(name: str, *shape: int, bias: bool = True) -> None:
        tensors[f"{name}.weight"] = torch.randn(shape, generator=generator) / torch.tensor(shape[1:]).prod() ** 0.5
        if bias:
            tensors[f"{name}.bias"] = 0.3 * torch.randn(shape[0], generator=generator)

    def norm(name: str, size: int) -> None:
        tensors[f"{name}.weight"] = 1 + 0.3 * torch.randn(size, generator=generator)
        tensors[f"{name}.bias"] = 0.3 * torch.randn(size, generator=generator)

    def block(name: str) -> None:
        linear(f"{name}.attn.qkv", 3 * width, width)
        linear(f"{name}.attn.proj", width, width)
        linear(f"{name}.mlp.fc1", int(width * settings["mlp_ratio"]), width)
        linear(f"{name}.mlp.fc2", width, int(width * settings["mlp_ratio"]))
        for part in ("norm1", "norm2") if settings["norm_affine"] else ():
            norm(f"{name}.{part}", width)

    at, channels = "modality_encoders.AUDIO", 1
    for number, (out, kernel, _) in enumerate(eval(audio["feature_encoder_spec"])):
        linear(f"{at}.local_encoder.conv_layers.{number}.0", out, channels, kernel, bias=False)
        if audio["extractor_mode"] == "layer_norm":
            norm(f"{at}.local_encoder.conv_layers.{number}.2.1", out)
        elif number == 0:
            norm(f"{at}.local_encoder.conv_layers.{number}.2", out)
        channels = out
    norm(f"{at}.project_features.1", channels)
    linear(f"{at}.project_features.2", width, channels)
    positions = f"{at}.relative_positional_encoder"
    if audio["conv_pos_pre_ln"]:
        norm(f"{positions}.0", width)
        positions += ".1"
    kernel = max(3, audio["conv_pos_width"] // audio["conv_pos_depth"])
    for number in range(audio["conv_pos_depth"]):
        linear(f"{positions}.{number + 1}.0", width, width // audio["conv_pos_groups"], kernel)
    if audio["num_extra_tokens"]:
        tensors[f"{at}.extra_tokens"] = torch.randn(1, audio["num_extra_tokens"], width, generator=generator)
    if audio["use_alibi_encoder"]:
        layers = audio["prenet_depth"] + settings["depth"] if audio["learned_alibi_scale_per_layer"] else 1
        heads = audio["num_alibi_heads"] if audio["learned_alibi_scale_per_head"] else 1
        tensors[f"{at}.alibi_scale"] = torch.randn(layers, 1, heads, 1, 1, generator=generator)
    for number in range(audio["prenet_depth"]):
        block(f"{at}.context_encoder.blocks.{number}")
    for number in range(settings["depth"]):
        block(f"blocks.{number}")
    if settings["norm_affine"]:
        norm("norm" if settings["layer_norm_first"] else f"{at}.context_encoder.norm", width)
    linear(f"{at}.decoder.blocks.0.0", 8, width, 3)
    linear("proj", 9, width)
    return tensors


def encoders(folder: Path) -> Path:
    """A folder with one tiny encoder of each kind."""
    for seed, kind in enumerate(KINDS):
        if kind == "emotion2vec":
            emotion2vec_encoder(folder / kind, seed)
        else:
            hugging_face_encoder(folder / kind, kind, seed)
    return folder
