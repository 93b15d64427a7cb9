import json
import pickle
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from ser_tasks.features import FEATURE_SETS, features_of
from ser_tasks.inference.bundle import Bundle, load_bundle, save_bundle
from ser_tasks.inference.bundle_files import PICKLE_SUFFIXES, SHIPPED, shipped_bundles
from ser_tasks.models import make_model
from ser_tasks.storage import open_store


def made_bundle(model: str = "cnn_lstm", feature_set: str = "mfcc40", n_features: int = 40, params: dict | None = None) -> Bundle:
    torch.manual_seed(0)
    return Bundle(
        name="made",
        version="1",
        model=model,
        labels=("anger", "neutral", "sadness"),
        feature_set=feature_set,
        feature_set_version=FEATURE_SETS[feature_set].version,
        feature_params=params or {},
        mean=tuple(0.5 * index for index in range(n_features)),
        std=tuple(1.0 + index for index in range(n_features)),
        temperature=1.7,
        unsure_below=0.45,
        target_error=0.2,
        licence="CC0",
        module=make_model(model, 3, n_features).eval(),
        training_data=({"corpus": "none"},),
        scores={"ua": 0.5},
        card="# made\n",
        licence_text="CC0\n",
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_bundle(made_bundle(), tmp_path / "made")


def rewrite(folder: Path, **changes) -> Path:
    description = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**description, **changes}))
    return folder


@pytest.mark.parametrize(
    "bundle", [made_bundle(), made_bundle("crnn", "logmel8k", 32, {"n_mels": 32, "top_db": 50.0})], ids=lambda bundle: bundle.model
)
def test_a_bundle_comes_back_as_it_was_saved(bundle, tmp_path):
    loaded = load_bundle(save_bundle(bundle, tmp_path / "deep" / "saved"))
    assert loaded == bundle
    assert loaded.model_id == bundle.model_id and loaded.card == bundle.card and loaded.licence_text == bundle.licence_text
    x, lengths = torch.randn(5, 30, len(bundle.mean)), torch.tensor([30, 1, 7, 12, 29])
    with torch.inference_mode():
        assert torch.equal(loaded.probabilities(x, lengths), bundle.probabilities(x, lengths))
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["saved"]


def test_probabilities_are_the_tempered_softmax_of_normalised_features():
    bundle = made_bundle()
    x, lengths = 10 * torch.randn(4, 20, 40), torch.tensor([20, 20, 3, 1])
    with torch.inference_mode():
        probabilities = bundle.probabilities(x, lengths)
        logits = bundle.module((x - torch.tensor(bundle.mean)) / torch.tensor(bundle.std), lengths)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(4))
    torch.testing.assert_close(probabilities, torch.softmax(logits / 1.7, dim=1))
    assert probabilities.dtype == torch.float32


def test_ids_name_the_version_and_the_content(folder):
    bundle = load_bundle(folder)
    assert bundle.feature_set_id == "mfcc40-2"
    name, version, digest = bundle.model_id.split("-")
    assert (name, version, len(digest)) == ("made", "1", 8) and int(digest, 16) >= 0
    assert replace(bundle, temperature=1.8).model_id != bundle.model_id
    assert replace(bundle, card="other").model_id == bundle.model_id
    changed = made_bundle()
    with torch.no_grad():
        changed.module.fc.bias[0] += 1e-6
    assert changed.model_id != bundle.model_id
    assert rewrite(folder) and load_bundle(folder).model_id == bundle.model_id, "another layout of the JSON is the same bundle"


@pytest.mark.parametrize("suffix", PICKLE_SUFFIXES)
@pytest.mark.parametrize("keep_json", [True, False])
def test_pickles_are_refused(folder, suffix, keep_json):
    (folder / "model.safetensors").unlink()
    (folder / f"weights{suffix}").write_bytes(pickle.dumps({}))
    if not keep_json:
        (folder / "bundle.json").unlink()
    with pytest.raises(ValueError, match=f"weights{suffix} .* can run code .* Convert the weights to model.safetensors"):
        load_bundle(folder)


