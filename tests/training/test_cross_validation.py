"""Cross-validation, baselines and the league, on made-up speakers whose emotions are easy to classify."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from sklearn.metrics import recall_score
from typer.testing import CliRunner

from flows.cli import app
from ser_tasks.datasets import read_corpora
from ser_tasks.datasets.labels_csv import read_labels_csv
from ser_tasks.evaluation.evaluate import measure
from ser_tasks.evaluation.plan import Plan
from ser_tasks.evaluation.report import write_report
from ser_tasks.models import make_model
from ser_tasks.training.baselines import CLASSIFIERS, BaselineSpec, make_baseline
from ser_tasks.training.cross_validation import Folding, cross_validate, evaluate_across
from ser_tasks.training.functionals import FUNCTIONALS
from ser_tasks.training.leaderboard import league, spec_of
from tests.factories.speakers import LABELS, made_corpus


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("data")
    return [made_corpus(folder / "one"), made_corpus(folder / "two", speakers=3, first=6)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


THREE_FOLDS = Folding(n_folds=3)


def spec(epochs: int = 2):
    return spec_of("cnn_lstm", LABELS, epochs)


@pytest.fixture(scope="module")
def evaluation(data, cache):
    return evaluate_across(spec(), data, Plan(cache=cache), THREE_FOLDS)


def test_every_clip_is_scored_once_by_a_model_not_trained_on_its_speaker(evaluation, data):
    rows, metrics = evaluation.rows, evaluation.metrics
    honest = rows[(rows.split == "k-fold") & (rows.condition == "mu-law")]
    assert metrics["n"] == len(honest) == 72 and honest.groupby(["corpus", "speaker"])["fold"].nunique().max() == 1
    assert metrics["left_out_emotions"] == {"fear": 36} and metrics["leaked_speakers"] == []
    assert metrics["ua"] == pytest.approx(recall_score(honest.emotion, honest.predicted, average="macro"))
    leaky = rows[rows.split == "random-clips"]
    assert metrics["leaky"]["n"] == len(leaky) == 72 and "9 speakers (one/s0" in metrics["leaky"]["shared_between_sides"]
    assert leaky.groupby(["corpus", "speaker"])["fold"].nunique().max() > 1


def test_the_report_shows_honest_and_leaky_side_by_side_and_follows_from_its_rows(evaluation, tmp_path):
    write_report(evaluation, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "# cnn_lstm, k-fold, on 72 clips of 9 speakers\n" in text and "| metric | k-fold | random-clips (leaks) | difference |" in text
    rows, metrics = pd.read_parquet(tmp_path / "rows.parquet"), json.loads((tmp_path / "metrics.json").read_text())
    for split, given in (("k-fold", metrics), ("random-clips", metrics["leaky"])):
        again = json.loads(json.dumps(measure(rows[rows.split == split], metrics["labels"], metrics["target_error"])))
        assert again == {name: given[name] for name in again}


@pytest.mark.slow
def test_a_killed_cross_validation_does_not_train_its_finished_folds_again(data, tmp_path, monkeypatch):
    clips = pd.concat([corpus.clips for corpus in read_corpora(data)], ignore_index=True)
    arguments = (clips, spec(1), tmp_path / "w", Plan(cache=tmp_path / "c"), THREE_FOLDS)
    from ser_tasks.training import cross_validation

    learned, whole = [], cross_validation.learn

    def learn_two(*given, **named):
        learned.append(1)
        if len(learned) == 3:
            raise KeyboardInterrupt
        return whole(*given, **named)

    monkeypatch.setattr(cross_validation, "learn", learn_two)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(*arguments)
    rows, _ = cross_validate(*arguments)
    assert len(learned) == 4 and rows["fold"].nunique() == 3


@pytest.mark.slow
def test_workers_change_nothing(data, cache, evaluation):
    again = evaluate_across(spec(), data, Plan(cache=cache, workers=2), THREE_FOLDS, robustness=False, beside_leaky=False).rows
    first = evaluation.rows[(evaluation.rows.split == "k-fold") & (evaluation.rows.condition == "mu-law")]
    joined = again.merge(first, on=["corpus", "file"], suffixes=("", "_first"))
    assert len(joined) == 72
    for label in LABELS:
        np.testing.assert_allclose(joined[f"p_{label}"], joined[f"p_{label}_first"], atol=1e-5)


@pytest.mark.slow
def test_corpora_can_be_left_out_and_leaks_are_refused(data, cache, tmp_path):
    plan, without_two = Plan(cache=cache), Folding("leave-one-corpus-out", tested=("two",))
    left_out = evaluate_across(spec(1), data, plan, without_two, robustness=False, beside_leaky=False)
    assert set(left_out.rows.corpus) == {"two"} and left_out.metrics["folds"] == 1
    random_clips = Folding("random-clips", 3)
    with pytest.raises(ValueError, match=r"The split leaks. Its sides share 9 speakers \(one/s0, "):
        evaluate_across(spec(1), data, plan, random_clips)
    leaky = evaluate_across(spec(1), data, Plan(cache=cache, allow_leak=True), random_clips, robustness=False)
    write_report(leaky, tmp_path)
    title = (tmp_path / "report.md").read_text().splitlines()[0]
    assert title.endswith("LEAKS, 9 speakers or clips were in its training")


def test_a_planted_duplicate_is_refused_by_name(data, cache, tmp_path):
    planted = made_corpus(tmp_path / "three", speakers=3, first=9)
    labels = pd.read_csv(planted / "labels.csv")
    stolen = read_labels_csv(data[0]).clips.iloc[0]
    samples, rate = soundfile.read(stolen.file, dtype="int16")
    soundfile.write(planted / labels.file[0], samples, rate, format="FLAC")
    with pytest.raises(ValueError, match=rf"2 identical clips \(.*{Path(stolen.file).name}"):
        evaluate_across(spec(1), [data[0], planted], Plan(cache=cache), THREE_FOLDS)


@pytest.mark.parametrize("name", [*CLASSIFIERS, "soft_vote"])
def test_every_classifier_learns_and_gives_probabilities(name):
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], 40)
    x = rng.standard_normal((120, 6)) + truth[:, None]
    model = make_baseline(name, 0).fit(x, truth)
    given = model.predict_proba(x)
    np.testing.assert_allclose(given.sum(axis=1), 1, atol=1e-6)
    assert (given.argmax(axis=1) == truth).mean() > 0.7


SIZES = {
    "logmel": 640,
    "egemaps": 88,
    "is09": 384,
    "is10": 1582,
    "mfcc40_mean": 40,
    "mfcc39": 78,
    "vector162": 162,
    "vector180": 180,
    "short_term34": 68,
    "wavelet_packet": 576,
    "pitch_formants": 33,
    "mfcc_wavelet_pitch": 88,
    "modulation": 121,
}


@pytest.mark.parametrize("name", FUNCTIONALS)
def test_functionals_do_not_depend_on_the_other_clips(name, data):
    signals = [soundfile.read(file, dtype="float32")[0] for file in read_labels_csv(data[0]).clips.file[:3]]
    together = FUNCTIONALS[name](signals)
    alone = np.concatenate([FUNCTIONALS[name]([signal]) for signal in signals])
    assert together.shape == (3, SIZES[name]) and together.dtype == np.float32
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_league_prints_every_model_on_every_corpus(data, cache, tmp_path):
    names = ["cnn_lstm", "svm:logmel", "soft_vote:egemaps"]
    out = tmp_path / "league"
    command = ["league", "--out", str(out), "--models", ",".join(names), "--labels", ",".join(LABELS), "--folds", "3"]
    command += ["--epochs", "2", "--workers", "1", "--cache", str(cache), *[part for folder in data for part in ("--data", str(folder))]]
    answer = CliRunner().invoke(app, command)
    assert answer.exit_code == 0, answer.output
    table = pd.read_parquet(out / "league.parquet")
    assert sorted(zip(table.model, table.corpus, strict=True)) == sorted((m, c) for m in names for c in ("all", "one", "two"))
    assert table.set_index("model").loc["svm:logmel", "ua"].min() > 0.9 and (table.audio_h_per_h > 0).all()
    size = sum(parameter.numel() for parameter in make_model("cnn_lstm", 2, 40).parameters())
    assert table.parameters.dropna().tolist() == [size] * 3
    assert (out / "league.md").read_text().count("\n| `") == 3
    before = os.stat(out / "svm-logmel.parquet").st_mtime_ns
    league(data, out, Plan(cache=cache), learners=["svm:logmel"], labels=LABELS, n_folds=3)
    assert os.stat(out / "svm-logmel.parquet").st_mtime_ns == before
    with pytest.raises(ValueError, match="There is no model svm: choose of cnn_lstm, .*svm:egemaps"):
        league(data, out, Plan(cache=cache), learners=["svm"])


def test_an_unknown_name_raises_with_the_known_ones():
    with pytest.raises(
        FileNotFoundError, match="'svm' is none of cnn_lstm, .* svm:egemaps, .* and no bundle either. There is no bundle.json"
    ):
        spec_of("svm", LABELS)
    assert spec_of("svm:egemaps", LABELS) == BaselineSpec("svm:egemaps", LABELS) and spec_of("cnn_tcn", LABELS).labels == LABELS


def rated_corpus(folder: Path) -> Path:
    """Arousal follows the emotion; valence is noise, and one clip has no rating."""
    made_corpus(folder)
    labels, rng = pd.read_csv(folder / "labels.csv"), np.random.default_rng(0)
    labels["arousal"] = np.where(labels["emotion"] == "anger", 4.0, 2.0) + rng.normal(0, 0.1, len(labels))
    labels["valence"] = rng.uniform(1, 5, len(labels))
    labels.loc[0, "arousal"] = np.nan
    labels.to_csv(folder / "labels.csv", index=False)
    return folder


def test_ratings_are_predicted_for_unseen_speakers_where_listeners_gave_some(tmp_path, cache):
    rated = rated_corpus(tmp_path / "rated")
    evaluation = evaluate_across(
        spec_of("naive_bayes:logmel", None), [rated], Plan(cache=cache), THREE_FOLDS, robustness=False, beside_leaky=False
    )
    ratings, rows = evaluation.metrics["ratings"], evaluation.rows
    assert set(ratings) == {"arousal", "valence"} and ratings["arousal"]["n"] == 71 and ratings["valence"]["n"] == 72
    assert ratings["arousal"]["ccc"] > 0.7 and abs(ratings["valence"]["ccc"]) < 0.4
    known = rows.dropna(subset=["arousal"])
    error = ((known["arousal"] - known["arousal_predicted"]) ** 2).mean()
    assert ratings["arousal"]["mse"] == pytest.approx(error) and ratings["arousal"]["rmse"] == pytest.approx(error**0.5)
    write_report(evaluation, tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| rating | CCC | MSE | RMSE | clips |" in text and "| AUC of one emotion against the rest, mean |" in text


def test_ratings_are_regressed_on_what_a_network_says(tmp_path, cache):
    rated = rated_corpus(tmp_path / "rated")
    evaluation = evaluate_across(spec(8), [rated], Plan(cache=cache), THREE_FOLDS, robustness=False, beside_leaky=False)
    ratings = evaluation.metrics["ratings"]
    assert ratings["arousal"]["n"] == 47 and ratings["arousal"]["ccc"] > 0.6 and abs(ratings["valence"]["ccc"]) < 0.4
    known = evaluation.rows.dropna(subset=["arousal"])
    assert ratings["arousal"]["mse"] == pytest.approx(((known["arousal"] - known["arousal_predicted"]) ** 2).mean())
