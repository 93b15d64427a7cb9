"""Models on a pretrained encoder: trained by name, made into bundles without it, and scored with the same encoder alone."""

import json

import numpy as np
import pytest
import safetensors.torch
from typer.testing import CliRunner

from flows.cli import app
from ser_tasks.datasets import read_corpora
from ser_tasks.evaluation.plan import Plan
from ser_tasks.inference.bundle import load_bundle
from ser_tasks.inference.scorer import Scorer, choose_device
from ser_tasks.training.baselines import telephone_signals
from ser_tasks.training.field.run import field
from ser_tasks.training.leaderboard import league
from tests.factories.calls import run_night, two_sided, write_call
from tests.factories.encoders import KINDS, emotion2vec_encoder, hugging_face_encoder
from tests.factories.speakers import made_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return made_corpus(tmp_path_factory.mktemp("data") / "made", speakers=4)


@pytest.fixture(autouse=True)
def no_encoders(monkeypatch):
    """No encoder is at hand but by --encoder, which this also undoes."""
    monkeypatch.setenv("SER_ENCODERS", "")


def ser(*arguments: object) -> tuple[int, str]:
    answer = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return answer.exit_code, " ".join(answer.output.split())


def scores_of(bundle, corpus) -> np.ndarray:
    from ser_tasks.features import features_of

    clips = read_corpora([corpus])[0].clips
    flat, lengths = features_of(bundle.feature_set, bundle.feature_params, telephone_signals(clips["file"].tolist()), 8000)
    return Scorer(bundle, choose_device("cpu"), 2000).score(flat, lengths)


@pytest.fixture(scope="module")
def trained(corpus, tiny_encoders, tmp_path_factory):
    """A bundle on the tiny encoder of each kind, by ``ser train``."""
    folder = tmp_path_factory.mktemp("bundles")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SER_ENCODERS", "")
        for kind in KINDS:
            arguments = ["--data", corpus, "--model", kind, "--encoder", tiny_encoders / kind, "--labels", "anger,neutral"]
            code, output = ser("train", *arguments, "--out", folder / kind, "--cache", folder / "cache", "--workers", 1)
            assert code == 0, output
    return folder