def test_a_pickle_under_the_name_of_safetensors_is_not_unpickled(folder):
    class Evil:
        def __reduce__(self):
            return (pytest.fail, ("the pickle ran",))

    (folder / "model.safetensors").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="model.safetensors cannot be read"):
        load_bundle(folder)


def test_missing_files_are_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="no bundle.json at .*nowhere: give a shipped bundle"):
        load_bundle(tmp_path / "nowhere")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="no model.safetensors"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "transformer"}, "Model 'transformer' is unknown: choose one of cnn_lstm, crnn"),
        ({"feature_set": {"name": "mfcc", "version": 1, "params": {}}}, "Feature set 'mfcc' is unknown: choose one of mfcc40"),
        ({"feature_set": {"name": "mfcc40", "version": 1, "params": {}}}, "trained on mfcc40 version 1, this package computes version 2"),
        ({"feature_set": {"name": "mfcc40", "version": 2, "params": {"n": 1}}}, "has no parameter n: it has n_mfcc"),
        ({"feature_set": {"name": "mfcc40", "version": 2, "params": {"n_mfcc": 39}}}, r"\(64, 40, 3\) != \(64, 39, 3\)"),
        ({"labels": ["anger", "neutral", "bored"]}, "Labels bored are not in the taxonomy: it has anger, calm"),
        ({"labels": ["anger", "neutral", "neutral"]}, "each only once"),
        ({"labels": ["anger", "neutral"]}, r"'fc.weight' does not fit 'fc.weight': \(3, 128\) != \(2, 128\)"),
        ({"model": "crnn"}, "The weights are of another model: missing .*'gru"),
        ({"normalisation": {"mean": [0.0] * 39, "std": [1.0] * 40}}, "mean has 39 != 40"),
        ({"normalisation": {"mean": [0.0] * 40, "std": [0.0] * 40}}, "Every std must be above 0"),
        ({"calibration": {"temperature": 1, "unsure_below": 2, "target_error": 0.1}}, "unsure_below is 2"),
        ({"calibration": {"temperature": 1, "unsure_below": 0.5}}, "lacks 'calibration.target_error'"),
        ({"name": "a/b"}, "name is 'a/b': use letters, digits and _ only"),
    ],
)
def test_what_does_not_fit_together_is_refused(folder, changes, message):
    with pytest.raises(ValueError, match=message):
        load_bundle(rewrite(folder, **changes))


