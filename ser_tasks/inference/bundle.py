"""Model bundles: weights, labels, feature set, normalisation and calibration in one object, so that they always fit together.

On disk a bundle is one folder: ``model.safetensors``, ``bundle.json``, ``training_clips.txt``, ``MODEL_CARD.md`` and ``LICENSE``.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, FiniteFloat, StringConstraints, ValidationError
from torch import nn

from ser_tasks.features import FeatureSet, feature_set
from ser_tasks.inference.bundle_files import store_of_bundle, uri_of_bundle
from ser_tasks.inference.fusion import Fusion, Weight
from ser_tasks.inference.scores import Platt, shares_text
from ser_tasks.models import LayerSum, LineModel, load_classic, make_model, mean_and_deviation
from ser_tasks.schemas import EMOTIONS
from ser_tasks.scratch import atomic_folder
from ser_tasks.storage import Store, StoreAccessError, open_store

NAME = re.compile(r"[A-Za-z0-9_]+")
"""Allowed names and versions of a bundle, which become part of folder names in the lake."""
DIGEST_HEX_DIGITS = 16
"""Hex digits of the digest of each training clip in a bundle."""
ALL_UNSURE = 1.0
"""``unsure_below`` of a bundle whose scores are all unsure."""
CALIBRATED = ("anger", "arousal", "call_anger")
"""Scores of ser_tasks.inference.scores that a bundle may calibrate."""


MOST_FEATURES = 1024
"""A feature set of more features a frame is a slip of the pen."""


_Word = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\r\n]*$")]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)


class _FeatureSetPart(_Part):
    name: _Word
    version: int
    params: dict[_Word, bool | int | FiniteFloat | _Word | None]


class _Normalisation(_Part):
    mean: list[FiniteFloat]
    std: list[FiniteFloat]
    by_line: bool | None = None


class _Platt(_Part):
    slope: FiniteFloat
    intercept: FiniteFloat
    auc: FiniteFloat | None = None


class _Sets(_Part):
    coverage: FiniteFloat
    thresholds: dict[_Word, FiniteFloat]


class _Encoder(_Part):
    name: _Word
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Calibration(_Part):
    temperature: FiniteFloat
    unsure_below: FiniteFloat
    target_error: FiniteFloat
    priors: dict[_Word, FiniteFloat] | None = None
    scores: dict[_Word, _Platt] | None = None
    sets: _Sets | None = None
    base_rate_errors: dict[_Word, FiniteFloat] | None = None


class _Weight(_Part):
    mean: FiniteFloat
    deviation: FiniteFloat
    coefficient: FiniteFloat


class _Fusion(_Part):
    voice: _Word
    intercept: FiniteFloat
    weights: dict[_Word, _Weight]
    parts: dict[_Word, FiniteFloat]
    calls: int
    angry: int
    callers: int
    scores: dict[str, Any]


class _Description(_Part):
    """The keys and types of ``bundle.json``. Only for checks: the values are used as they are written, since the model's id hashes them."""

    name: _Word
    version: _Word
    model: _Word
    labels: list[_Word]
    feature_set: _FeatureSetPart
    normalisation: _Normalisation
    calibration: _Calibration
    encoder: _Encoder | None = None
    training_data: list[dict[str, Any]]
    scores: dict[str, Any]
    licence: str
    kind: Literal["fusion"] | None = None
    fusion: _Fusion | None = None


