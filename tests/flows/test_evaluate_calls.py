"""`ser evaluate --calls`, from labelled clips to the report, with a model that knows these voices' emotions by their pitch."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from flows.cli import app
from ser_tasks.datasets import read_corpora
from ser_tasks.evaluation import composed
from ser_tasks.evaluation.evaluate import ClipScorer, clips_to_score
from ser_tasks.inference.bundle import load_bundle, save_bundle
from tests.factories.calls import tiny_bundle
from tests.factories.speakers import speechlike_corpus

CALLS = 18


def taught_bundle(folder: Path) -> Path:
    """A bundle whose head is fitted to the voice-like corpus, on speakers of its own, as if three in four of their clips were neutral."""
    untaught = tiny_bundle(folder, "untaught", "ge2e_lr", "mel32", temperature=1.0)
    bundle = load_bundle(str(untaught))
    [corpus] = read_corpora([speechlike_corpus(folder / "taught_on", 6)])
    clips = clips_to_score(corpus.clips, [[]] * len(corpus.clips))
    pooled = ClipScorer(str(untaught), bundle.model_id, "cpu", [], 0).pool(clips)
    module = bundle.line_model
    emotion = corpus.clips.emotion.to_numpy()[pooled.clip]
    as_in_calls = np.repeat(pooled.features, np.where(emotion == "neutral", 9, 1), axis=0)
    module.line_mean[:] = torch.from_numpy(as_in_calls.mean(axis=0))
    module.line_scale[:] = torch.from_numpy(np.maximum(as_in_calls.std(axis=0), 1e-4))
    standardised = (pooled.features - module.line_mean.numpy()) / module.line_scale.numpy()
    fitted = LogisticRegression(C=0.01, max_iter=500).fit(standardised, emotion)
    order = [list(fitted.classes_).index(label) for label in bundle.labels]
    module.logits.weight.data = torch.from_numpy(fitted.coef_[order].astype(np.float32))
    module.logits.bias.data = torch.from_numpy(fitted.intercept_[order].astype(np.float32))
    entry = {"corpus": "taught_on", "speakers": {"train": [f"s{number}" for number in range(6)], "calibration": [], "test": []}}
    return save_bundle(replace(bundle, name="taught", training_data=(entry,)), folder / "taught")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return taught_bundle(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return speechlike_corpus(tmp_path_factory.mktemp("data") / "new", 6, first=20)


@pytest.fixture(scope="module", autouse=True)
def short_calls():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(composed, "LENGTHS_S", (60.0, 100.0))
        yield


def evaluate(*options):
    return CliRunner().invoke(app, ["evaluate", "--calls", *map(str, options)])


@pytest.fixture(scope="module")
def out(bundle, corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    options = ["--model", bundle, "--data", corpus, "--number", CALLS, "--cache", folder / "cache", "--workers", 1]
    answer = evaluate(*options, "--out", folder / "report")
    assert answer.exit_code == 0, answer.output
    (folder / "said").write_text(answer.output)
    assert not list((folder / "cache").iterdir())  # the calls are speech: they do not stay
    return folder


def test_a_model_that_knows_the_voices_finds_the_anger(out):
    metrics = json.loads((out / "report/metrics.json").read_text())
    assert (metrics["calls"], metrics["customers"], metrics["not_scored"]) == (CALLS, 6, 0)
    assert metrics["groups"].keys() == {"all", "unheard corpora"}
    group = metrics["groups"]["all"]
    assert group["ranking"]["auc"] > 0.7 and group["segments"]["auc_anger"] > 0.85 and group["moment_is_anger"] > 0.9
    assert group["segments"]["segments"] > 100 and group["segments"]["without_a_voice"] < 0.05
    assert group["anger_seconds"]["correlation"] > 0.3
    assert group["rising"]["calls"] + group["steady"]["calls"] > 0
    assert "standardised by a line profile of these very calls" in metrics["adapted"]
    assert {line["line"] for line in metrics["run"]["lines"]} == {"all", "language=en", "language=en,codec=ULAW"}
    assert "all: AUC of " in (out / "said").read_text() and "Report: " in (out / "said").read_text()


def test_the_tables_are_those_of_the_lake_and_of_the_truth(out):
    calls = pd.read_parquet(out / "report/calls.parquet")
    assert (calls.outcome == "scored").all() and (calls.customer_speech_s > 10).all()
    assert np.allclose(calls.duration_s, calls.duration_s_found, atol=0.01)
    assert (calls.line == "language=en,codec=ULAW").all()
    segments = pd.read_parquet(out / "report/segments.parquet")
    figures = json.loads((out / "report/metrics.json").read_text())["groups"]["all"]
    assert figures["ranking"]["auc"] == pytest.approx(roc_auc_score(calls.has_anger, calls.call_anger))
    assert figures["anger_seconds"]["mean_absolute_error_s"] == pytest.approx((calls.anger_seconds - calls.anger_s).abs().mean())
    assert figures["segments"]["coverage"] == pytest.approx(1 - segments.unsure.mean())
    assert set(segments.role) == {"customer"} and set(segments.call_id) == set(calls.call_id)
    assert (out / "report/report.html").exists()


def test_without_adapting_the_calls_are_scored_raw_and_the_title_says_so(out, bundle, corpus, monkeypatch):
    """Nor does it matter what an installation sets about its own calls."""
    monkeypatch.setenv("SER_POLICY", "customers_with_notice")
    monkeypatch.setenv("SER_KEEP_CALLS_DAYS", "1")
    options = ["--model", bundle, "--data", corpus, "--number", 4, "--cache", out / "cache", "--workers", 1, "--no-adapt"]
    answer = evaluate(*options, "--out", out / "raw")
    assert answer.exit_code == 0, answer.output
    calls = pd.read_parquet(out / "raw/calls.parquet")
    assert calls.line_profile.isna().all() and (calls.outcome == "scored").all()
    assert (out / "raw/report.md").read_text().splitlines()[0].endswith(", scored raw")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--split", "k-fold"], "exclude each other"),
        (["--noise", "nowhere"], "There is no folder nowhere"),
        (["--model", "ge2e_tcn", "--data", "DATA/nothing"], "There is no folder"),
    ],
)
def test_what_cannot_be_done_is_said(options, says, bundle, corpus, tmp_path):
    given = ["--model", bundle, "--data", corpus, "--out", tmp_path / "out", "--cache", tmp_path / "cache"]
    answer = evaluate(*given, *options)
    assert answer.exit_code == 2 and says in " ".join(answer.output.split()) and not (tmp_path / "out").exists()


def test_options_of_calls_need_calls(corpus, tmp_path):
    answer = CliRunner().invoke(app, ["evaluate", "--number", "5", "--data", str(corpus), "--out", str(tmp_path / "out")])
    assert answer.exit_code == 2 and "Add --calls" in answer.output


def test_people_of_the_training_are_in_no_call(bundle, tmp_path):
    """Neither as customers nor as agents: their clips are refused, or left out, and then nobody is left."""
    given = ["--model", bundle, "--data", bundle.parent / "taught_on", "--out", tmp_path / "out", "--cache", tmp_path / "cache"]
    answer = evaluate(*given)
    assert answer.exit_code == 2 and "The split leaks" in answer.output
    answer = evaluate(*given, "--unheard-only")
    assert answer.exit_code == 2 and "No clip is left" in answer.output and not (tmp_path / "out").exists()
