"""Heads fitted further to labels of own calls: better ones are written, others refused with both figures."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from scipy.special import log_softmax
from typer.testing import CliRunner

from flows.cli import app
from ser_tasks.datasets.labels_csv import read_labels_csv
from ser_tasks.evaluation.compare_bundles import NotBetterError, compare_bundles
from ser_tasks.evaluation.plan import Plan
from ser_tasks.inference.bundle import load_bundle
from ser_tasks.training.fit_pooled import logistic_regression
from ser_tasks.training.on_top import train_on_top
from tests.factories.calls import speechlike, tiny_bundle

PITCHES_HZ = {"anger": 95, "happiness": 240, "neutral": 330, "sadness": 150}
"""Not as in speech, so that a bundle must learn them."""
CALLERS, TAKES = 6, 2
CALL_S = 1.6


def made_reviews(folder, seed=0, first=0):
    """One stereo call a caller, who speaks on channel 1, with a label for each stretch of it."""
    folder.mkdir(parents=True)
    rows = []
    for caller in range(first, first + CALLERS):
        stretches = [(emotion, take) for take in range(TAKES) for emotion in PITCHES_HZ]
        sounds = [
            speechlike(CALL_S, 1000 * seed + 100 * caller + number, PITCHES_HZ[emotion] * (1 + 0.01 * caller))
            for number, (emotion, _) in enumerate(stretches)
        ]
        speech = np.concatenate([sound[: int(CALL_S * 8000)] for sound in sounds])
        agent = speechlike(CALL_S * len(stretches), 7, 200)[: len(speech)]
        soundfile.write(folder / f"call{caller}.wav", np.stack([agent, speech], axis=1), 8000)
        for number, (emotion, _) in enumerate(stretches):
            rows.append((f"call{caller}.wav", f"caller{caller}", emotion, number * CALL_S, (number + 1) * CALL_S, 1))
    columns = ["file", "speaker", "emotion", "start_s", "end_s", "channel"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    return made_reviews(tmp_path_factory.mktemp("data") / "reviews")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def trained(reviews, cache, tmp_path_factory):
    return train_on_top("fast", [reviews], tmp_path_factory.mktemp("out") / "mine", Plan(cache=cache), name="mine")


def test_better_heads_are_written_and_all_else_stays(trained, reviews, cache, tmp_path):
    old, new = load_bundle("fast"), load_bundle(trained.folder)
    found = trained.comparison
    assert found.better and found.new.ua > found.old.ua + 0.1 and found.new.log_loss < found.old.log_loss
    assert (found.clips, found.callers) == (CALLERS * TAKES * 4, CALLERS)
    assert (new.name, new.version, new.licence, new.temperature) == ("mine", "2", old.licence, old.temperature)
    assert (new.calibrations, new.set_thresholds, new.priors) == (old.calibrations, old.set_thresholds, old.priors)
    weights, before = new.module.state_dict(), old.module.state_dict()
    changed = {name for name in before if not torch.equal(weights[name], before[name])}
    assert changed == {"logits.weight", "logits.bias"}
    assert new.training_data[-1]["speakers"]["train"] == [f"caller{caller}" for caller in range(CALLERS)]
    for text in (f"{found.old.ua:.3f}", f"{found.new.ua:.3f}", "ser train --on fast --data reviews/", "prohibited (AI Act", "caller0"):
        assert (text in new.card) == (text != "caller0")
    assert trained.rows["predicted"].eq(trained.rows["emotion"]).mean() == pytest.approx(found.new.ua)  # as many clips of each emotion
    again = train_on_top("fast", [reviews], tmp_path / "again", Plan(cache=cache), name="mine")
    assert again.bundle.model_id == new.model_id


@pytest.mark.slow
def test_it_is_better_on_callers_of_another_day(trained, tmp_path):
    found = compare_bundles("fast", str(trained.folder), [made_reviews(tmp_path / "others", seed=5, first=20)])
    assert found.better and found.new.ua > found.old.ua + 0.1


def test_labels_that_teach_nothing_are_refused_with_both_figures(reviews, cache, tmp_path):
    folder = tmp_path / "reviews"
    shutil.copytree(reviews, folder)
    labels = pd.read_csv(folder / "labels.csv")
    emotions = list(PITCHES_HZ)  # every caller has another emotion at a pitch than the callers before and after
    labels["emotion"] = [
        emotions[(emotions.index(emotion) + int(speaker.removeprefix("caller"))) % 4]
        for emotion, speaker in zip(labels["emotion"], labels["speaker"], strict=True)
    ]
    labels.to_csv(folder / "labels.csv", index=False)
    with pytest.raises(NotBetterError) as refusal:
        train_on_top("fast", [folder], tmp_path / "out", Plan(cache=cache))
    assert not (tmp_path / "out").exists()
    answer = CliRunner().invoke(
        app, ["train", "--on", "fast", "--data", str(folder), "--out", str(tmp_path / "out"), "--cache", str(cache), "--workers", "1"]
    )
    assert answer.exit_code == 1 and not (tmp_path / "out").exists()
    said = " ".join(answer.output.split())
    assert str(refusal.value) in said and said.startswith("ser: Refused, nothing is written: fast-2 has UA 0.") and "fast-1" in said
    assert "on 48 clips of 6 held-out callers" in said


def test_what_cannot_be_trained_on_is_said(trained, reviews, cache, tmp_path):
    out, plan = tmp_path / "out", Plan(cache=cache)
    with pytest.raises(ValueError, match="has no regression on pooled states as its heads: train on top of default, fast or research"):
        train_on_top(str(tiny_bundle(tmp_path)), [reviews], out, plan)
    with pytest.raises(ValueError, match="mine-2-.* was trained on 48 of these clips or on their speakers"):
        train_on_top(str(trained.folder), [reviews], out, plan)
    few = tmp_path / "few"
    shutil.copytree(reviews, few)
    labels = pd.read_csv(few / "labels.csv")
    labels[labels["speaker"].isin([f"caller{caller}" for caller in range(4)])].to_csv(few / "labels.csv", index=False)
    with pytest.raises(ValueError, match="4 callers whom the labels name are too few to compare on: 5 are needed"):
        train_on_top("fast", [few], out, plan)
    labels.groupby("speaker").head(4).to_csv(few / "labels.csv", index=False)
    with pytest.raises(ValueError, match="24 clips of 4 emotions .* are too few: 30 of 2 are needed"):
        train_on_top("fast", [few], out, plan)
    answer = CliRunner().invoke(app, ["train", "--on", "fast", "--folds", "3", "--data", str(reviews), "--out", str(out)])
    assert answer.exit_code == 2 and "--folds would be ignored: --on keeps all of a bundle but its heads" in " ".join(answer.output.split())
    assert not out.exists()


def test_regression_around_weights_is_the_posterior_maximum_and_leaves_absent_classes_alone():
    rng = np.random.default_rng(0)
    x, truth = rng.standard_normal((60, 4)), rng.integers(0, 2, 60) * 2  # of classes 0 and 2 only
    around = rng.standard_normal((3, 4)), rng.standard_normal(3)
    coefficients, bias, loss = logistic_regression(x, truth, np.ones(60), 3, 0.5, around)
    np.testing.assert_array_equal(coefficients[1], around[0][1])
    assert bias[1] == around[1][1]

    def objective(weights, biases):
        logs = log_softmax((x @ weights.T + biases)[:, [0, 2]], axis=1)
        return -logs[np.arange(60), truth // 2].mean() + 0.25 * (((weights - around[0]) ** 2).sum() + ((biases - around[1]) ** 2).sum())

    assert loss == pytest.approx(objective(coefficients, bias))
    for _ in range(20):
        assert objective(coefficients + 0.01 * rng.standard_normal((3, 4)), bias + 0.01 * rng.standard_normal(3)) > loss
    far, _, _ = logistic_regression(x, truth, np.ones(60), 3, 1e6, around)
    np.testing.assert_allclose(far, around[0], atol=1e-4)


def test_reviews_are_read_as_stretches_of_calls(reviews):
    clips = read_labels_csv(reviews).clips
    assert clips["file"][1].endswith("call0.wav#t=1.6,3.2&channel=1")
    assert json.dumps(clips["emotion"].value_counts().to_dict(), sort_keys=True) == json.dumps(
        dict.fromkeys(sorted(PITCHES_HZ), CALLERS * TAKES)
    )
