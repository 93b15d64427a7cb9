"""Folders of pretrained speech encoders, as their owners publish them: which one a model takes, and the SHA-256 that names it."""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import yaml

from ser_tasks.settings import Settings

CONFIG, CONFIG_OF_FUNASR = "config.json", "config.yaml"
PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"
WEIGHTS = (SAFETENSORS, f"{SAFETENSORS}.index.json", PICKLE, f"{PICKLE}.index.json")
"""Of Hugging Face's layout: the first that is there is taken. An index names the files of weights that are in several."""
DEPTH = 2
"""Levels of folders below ``SER_ENCODERS`` that are searched, as ``facebook/wav2vec2-base``."""
HEX_DIGITS = 16
"""Of a SHA-256 in messages."""


@dataclass(frozen=True)
class EncoderFolder:
    """A folder with a pretrained encoder."""

    path: Path
    kind: str
    """``wav2vec2``, ``wavlm``, ``hubert`` or another ``model_type`` of Hugging Face, or ``emotion2vec``."""
    files: tuple[Path, ...]
    """Configuration and weights."""

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    @property
    def sha256(self) -> str:
        """Of all files, with their names, in hex."""
        return _sha256(tuple((file, *_version(file)) for file in self.files))

    @property
    def names(self) -> dict[str, str]:
        """Name and SHA-256, by which a bundle names it."""
        return {"name": self.name, "sha256": self.sha256}

    def config(self) -> dict[str, Any]:
        """The first file's content. Raises ``ValueError`` where it is no map."""
        return read_map(self.files[0])


def find_encoder(kind: str, sha256: str | None = None) -> EncoderFolder:
    """The encoder of that kind in ``SER_ENCODERS`` (``--encoder``): that folder itself or one below, with that SHA-256 if given.

    Raises ``FileNotFoundError`` where there is none, ``ValueError`` where there are several or another than asked for.
    """
    place = Settings().encoders
    if place is None:
        raise FileNotFoundError(
            f"The model {kind} needs a pretrained encoder, which is in no bundle: give its folder by --encoder DIR or SER_ENCODERS."
        )
    root = Path(place)
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder {place} with an encoder: --encoder or SER_ENCODERS must name one.")
    folders = encoder_folders(root)
    same = [folder for folder in folders if folder.kind == kind]
    if not same:
        others = ", ".join(f"{folder.name} ({folder.kind})" for folder in folders) or "no encoder at all"
        raise FileNotFoundError(
            f"{place} holds no {kind} encoder: it has {others}. Give a folder with {CONFIG}, {PREPROCESSOR} and {SAFETENSORS} "
            f"as published (of emotion2vec: {CONFIG_OF_FUNASR} and model.pt) by --encoder."
        )
    if sha256 is not None:
        if matching := [folder for folder in same if folder.sha256 == sha256]:
            return matching[0]
        there = ", ".join(f"{folder.name} {folder.sha256[:HEX_DIGITS]}" for folder in same)
        raise ValueError(
            f"The bundle was trained with the {kind} encoder of SHA-256 {sha256[:HEX_DIGITS]}: {place} has {there}. "
            "Give the folder that it was trained with by --encoder, unchanged, or train the bundle again."
        )
    if len({folder.sha256 for folder in same}) > 1:
        raise ValueError(f"{place} holds several {kind} encoders: {', '.join(folder.name for folder in same)}. Name one by --encoder.")
    return same[0]


def encoder_folders(root: Path) -> list[EncoderFolder]:
    """The encoders in a folder: itself, or those in folders up to two levels below, by name. Others are left out."""
    levels = [root, *(folder for depth in range(1, DEPTH + 1) for folder in sorted(root.glob("/".join("*" * depth))) if folder.is_dir())]
    found = [folder for folder in map(_encoder_folder, levels) if folder is not None]
    return found[:1] if found and found[0].path == root else found


