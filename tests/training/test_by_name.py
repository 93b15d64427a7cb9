"""Every entry of the registries is taken by its name: each network with each feature set, and what does not fit is refused in one line."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import nn
from typer.testing import CliRunner

from flows.cli import app, names
from ser_tasks.datasets import read_corpora
from ser_tasks.features import FEATURE_SETS, features_of
from ser_tasks.models import MODELS, make_model, needs_encoder
from ser_tasks.training.baselines import CLASSIFIERS, PREPARATIONS, fitted, make_baseline, telephone_signals
from ser_tasks.training.field.folds import field_corpora
from ser_tasks.training.field.rows import ROWS
from ser_tasks.training.functionals import FUNCTIONALS
from ser_tasks.training.recipe import RECIPES, recipe_of
from tests.factories.speakers import LABELS, made_corpus

OF_FRAMES = [name for name, chosen in FEATURE_SETS.items() if not (chosen.words or chosen.samples)]
OPEN = [name for name, model in MODELS.items() if not model.FEATURE_SETS]


@pytest.fixture(scope="module")
def features():
    """Of two short signals by each feature set, standardised: ``x`` and ``lengths``."""
    rng = np.random.default_rng(0)
    signals = [(0.1 * rng.standard_normal(length)).astype(np.float32) for length in (2400, 1600)]
    made = {}
    for name in OF_FRAMES:
        flat, lengths = features_of(name, {}, signals, 8000)
        standard = torch.from_numpy((flat - flat.mean(axis=0)) / np.maximum(flat.std(axis=0), 1e-3))
        made[name] = nn.utils.rnn.pad_sequence(list(standard.split(lengths.tolist())), batch_first=True), torch.from_numpy(lengths)
    return made


@pytest.mark.parametrize("name", OPEN)
def test_each_network_of_frames_takes_each_feature_set_of_frames(name, features):
    for feature_name in OF_FRAMES:
        assert recipe_of(name, feature_name).feature_set == feature_name
        x, lengths = features[feature_name]
        model = make_model(name, 3, x.shape[2]).eval()
        with torch.inference_mode():
            logits = model(x, lengths)
        assert logits.shape == (2, 3) and torch.isfinite(logits).all(), feature_name


def test_models_with_features_of_their_own_take_no_others():
    fixed = {name: MODELS[name].FEATURE_SETS for name in MODELS if name not in OPEN}
    assert fixed == {name: (RECIPES[name].feature_set,) for name in fixed}
    assert {"ge2e_tcn", "ge2e_lr", "whisper_lr", "joint_lr", "mdre", "mdre_audio", "mdre_text", "wav2vec2", "emotion2vec"} <= set(fixed)
    for name, (own,) in fixed.items():
        assert recipe_of(name, own).feature_set == own
        for other in FEATURE_SETS.keys() - {own}:
            with pytest.raises(ValueError, match=f"'{name}' is made for {own} and cannot read {other}: leave --features out"):
                recipe_of(name, other)


@pytest.mark.parametrize(("feature_name", "holds"), [("mdre40", "numbers of words"), ("wave16k", "samples")])
def test_words_and_samples_are_for_the_models_that_read_them(feature_name, holds):
    readers = ", ".join(name for name in MODELS if feature_name in MODELS[name].FEATURE_SETS)
    for name in OPEN:
        with pytest.raises(ValueError, match=f"{feature_name} holds {holds}, which model '{name}' cannot read: it is for {readers}"):
            recipe_of(name, feature_name)


@pytest.mark.parametrize("name", [*CLASSIFIERS, "soft_vote"])
@pytest.mark.parametrize("takes", [2, 4])
def test_every_classifier_takes_the_few_clips_of_a_small_corpus(name, takes):
    """Fewer than its folds, its neighbours and what it holds out, as in corpora of a few dozen clips."""
    rng, truth = np.random.default_rng(0), np.repeat(np.arange(4), takes)
    x = rng.standard_normal((len(truth), 6)) + 5 * np.eye(6)[truth]
    model = fitted(make_baseline(name, 0), x, truth, name, ("anger", "fear", "neutral", "sadness"))
    probabilities = model.predict_proba(x)
    assert probabilities.shape == (len(x), 4)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_with_many_clips_classifiers_are_those_of_scikit_learn():
    rng, truth = np.random.default_rng(0), np.arange(80) % 4
    x = rng.standard_normal((80, 6)) + np.eye(6)[truth]
    svm = CalibratedClassifierCV(SVC(C=3.0, class_weight="balanced"), ensemble=False)
    published = {"svm": svm, "knn": KNeighborsClassifier(15, weights="distance")}
    published["mlp"] = MLPClassifier((128,), alpha=1.0, early_stopping=True, random_state=0)
    for name, model in published.items():
        expected = make_pipeline(StandardScaler(), model).fit(x, truth).predict_proba(x)
        np.testing.assert_array_equal(make_baseline(name, 0).fit(x, truth).predict_proba(x), expected)


@pytest.mark.parametrize("name", ["svm:egemaps", "naive_bayes:egemaps:smote"])
def test_too_few_clips_are_counted_in_the_error(name):
    truth, x = np.array([0, 0, 1]), np.eye(3)
    classifier, _, *preparation = name.split(":")
    counted = f"{name} cannot be fitted to the 3 clips of a training side \\(2 of anger, 1 of fear\\): .*Give more clips, or fewer labels"
    with pytest.raises(ValueError, match=counted):
        fitted(make_baseline(classifier, 0, "".join(preparation)), x, truth, name, ("anger", "fear"))


def test_a_baseline_is_evaluated_where_no_speaker_is_left_to_calibrate_on(tmp_path):
    """Of four speakers in two folds, both that are left in each are trained on."""
    corpus = made_corpus(tmp_path / "made", speakers=4)
    command = ["evaluate", "--split", "k-fold", "--folds", "2", "--model", "naive_bayes:mfcc39", "--data", str(corpus), "--workers", "1"]
    answer = CliRunner().invoke(app, [*command, "--no-leaky", "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")])
    assert answer.exit_code == 0, answer.output
    rows = pd.read_parquet(tmp_path / "out" / "rows.parquet")
    assert len(rows) == 48 and rows["unsure"].all() and (rows["temperature"] == 1).all()
    assert (rows["emotion"] == rows["predicted"]).mean() > 0.5  # of three emotions, of which two sound alike


def ser(*arguments: object) -> tuple[int, str]:
    answer = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return answer.exit_code, answer.output


def test_a_classical_system_is_trained_by_name_and_scored_on_unseen_speakers(tmp_path):
    corpus, out = made_corpus(tmp_path / "made", speakers=4), tmp_path / "out"
    command = [
        "train",
        "--data",
        corpus,
        "--model",
        "lda:mfcc39",
        "--labels",
        "anger,neutral",
        "--workers",
        1,
        "--cache",
        tmp_path / "cache",
    ]
    code, output = ser(*command, "--out", out)
    assert code == 0 and "no bundle, so no night takes it" in " ".join(output.split()), output
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["split"] == "leave-one-speaker-out" and (metrics["n"], metrics["speakers"], metrics["ua"]) == (32, 4, 1)
    clips = read_corpora([corpus])[0].clips
    clips = clips[clips["emotion"].isin(LABELS)]
    pipeline = pickle.loads((out / "classifier.pickle").read_bytes())
    predicted = np.array(LABELS)[pipeline.predict(FUNCTIONALS["mfcc39"](telephone_signals(clips["file"].tolist())))]
    assert (predicted == clips["emotion"]).all()
    code, output = ser(*command, "--out", out)
    assert code == 2 and "exists: name another folder, or remove it" in " ".join(output.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "lda:mfcc39", "--epochs", 1], "--epochs would be ignored: they are of networks, and lda:mfcc39 is a classical system"),
        (["--model", "lda:mfcc39", "--labels", "anger,disgust"], "No clip has disgust"),
        (["--model", "lda:mfcc99"], "'lda:mfcc99' is no baseline: choose one of CLASSIFIER:FUNCTIONALS"),
        (["--model", "ladder"], "Model 'ladder' is unknown: choose one of cnn_lstm"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(arguments, message, tmp_path):
    corpus = made_corpus(tmp_path / "made", speakers=2)
    code, output = ser("train", "--data", corpus, *arguments, "--out", tmp_path / "out", "--cache", tmp_path / "cache", "--workers", 1)
    assert code == 2 and message in " ".join(output.split()), output
    assert not (tmp_path / "out").exists() and not (tmp_path / "cache").exists()


def test_helps_list_the_names_of_the_registries():
    assert names.MODELS.split(", ") == [name for name in MODELS if not needs_encoder(name)]
    assert names.WITH_ENCODER.split(", ") == [name for name in MODELS if needs_encoder(name)]
    assert names.FEATURE_SETS.split(", ") == list(FEATURE_SETS)
    assert names.CLASSIFIERS.split(", ") == [*CLASSIFIERS, "soft_vote"]
    assert names.FUNCTIONALS.split(", ") == list(FUNCTIONALS) and names.PREPARATIONS.split(", ") == list(PREPARATIONS)
    assert names.FIELD_ROWS.split(", ") == list(ROWS)
    for command, text in names.EPILOGS.items():
        assert " ".join(text.split()) in " ".join(ser(command, "--help")[1].split())


@pytest.mark.parametrize("other", ["NEMO_AB0", " nemo_AB0", "nemo_AB0  ", "Nemo_ab0"])
def test_a_speaker_spelt_in_two_ways_is_one_in_every_command(other, tmp_path):
    corpus = made_corpus(tmp_path / "made", speakers=2)
    labels = pd.read_csv(corpus / "labels.csv").assign(speaker=lambda rows: rows["speaker"].replace("s0", "nemo_AB0"))
    labels.loc[labels["file"].str.startswith("0_") & labels["file"].str.endswith("_3.wav"), "speaker"] = other
    labels.to_csv(corpus / "labels.csv", index=False)
    (made,) = read_corpora([corpus])
    assert made.summary() == "made: 24 clips of 2 speakers" and set(made.clips["speaker"]) == {"nemo_AB0", "s1"}
    assert {name: len(clips) for name, clips in field_corpora([corpus]).items()} == {"made": 12, "nemo": 12}


@pytest.mark.parametrize(("speaker", "dropped"), [("  ", True), ("x", False)])
def test_a_speaker_without_a_name_is_left_out_with_a_reason(speaker, dropped, tmp_path):
    corpus = made_corpus(tmp_path / "made", speakers=1)
    labels = pd.read_csv(corpus / "labels.csv")
    labels.loc[0, "speaker"] = speaker
    labels.to_csv(corpus / "labels.csv", index=False)
    assert read_corpora([corpus])[0].dropped == ({"file or speaker empty": 1} if dropped else {})