def test_weights_that_are_not_finite_and_broken_files_are_refused(folder):
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    tensors["fc.bias"][0] = float("nan")
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ValueError, match="Tensor 'fc.bias' holds values that are not finite"):
        load_bundle(folder)
    (folder / "bundle.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        load_bundle(folder)


def test_saving_is_whole_or_not_at_all(tmp_path, folder):
    with pytest.raises(FileExistsError, match="exists: name another folder, or remove it"):
        save_bundle(made_bundle(), folder)
    with pytest.raises(TypeError):
        save_bundle(replace(made_bundle(), scores={"ua": object()}), tmp_path / "half")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made"]


def test_bundles_load_from_s3_and_pickles_there_are_refused(folder, s3):
    open_store.cache_clear()
    bucket = s3.bucket("bundles")
    for path in folder.iterdir():
        s3.client.upload_file(str(path), bucket, f"models/made/{path.name}")
    assert load_bundle(f"s3://{bucket}/models/made").model_id == load_bundle(folder).model_id
    s3.client.put_object(Bucket=bucket, Key="models/pickled/model.pt", Body=b"-")
    with pytest.raises(ValueError, match=f"model.pt at s3://{bucket}/models/pickled is refused"):
        load_bundle(f"s3://{bucket}/models/pickled")
    with pytest.raises(FileNotFoundError, match=f"no bundle.json at s3://{bucket}/models/none"):
        load_bundle(f"s3://{bucket}/models/none")


PERMITTED = ("default", "fast", "cnn_lstm", "crnn")
"""Bundles that a company may use."""


@pytest.mark.parametrize("name", shipped_bundles())
def test_shipped_bundles_load_and_are_documented(name):
    bundle = load_bundle(name)
    assert bundle.name == name
    assert bundle.labels == ("anger", "happiness", "neutral", "sadness")
    corpora = {row["corpus"] for row in bundle.training_data}
    if name in PERMITTED:
        assert corpora == {"emodb"} and bundle.licence == "CC0" and "Burkhardt" in bundle.licence_text
    else:
        assert corpora == {"ravdess", "emodb", "nemo"}
        assert bundle.licence == "CC BY-NC-SA 4.0" and "Livingstone" in bundle.licence_text and "Christop" in bundle.licence_text
        assert "## Scores on unseen corpora" in bundle.card
    assert f"{bundle.scores['test']['all']['ua']:.2f}" in bundle.card
    assert bundle.scores["folds"] > 1 and sum(row["clips"]["train"] for row in bundle.training_data) == len(bundle.training_clips)
    assert sum(row["segments"] for name, row in bundle.scores["test"].items() if name != "all") == bundle.scores["test"]["all"]["segments"]
    for section in ("## Robustness", "prohibited (AI Act", "ser train --model"):
        assert section in bundle.card
    if name not in ("cnn_tcn", "ge2e_tcn"):
        assert {"anger", "arousal", "call_anger"} == bundle.calibrations.keys() and set(bundle.set_thresholds) == set(bundle.labels)
    size = sum(path.stat().st_size for path in (SHIPPED / name).iterdir())
    assert size <= 10e6
    lengths = torch.tensor([1, 60])
    with torch.inference_mode():
        probabilities = bundle.probabilities(torch.zeros(2, 60, len(bundle.mean)), lengths)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(2))


def test_priors_correct_probabilities_as_bayes_says():
    bundle = made_bundle()
    shares = dict(zip(bundle.labels, (0.7, 0.2, 0.1), strict=True))
    x, lengths = torch.randn(5, 60, 40), torch.tensor([60, 60, 30, 10, 1])
    with torch.inference_mode():
        plain, corrected = bundle.probabilities(x, lengths), replace(bundle, priors=shares).probabilities(x, lengths)
    by_hand = plain * torch.tensor(list(shares.values()))
    torch.testing.assert_close(corrected, by_hand / by_hand.sum(dim=1, keepdim=True))
    assert replace(bundle, priors=shares).priors_text == ",".join(f"{label}={share:g}" for label, share in shares.items())
    assert bundle.priors_text is None


def test_priors_make_another_model_and_are_kept(folder, tmp_path):
    bundle = load_bundle(folder)
    shares = {label: 1 / len(bundle.labels) for label in bundle.labels}
    other = load_bundle(folder, shares)
    assert other.priors == shares and other.model_id != bundle.model_id
    saved = load_bundle(save_bundle(other, tmp_path / "corrected"))
    assert saved.priors == shares and saved.model_id == other.model_id
    with pytest.raises(ValueError, match="Priors name anger: the bundle .* needs one for each of"):
        load_bundle(folder, {"anger": 1.0})
    with pytest.raises(ValueError, match="each must be above 0, and they must add up to 1"):
        load_bundle(folder, dict.fromkeys(bundle.labels, 0.5))


VALUES = [None, True, 0, -1, 1.5, 10**400, float("nan"), float("inf"), "", "a\nb", "x" * 10_000, [], [[]], [None], ["a"], {}, {"a": {}}]


def paths_of(value, path=()):
    """Every place in nested JSON: of a list, the first place."""
    yield path
    children = value.items() if isinstance(value, dict) else list(enumerate(value))[:1] if isinstance(value, list) else []
    for key, child in children:
        yield from paths_of(child, (*path, key))