def _encoder_folder(path: Path) -> EncoderFolder | None:
    if (config := path / CONFIG).is_file() and (weights := next((path / name for name in WEIGHTS if (path / name).is_file()), None)):
        kind = read_map(config).get("model_type")
        shards = sorted(set(read_map(weights).get("weight_map", {}).values())) if weights.suffix == ".json" else []
        extractor = extractor_of(path)
        settings = [config, *([extractor[0]] if extractor else [])]
        return EncoderFolder(path, str(kind), (*settings, weights, *(path / Path(str(shard)).name for shard in shards)))
    checkpoints = sorted(path.glob("*.pt"))
    if (config := path / CONFIG_OF_FUNASR).is_file() and (path / "model.pt").is_file():
        return EncoderFolder(path, str(read_map(config).get("model")).lower(), (config, path / "model.pt"))
    if len(checkpoints) == 1 and "emotion2vec" in checkpoints[0].name:
        return EncoderFolder(path, "emotion2vec", (checkpoints[0],))
    return None


def extractor_of(path: Path) -> tuple[Path, dict[str, Any]] | None:
    """The file that says how an encoder's signals are prepared, and what it says; None where there is none.

    It is part of ``processor_config.json``, where transformers 5 saves it with a tokeniser, or else ``preprocessor_config.json``.
    """
    processor, preprocessor = path / PROCESSOR, path / PREPROCESSOR
    nested = read_map(processor).get("feature_extractor") if processor.is_file() else None
    if isinstance(nested, dict):
        return processor, nested
    return (preprocessor, read_map(preprocessor)) if preprocessor.is_file() else None


def read_map(file: Path) -> dict[str, Any]:
    """The map in a JSON or YAML file. Raises ``ValueError`` for anything else."""
    try:
        content = (json.loads if file.suffix == ".json" else yaml.safe_load)(file.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{file} cannot be read: {type(error).__name__}. Copy the encoder's folder again.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds no map of settings: copy the encoder's folder again.")
    return content


def read_checkpoint(file: Path) -> dict[str, Any]:
    """What a file of weights holds: tensors by name, and of a pickle whatever else is only data. No code in it is run.

    Raises ``ValueError`` where it is damaged, or holds more than data.
    """
    try:
        if file.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(file))
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises whatever the damage leads to
        raise ValueError(
            f"{file} cannot be read: {type(error).__name__}. Copy the encoder's folder again; a pickle may hold tensors, numbers and "
            "texts alone, so convert one that holds more to safetensors where you trust it."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds no map of tensors: copy the encoder's folder again.")
    return content


def load_tensors(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], where: Path, may_lack: frozenset[str] = frozenset()) -> None:
    """Loads the module's tensors by name, as float32, and freezes it. Raises ``ValueError`` where one lacks, does not fit or is not finite.

    Tensors that the module does not know are of heads and of training.
    """
    expected = module.state_dict()
    if missing := sorted(expected.keys() - tensors.keys() - may_lack):
        raise ValueError(f"{where} lacks {len(missing)} tensors of its configuration, the first {missing[0]!r}: copy the folder again.")
    for name in expected.keys() & tensors.keys():
        if expected[name].shape != tensors[name].shape:
            raise ValueError(
                f"{where}: tensor {name!r} does not fit its configuration: {tuple(tensors[name].shape)} != {tuple(expected[name].shape)}."
            )
        if not torch.isfinite(tensors[name]).all():
            raise ValueError(f"{where}: tensor {name!r} holds values that are not finite.")
    chosen = {name: tensors[name].to(tensor.dtype) for name, tensor in expected.items() if name in tensors}
    module.load_state_dict(chosen, strict=False)
    module.requires_grad_(False).eval()


def _version(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError as error:
        raise FileNotFoundError(f"{file} is not there: the encoder's folder is incomplete, copy it again.") from error
    return status.st_mtime_ns, status.st_size


@functools.lru_cache(maxsize=64)
def _sha256(files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for file, _, size in files:
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()