@dataclass(frozen=True)
class Bundle:
    """A model and everything that its scores depend on. Raises ``ValueError`` for parts that do not fit together."""

    name: str
    version: str
    model: str
    """Name in ``MODELS``."""
    labels: tuple[str, ...]
    """Emotions of the taxonomy, in the order of the model's outputs."""
    feature_set: str
    """Name in ``FEATURE_SETS``."""
    feature_set_version: int
    feature_params: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Normalisation of each feature, from the training speakers."""
    temperature: float
    """Divisor of the logits (temperature scaling: Guo et al., 2017)."""
    unsure_below: float
    """A segment whose highest probability is below this is unsure, 0 to 1."""
    target_error: float
    """Highest share of wrong labels, 0 to 1, among segments of the calibration speakers that are not unsure."""
    licence: str
    module: nn.Module = field(repr=False, compare=False)
    by_line: bool = False
    """Whether the statistics of a line may replace this normalisation, as the module was trained on features normalised so."""
    priors: dict[str, float] = field(default_factory=dict)
    """Base rates of the emotions, to which probabilities are corrected. Empty: as trained, all equally frequent."""
    calibrations: dict[str, Platt] = field(default_factory=dict)
    """Calibrations of the scores in CALIBRATED; one that is missing leaves the probability as it is."""
    set_thresholds: dict[str, float] = field(default_factory=dict)
    """Lowest probability, at equal base rates, with which each label is in a segment's set of emotions. Empty: there are no sets."""
    set_coverage: float | None = None
    """Least share of segments, 0 to 1, whose set holds the true emotion, all emotions alike, on corpora outside the training side."""
    base_rate_errors: dict[str, float] = field(default_factory=dict)
    """By how much estimated base rates miss the true share of each label, 0 to 1, as measured on corpora never heard. One that is missing
    is that of ser_tasks.inference.base_rates."""
    encoder: dict[str, str] = field(default_factory=dict)
    """Name and SHA-256 of the encoder that its states are of, where that is in a folder of its own. Empty: the model needs none."""
    fusion: Fusion | None = None
    """What makes ``call_anger_fused`` of the voice, turn-taking and words; None for a bundle of the voice alone."""
    training_data: tuple[dict[str, Any], ...] = ()
    scores: dict[str, Any] = field(default_factory=dict)
    training_clips: frozenset[str] = field(default=frozenset(), repr=False, compare=False)
    """Digests of the samples of all clips that it was trained or calibrated on, from ``training_clips.txt``."""
    card: str = field(default="", repr=False, compare=False)
    """Text of ``MODEL_CARD.md``."""
    licence_text: str = field(default="", repr=False, compare=False)
    """Text of ``LICENSE``."""

    def __post_init__(self) -> None:
        if isinstance(self.module, LayerSum) and not self.encoder:
            object.__setattr__(self, "encoder", self.module.encoder.folder.names)
        for attribute, value in (("name", self.name), ("version", self.version)):
            if not NAME.fullmatch(value):
                raise ValueError(f"The bundle's {attribute} is {value!r}: use letters, digits and _ only.")
        if unknown := [label for label in self.labels if label not in EMOTIONS]:
            raise ValueError(f"Labels {', '.join(unknown)} are not in the taxonomy: it has {', '.join(EMOTIONS)}.")
        if not self.labels or len(set(self.labels)) != len(self.labels):
            raise ValueError(f"Labels are {self.labels}: at least one is needed, and each only once.")
        self._check_features()
        self._check_priors()
        if unknown := [name for name in self.calibrations if name not in CALIBRATED]:
            raise ValueError(f"The calibration {unknown[0]!r} is of no score: there are {', '.join(CALIBRATED)}.")
        if self.set_thresholds and (set(self.set_thresholds) != set(self.labels) or self.set_coverage is None):
            raise ValueError(f"Sets of emotions need a coverage, and a threshold for each of {', '.join(self.labels)}.")
        if not all(std > 0 for std in self.std) or not self.temperature > 0:
            raise ValueError(f"Every std must be above 0, and so must the temperature, which is {self.temperature}.")
        for attribute, share in (("unsure_below", self.unsure_below), ("target_error", self.target_error)):
            if not 0 <= share <= 1:
                raise ValueError(f"{attribute} is {share}: it must be from 0 to 1.")

    def _check_features(self) -> None:
        features = feature_set(self.feature_set)
        if features.version != self.feature_set_version:
            raise ValueError(
                f"Bundle {self.name} was trained on {self.feature_set} version {self.feature_set_version}, this package "
                f"computes version {features.version}: train the bundle again, or install the package it was trained with."
            )
        n_features = features.n_features(self.feature_params)
        for attribute, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != n_features:
                raise ValueError(f"Normalisation and features differ in length: {attribute} has {len(values)} != {n_features}.")
        if self.by_line and (self.line_model is not None or features.words):
            what = "standardises its own pooled states" if self.line_model is not None else "takes words, which are not normalised"
            raise ValueError(f"{self.model} {what}: by_line is for models whose features are normalised.")

    def _check_priors(self) -> None:
        if not all(label in self.labels and 0 <= error <= 1 for label, error in self.base_rate_errors.items()):
            raise ValueError(f"Errors of base rates are {self.base_rate_errors}: each must be of a label, and from 0 to 1.")
        if not self.priors:
            return
        shares = ", ".join(f"{emotion} {share:g}" for emotion, share in self.priors.items())
        if set(self.priors) != set(self.labels):
            raise ValueError(
                f"Priors name {', '.join(self.priors)}: the bundle {self.name} needs one for each of {', '.join(self.labels)}."
            )
        if not all(share > 0 for share in self.priors.values()) or abs(sum(self.priors.values()) - 1) > 1e-3:
            raise ValueError(f"Priors are {shares}: each must be above 0, and they must add up to 1.")

    @property
    def priors_text(self) -> str | None:
        """The priors as written in rows, such as ``anger=0.05,neutral=0.95``, or None if there are none."""
        return shares_text({label: self.priors[label] for label in self.labels}) if self.priors else None

    @cached_property
    def model_id(self) -> str:
        """``<name>-<version>-<hash>``: 8 hex digits of SHA-256 over the description and all weights with their names and shapes."""
        digest = hashlib.sha256(_json(self.description()).encode())
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return f"{self.name}-{self.version}-{digest.hexdigest()[:8]}"

    @property
    def feature_set_id(self) -> str:
        """``<name>-<version>`` of the feature set."""
        return f"{self.feature_set}-{self.feature_set_version}"

    @property
    def line_model(self) -> LineModel | None:
        """The module, where it standardises its own pooled states; None for any other."""
        return self.module if isinstance(self.module, LineModel) else None

    @property
    def takes_lines(self) -> bool:
        """Whether it can be standardised to the lines of calls: its pooled states, or its features (``by_line``)."""
        return self.by_line or self.line_model is not None

    @property
    def n_pooled(self) -> int:
        """Number of pooled features of a segment, by which it is standardised. Raises TypeError for a bundle that takes no lines."""
        if self.line_model is not None:
            return len(self.line_model.line_mean)
        self._require_lines()
        return 2 * len(self.mean)

    def pooled(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Pooled features of raw features ``(batch, frames, features)``, float32 ``(batch, n_pooled)``: the module's, or mean and deviation
        over time of each feature as the bundle normalises it. Raises TypeError for a bundle that takes no lines."""
        x = self.normalised(x)
        if self.line_model is not None:
            return self.line_model.pooled(x, lengths).float()
        self._require_lines()
        return mean_and_deviation(x, lengths.to(x.device))

    def _require_lines(self) -> None:
        if not self.takes_lines:
            raise TypeError(f"The model of {self.model_id} has no pooled features: it cannot be standardised to a line.")

    def normalised(self, x: torch.Tensor) -> torch.Tensor:
        """Raw features ``(batch, frames, features)`` as the module takes them."""
        mean, std = (torch.tensor(values, dtype=torch.float32, device=x.device) for values in (self.mean, self.std))
        return (x - mean) / std

    def probabilities(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Calibrated probabilities, float32 ``(batch, labels)``, of raw features ``(batch, frames, features)`` on the model's device.

        ``lengths`` ``(batch,)`` are the frames that count. With priors, each probability is multiplied by its emotion's prior, and all
        are scaled to add up to 1 (Saerens et al., 2002), as training gives all emotions the same weight.
        """
        return self.calibrated(self.module(self.normalised(x), lengths))

    def calibrated(self, logits: torch.Tensor) -> torch.Tensor:
        """Probabilities of logits ``(batch, labels)``, corrected to the bundle's priors."""
        scaled = logits.float() / self.temperature
        if self.priors:
            scaled = scaled + torch.tensor([self.priors[label] for label in self.labels], device=logits.device).log()
        return torch.softmax(scaled, dim=1)

    @torch.inference_mode()
    def at_equal_rates(self, standardised: np.ndarray) -> np.ndarray:
        """Probabilities at equal base rates, float64 ``(segments, labels)``, of standardised pooled features ``(segments, pooled)``.

        Raises TypeError for a model without pooled features.
        """
        if self.line_model is None:
            raise TypeError(f"The model of {self.model_id} has no pooled features.")
        device = next(self.module.parameters()).device
        logits = self.line_model.classify(torch.from_numpy(standardised.astype(np.float32)).to(device))
        return torch.softmax(logits.double() / self.temperature, dim=1).cpu().numpy()

    def description(self) -> dict[str, Any]:
        """The content of ``bundle.json``. Calibrations that a bundle lacks are left out, so that older bundles keep their ids."""
        scores = {name: dataclasses.asdict(platt) for name, platt in self.calibrations.items()}
        optional: dict[str, Any] = {"scores": scores} if scores else {}
        if self.set_thresholds:
            optional["sets"] = {"coverage": self.set_coverage, "thresholds": self.set_thresholds}
        if self.base_rate_errors:
            optional["base_rate_errors"] = self.base_rate_errors
        fusion = {"kind": "fusion", "fusion": dataclasses.asdict(self.fusion)} if self.fusion else {}
        return {
            "name": self.name,
            "version": self.version,
            "model": self.model,
            "labels": list(self.labels),
            "feature_set": {"name": self.feature_set, "version": self.feature_set_version, "params": self.feature_params},
            "normalisation": {"mean": list(self.mean), "std": list(self.std)} | ({"by_line": True} if self.by_line else {}),
            "calibration": {
                "temperature": self.temperature,
                "unsure_below": self.unsure_below,
                "target_error": self.target_error,
                "priors": self.priors,
                **optional,
            },
            **({"encoder": self.encoder} if self.encoder else {}),
            "training_data": list(self.training_data),
            "scores": self.scores,
            "licence": self.licence,
            **fusion,
        }

    @property
    def voice_id(self) -> str:
        """``model_id`` of the bundle of the voice below a fusion; the bundle's own without one."""
        if self.fusion is None:
            return self.model_id
        name, version, _ = self.fusion.voice.split("-")
        return dataclasses.replace(self, name=name, version=version, fusion=None).model_id


def load_bundle(name_or_uri: str | Path, priors: dict[str, float] | None = None) -> Bundle:
    """Loads a shipped bundle by its name, or the bundle in a folder or at ``s3://bucket/prefix``, on the CPU.

    ``priors`` replace the bundle's own, which gives it another ``model_id``.
    Raises ``FileNotFoundError`` for a missing file, and ``ValueError`` for pickled weights and for parts that do not fit together.
    """
    uri = uri_of_bundle(name_or_uri)
    store = store_of_bundle(uri)
    description = _read_description(store)
    data = store.read_bytes("model.safetensors")
    try:
        tensors = safetensors.torch.load(data)
    except Exception as error:  # of a damaged header it raises whatever the damage leads to
        raise ValueError(f"{uri}/model.safetensors cannot be read: {type(error).__name__}: {error}. Copy the bundle again.") from error
    try:
        features, labels = description["feature_set"], tuple(description["labels"])
        n_features = _check_features(feature_set(features["name"]), features["version"], features["params"])
        if unknown := [label for label in labels if label not in EMOTIONS]:  # before so many outputs are made
            raise ValueError(f"Labels {', '.join(unknown)} are not in the taxonomy: it has {', '.join(EMOTIONS)}.")
        encoder = description.get("encoder") or {}
        module = make_model(description["model"], len(labels), n_features, encoder.get("sha256"))
        _load_weights(module, tensors)
        bundle = Bundle(
            name=description["name"],
            version=description["version"],
            model=description["model"],
            labels=labels,
            feature_set=features["name"],
            feature_set_version=features["version"],
            feature_params=features["params"],
            mean=tuple(description["normalisation"]["mean"]),
            std=tuple(description["normalisation"]["std"]),
            by_line=bool(description["normalisation"].get("by_line")),
            temperature=description["calibration"]["temperature"],
            unsure_below=description["calibration"]["unsure_below"],
            target_error=description["calibration"]["target_error"],
            priors=description["calibration"].get("priors") or {},
            calibrations={name: Platt(**platt) for name, platt in (description["calibration"].get("scores") or {}).items()},
            set_thresholds=(description["calibration"].get("sets") or {}).get("thresholds") or {},
            set_coverage=(description["calibration"].get("sets") or {}).get("coverage"),
            base_rate_errors=description["calibration"].get("base_rate_errors") or {},
            licence=description["licence"],
            encoder=encoder,
            module=module.eval(),
            training_data=tuple(description["training_data"]),
            scores=description["scores"],
            training_clips=frozenset(_text(store, "training_clips.txt").split()),
            card=_text(store, "MODEL_CARD.md"),
            licence_text=_text(store, "LICENSE"),
            fusion=_fusion(description),
        )
        if bundle.fusion and bundle.voice_id != bundle.fusion.voice:
            raise ValueError(f"Its fusion was fitted to {bundle.fusion.voice}, and these weights are of another voice. Copy it again.")
        return dataclasses.replace(bundle, priors=priors) if priors else bundle
    except ValueError as error:
        raise ValueError(f"The bundle at {uri} does not load. {error}") from error


def _fusion(description: dict[str, Any]) -> Fusion | None:
    if ("kind" in description) != ("fusion" in description):
        raise ValueError("A bundle of kind fusion has a fusion, and no other has: copy the bundle again.")
    if "fusion" not in description:
        return None
    stated = description["fusion"]
    if len(stated["voice"].split("-")) != 3:
        raise ValueError(f"The voice of its fusion is {stated['voice']!r}: it must be a model's id, as default-3-0123abcd.")
    return Fusion(**stated | {"weights": {name: Weight(**weight) for name, weight in stated["weights"].items()}})


def _read_description(store: Store) -> dict[str, Any]:
    """The content of ``bundle.json``. Raises ValueError, in one line, where it is not JSON or lacks a key or has one of another type."""
    where = f"{store.uri}/bundle.json"
    try:
        description: dict[str, Any] = json.loads(store.read_bytes("bundle.json"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not JSON: {error}. Copy the bundle again.") from error
    try:
        _Description.model_validate(description)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(name) for name in first["loc"])
        if first["type"] == "missing":
            raise ValueError(f"{where} lacks {key!r}: see the shipped bundles for the keys that it needs.") from None
        given = repr(first["input"])
        shown = given if len(given) <= 60 else given[:60] + "..."
        raise ValueError(f"{where}: {key or 'the whole'} is {shown}: {first['msg']}. Copy the bundle again.") from None
    return description


def _check_features(features: FeatureSet, version: int, params: dict[str, Any]) -> int:
    """The number of features in a frame. Raises ValueError for parameters with which the feature set does not compute."""
    complete = features.complete(params)
    for name, value in params.items():
        default = features.params[name]
        if default is not None and type(value) is not type(default) and not (isinstance(default, float) and type(value) is int):
            raise ValueError(f"The parameter {name} of {features.name} is {value!r}: it must be like {default!r}.")
    n_features = features.n_features(params)
    if not 0 < n_features <= MOST_FEATURES:
        raise ValueError(f"The parameter {features.size_param} of {features.name} is {n_features}: it must be from 1 to {MOST_FEATURES}.")
    if version == features.version:
        noise = np.random.default_rng(0).standard_normal((1, 4000)).astype(np.float32)
        try:
            computed = features.function(noise, 16_000, **complete)
        except Exception as error:
            raise ValueError(f"{features.name} does not compute with {params}: {type(error).__name__}: {error}.") from error
        if computed.shape[-1] != n_features or not np.isfinite(computed).all():
            raise ValueError(f"{features.name} does not compute with {params}: its features are not {n_features} finite numbers a frame.")
    return n_features


def shared_bundle(name_or_uri: str, priors: dict[str, float]) -> Bundle:
    """As ``load_bundle``, but loaded once in a process, and again only where its files changed. Leave its module on the CPU.

    Where the store refuses to list the files, changes of them are not seen.
    """
    try:
        files = tuple((file.key, file.etag) for file in itertools.islice(open_store(uri_of_bundle(name_or_uri)).list(), 1000))
    except StoreAccessError:
        files = ()
    return _shared(name_or_uri, tuple(priors.items()), files)


@functools.lru_cache(maxsize=4)
def _shared(name_or_uri: str, priors: tuple[tuple[str, float], ...], files: tuple[tuple[str, str], ...]) -> Bundle:
    return load_bundle(name_or_uri, dict(priors))


def save_bundle(bundle: Bundle, folder: Path) -> Path:
    """Writes the bundle to ``folder``, completely or not at all, and returns the folder. Raises ``FileExistsError`` if it exists."""
    folder = Path(folder).absolute()
    if folder.exists():
        raise FileExistsError(f"{folder} exists: name another folder, or remove it.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder) as temporary:
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in bundle.module.state_dict().items()}
        (temporary / "model.safetensors").write_bytes(safetensors.torch.save(weights))
        (temporary / "bundle.json").write_text(_json(bundle.description()), encoding="utf-8")
        (temporary / "training_clips.txt").write_text("".join(f"{digest}\n" for digest in sorted(bundle.training_clips)), encoding="utf-8")
        (temporary / "MODEL_CARD.md").write_text(bundle.card, encoding="utf-8")
        (temporary / "LICENSE").write_text(bundle.licence_text, encoding="utf-8")
        temporary.chmod(0o755)
    return folder


def _load_weights(module: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    expected = module.state_dict().keys()
    if expected != tensors.keys():
        missing, unknown = sorted(expected - tensors.keys()), sorted(tensors.keys() - expected)
        raise ValueError(f"The weights are of another model: missing {missing}, unknown {unknown}.")
    if complex_numbers := [name for name, tensor in tensors.items() if tensor.is_complex()]:
        raise ValueError(f"Tensor {complex_numbers[0]!r} holds complex numbers.")
    load_classic(module, tensors)
    for name, tensor in module.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"Tensor {name!r} holds values that are not finite.")


def _text(store: Store, key: str) -> str:
    return store.read_bytes(key).decode() if store.exists(key) else ""


def _json(description: dict[str, Any]) -> str:
    return json.dumps(description, indent=1, ensure_ascii=False) + "\n"