def mutated(description, path, change):
    copy = json.loads(json.dumps(description))
    if not path:
        return change(copy, None)
    holder = copy
    for key in path[:-1]:
        holder = holder[key]
    change(holder, path[-1])
    return copy


def loads_or_says_why(folder: Path, what: object) -> bool:
    """Whether the bundle loads. Where it does not, the error is one short line; where it does, it scores."""
    try:
        bundle = load_bundle(folder)
    except (ValueError, FileNotFoundError) as error:
        message = str(error)
    else:
        message = ""
    if message:
        assert "\n" not in message and len(message) < 2000, (what, message)
        assert str(folder) in message, (what, message)
        return False
    _ = bundle.model_id
    frames, lengths = features_of(bundle.feature_set, bundle.feature_params, [np.ones(4000, np.float32)], 16_000)
    with torch.inference_mode():
        probabilities = bundle.probabilities(torch.from_numpy(frames)[None], torch.from_numpy(lengths))
    assert torch.isfinite(probabilities).all(), what
    return True


@pytest.mark.parametrize("feature_set", ["mfcc40", "logmel8k"])
def test_every_mutation_of_the_description_loads_or_ends_in_a_clear_error(feature_set, tmp_path):
    params = dict(FEATURE_SETS[feature_set].params)
    n_features = FEATURE_SETS[feature_set].n_features(params)
    folder = save_bundle(made_bundle(feature_set=feature_set, n_features=n_features, params=params), tmp_path / "made")
    description = json.loads((folder / "bundle.json").read_text())
    refused = 0
    for path in paths_of(description):
        changes = [lambda holder, key, value=value: value if key is None else holder.__setitem__(key, value) for value in VALUES]
        if path and isinstance(path[-1], str):
            changes.append(lambda holder, key: holder.pop(key))
            changes.append(lambda holder, key: holder.__setitem__("another", holder.pop(key)))
        for number, change in enumerate(changes):
            (folder / "bundle.json").write_text(json.dumps(mutated(description, path, change)))
            refused += not loads_or_says_why(folder, (path, VALUES[number : number + 1]))
    assert refused > 200


def test_every_damage_to_the_files_loads_or_ends_in_a_clear_error(folder):
    draw = random.Random(7)
    refused = 0
    for name in ("bundle.json", "model.safetensors", "training_clips.txt", "MODEL_CARD.md"):
        whole = (folder / name).read_bytes()
        header = 8 + int.from_bytes(whole[:8], "little") if name == "model.safetensors" else len(whole)
        damages = [
            b"",
            b"\0" * 100,
            b"[" * 100_000,
            b"\xff\xfe" + whole,
            whole + b"x",
            *(whole[: draw.randrange(len(whole) + 1)] for _ in range(20)),
        ]
        for _ in range(150):
            at = draw.randrange(min(header, len(whole)) or 1)
            damages.append(whole[:at] + bytes([draw.randrange(256)]) + whole[at + 1 :])
        for damage in damages:
            (folder / name).write_bytes(damage)
            refused += not loads_or_says_why(folder, (name, damage[:80]))
        (folder / name).write_bytes(whole)
    assert refused > 100


def test_weights_of_another_type_or_shape_are_refused_or_converted(folder):
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    for change in (
        lambda tensor: tensor.double(),
        lambda tensor: tensor.half(),
        lambda tensor: tensor.bool(),
        lambda tensor: tensor.to(torch.complex64),
        lambda tensor: tensor[:0],
        lambda tensor: tensor[None],
        lambda tensor: tensor.flatten(),
    ):
        safetensors.torch.save_file({**tensors, "fc.weight": change(tensors["fc.weight"]).contiguous()}, folder / "model.safetensors")
        loads_or_says_why(folder, "weights")
