"""The field's networks are trained by name, make bundles, and score segments from them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from rich.progress import Progress
from typer.testing import CliRunner

from flows.cli import app
from ser_tasks.datasets import read_corpora
from ser_tasks.evaluation.plan import Plan
from ser_tasks.features import features_of
from ser_tasks.inference.bundle import load_bundle, save_bundle
from ser_tasks.inference.scorer import Scorer
from ser_tasks.training.baselines import telephone_signals
from ser_tasks.training.recipe import recipe_of
from ser_tasks.training.trainer import ModelSpec, learn, prepare
from tests.factories.speakers import LABELS, made_corpus

FIELD = (
    "cnn",
    "lstm",
    "lflb_lstm",
    "attention_gru",
    "attention_gru_one_step",
    "ensemble_1d",
    "mean_cnn",
    "clustered_bilstm",
    "keyframe_cnn3d",
    "two_way_dense",
    "two_way_image",
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> pd.DataFrame:
    made = read_corpora([made_corpus(tmp_path_factory.mktemp("data") / "made", speakers=3)])[0].clips
    made = made[made["emotion"].isin(LABELS)].reset_index(drop=True)
    return made.assign(side=made["speaker"].map({"s0": "train", "s1": "train", "s2": "test"}))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def trained(name: str, clips: pd.DataFrame, cache, epochs: int):
    spec = ModelSpec(name, LABELS, replace(recipe_of(name), epochs=epochs, copies=0, batch=8), name)
    plan = Plan(cache=cache, workers=1)
    with Progress(disable=True) as silent:
        return learn(clips, prepare(clips, spec, plan, silent), spec, plan)


def scores_of(bundle, clips: pd.DataFrame) -> np.ndarray:
    flat, lengths = features_of(bundle.feature_set, bundle.feature_params, telephone_signals(clips["file"].tolist()), 8000)
    return Scorer(bundle, torch.device("cpu"), 2000, "float32").score(flat, lengths)


@pytest.mark.parametrize("name", FIELD)
def test_each_is_trained_with_its_own_features_and_scores_from_its_bundle(name, clips, cache, tmp_path):
    bundle, losses = trained(name, clips, cache, epochs=1)
    assert len(losses) == 1 and np.isfinite(losses).all() and bundle.feature_set == recipe_of(name).feature_set
    scores = scores_of(bundle, clips)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    loaded = load_bundle(save_bundle(bundle, tmp_path / name))
    np.testing.assert_array_equal(scores_of(loaded, clips), scores)


@pytest.mark.slow
def test_the_league_takes_networks_and_preparations_of_the_field_by_name(cache, tmp_path):
    folder = made_corpus(tmp_path / "made", speakers=6)
    names = ["mean_cnn", "two_way_dense", "lda:mfcc39", "svm:mfcc39:genetic"]
    command = ["league", "--data", str(folder), "--out", str(tmp_path / "league"), "--models", ",".join(names), "--folds", "2"]
    command += ["--labels", ",".join(LABELS), "--epochs", "1", "--workers", "1", "--cache", str(cache)]
    answer = CliRunner().invoke(app, command)
    assert answer.exit_code == 0, answer.output
    table = pd.read_parquet(tmp_path / "league" / "league.parquet").set_index(["model", "corpus"])
    assert sorted(table.index) == sorted((name, corpus) for name in names for corpus in ("all", "made"))
    assert table["ua"].between(0, 1).all() and table.loc[("lda:mfcc39", "all"), "ua"] > 0.9
    assert table["parameters"].notna().groupby("model").all().to_dict() == {name: ":" not in name for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELD)
def test_each_learns_emotions_that_are_easy_to_tell_apart(name, clips, cache):
    bundle, losses = trained(name, clips, cache, epochs=40)
    tested = clips[clips["side"] == "test"]
    right = scores_of(bundle, tested).argmax(axis=1) == tested["emotion"].map(LABELS.index)
    assert right.mean() > 0.9 and losses[-1] < losses[0]