@pytest.mark.parametrize(
    "kind", [kind if kind in ("wav2vec2", "emotion2vec") else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_a_bundle_names_its_encoder_and_holds_nothing_of_it(kind, trained, tiny_encoders, corpus, monkeypatch):
    folder = trained / kind
    description = json.loads((folder / "bundle.json").read_text())
    assert description["encoder"]["name"] == kind and len(description["encoder"]["sha256"]) == 64
    assert description["feature_set"]["name"] == "wave16k"
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    assert set(tensors) == {
        "encoder.digest",
        "layer_weights",
        *(f"{layer}.{part}" for layer in ("hidden", "logits") for part in ("weight", "bias")),
        *("line_mean", "line_scale"),
    }
    assert bytes(tensors["encoder.digest"].tolist()).hex() == description["encoder"]["sha256"]
    assert "no part of the bundle" in (folder / "LICENSE").read_text()
    monkeypatch.setenv("SER_ENCODERS", str(tiny_encoders))
    bundle = load_bundle(folder)
    scores = scores_of(bundle, corpus)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert scores[:, 0].std() > 0.05, "the head has learned something"
    monkeypatch.setenv("SER_ENCODERS", str(tiny_encoders / kind))
    again = load_bundle(folder)
    assert again.model_id == bundle.model_id
    np.testing.assert_array_equal(scores_of(again, corpus), scores)


def test_even_random_layers_tell_tones_apart_on_unseen_speakers(trained):
    scores = json.loads((trained / "wav2vec2" / "bundle.json").read_text())["scores"]["test"]["all"]
    assert scores["ua"] > 0.9


@pytest.mark.parametrize("command", ["nightly", "evaluate", "rescore", "backfill", "adapt"])
def test_without_its_encoder_a_bundle_is_refused_in_one_line(command, trained, corpus, tmp_path):
    others = {
        "evaluate": ["--data", corpus, "--out", tmp_path / "report"],
        "backfill": ["--recordings", corpus, "--lake", tmp_path / "lake", "--first", "2026-01-01", "--last", "2026-01-02"],
    }
    arguments = others.get(command, ["--recordings", corpus, "--lake", tmp_path / "lake"])
    arguments = [command, *arguments, "--model", trained / "hubert", *(["--empty-ok"] if command == "rescore" else [])]
    code, output = ser(*arguments)
    assert code == 2 and "hubert needs a pretrained encoder" in output and "--encoder DIR or SER_ENCODERS" in output
    code, output = ser(*arguments, "--encoder", trained / "nowhere")
    assert code == 2 and "There is no folder" in output and "nowhere" in output
    hugging_face_encoder(tmp_path / "other", "hubert", seed=9)
    code, output = ser(*arguments, "--encoder", tmp_path / "other")
    assert code == 2 and "trained with the hubert encoder of SHA-256" in output
    emotion2vec_encoder(tmp_path / "wrong")
    code, output = ser(*arguments, "--encoder", tmp_path / "wrong")
    assert code == 2 and "holds no hubert encoder: it has wrong (emotion2vec)" in output
    assert not (tmp_path / "lake").exists()


def test_training_without_an_encoder_is_refused_before_anything_is_computed(corpus, tmp_path):
    code, output = ser("train", "--data", corpus, "--model", "wavlm", "--out", tmp_path / "out", "--cache", tmp_path / "cache")
    assert code == 2 and "wavlm needs a pretrained encoder" in output and not (tmp_path / "cache").exists()


def test_a_night_scores_calls_with_the_encoder_and_every_worker_finds_it(trained, tiny_encoders, tmp_path, monkeypatch):
    monkeypatch.setenv("SER_ENCODERS", str(tiny_encoders))
    for number in range(2):
        write_call(tmp_path / "calls", f"{number}.wav", two_sided([("customer", 1, 4), ("agent", 5, 8)], 10, number))
    run = run_night(tmp_path / "calls", tmp_path / "lake", trained / "emotion2vec", workers=2, policy="everyone")
    assert run["scored"] == 2 and run["failed"] == 0


def test_heads_of_an_encoder_are_not_fitted_further(trained, tiny_encoders, corpus, tmp_path):
    code, output = ser("train", "--on", trained / "wavlm", "--data", corpus, "--out", tmp_path / "out", "--encoder", tiny_encoders)
    assert code == 2 and "has no regression on pooled states as its heads" in output


def test_the_league_takes_a_model_with_an_encoder_by_name(corpus, tiny_encoders, tmp_path, monkeypatch):
    monkeypatch.setenv("SER_ENCODERS", str(tiny_encoders))
    plan = Plan(cache=tmp_path / "cache", workers=1)
    table = league([corpus], tmp_path / "league", plan, learners=["hubert"], n_folds=2, epochs=1)
    row = table[table["corpus"] == "all"].iloc[0]
    assert row["model"] == "hubert" and row["ua"] > 0.5 and row["audio_h_per_h"] > 0


def test_the_fields_rows_wait_for_weights_and_are_run_with_them(tiny_encoders, tmp_path, monkeypatch):
    corpus = made_corpus(tmp_path / "made", speakers=2)
    plan = Plan(cache=tmp_path / "cache", workers=1)
    lines = []
    table = field([corpus], tmp_path / "without", plan, names=["transformer", "emotion2vec"], announce=lines.append)
    assert table.empty and sum("waits for weights" in line for line in lines) == 2
    assert "waits for weights" in (tmp_path / "without" / "field.md").read_text()
    monkeypatch.setenv("SER_ENCODERS", str(tiny_encoders / "emotion2vec"))
    table = field([corpus], tmp_path / "with", plan, names=["transformer", "emotion2vec"], epochs=1, announce=lines.append)
    assert set(table["system"]) == {"emotion2vec"} and table["honest_ua"].notna().all() and table["leaky_ua"].notna().all()
