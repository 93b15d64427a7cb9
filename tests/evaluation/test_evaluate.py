"""Evaluation: what is scored, what is left out, and that every figure follows from the rows."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from sklearn.metrics import recall_score, roc_auc_score
from typer.testing import CliRunner

from flows.cli import app
from ser_tasks.datasets.conditions import CONDITIONS, REFERENCE
from ser_tasks.datasets.labels_csv import read_labels_csv
from ser_tasks.evaluation.evaluate import corpora_heard, evaluate, measure
from ser_tasks.evaluation.metrics import ece
from ser_tasks.evaluation.plan import Plan
from ser_tasks.evaluation.report import write_report
from ser_tasks.inference.bundle import load_bundle
from tests.factories.calls import speechlike, tiny_bundle
from tests.factories.speakers import made_corpus

EMOTIONS = ("anger", "happiness", "neutral", "sadness", "fear")
SPEAKERS = ("s0", "s1", "s2", "s3")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Four speakers, two clips of each of five emotions; one clip is longer than 6 s."""
    folder = tmp_path_factory.mktemp("data") / "made"
    folder.mkdir()
    rows = []
    for number, speaker in enumerate(SPEAKERS):
        for emotion in EMOTIONS:
            for take in range(2):
                seed = len(rows)
                name = f"{speaker}_{emotion}_{take}.wav"
                seconds = 8.0 if seed == 0 else 1.0 + 0.1 * take
                soundfile.write(folder / name, speechlike(seconds, seed, f0_hz=100 + 30 * EMOTIONS.index(emotion)), 8000)
                rows.append((name, speaker, ["female", "male"][number % 2], emotion, "en"))
    pd.DataFrame(rows, columns=["file", "speaker", "gender", "emotion", "language"]).to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    entry = {"corpus": "made", "licence": "none", "clips": {}, "speakers": {"train": ["s0"], "calibration": [], "test": ["s1"]}}
    return tiny_bundle(tmp_path_factory.mktemp("bundle"), temperature=0.2, training_data=(entry,))


@pytest.fixture(scope="module")
def evaluation(corpus, bundle):
    return evaluate(str(bundle), [corpus], unheard_only=True)


def test_known_emotions_of_speakers_outside_the_training_are_scored(evaluation):
    metrics, rows = evaluation.metrics, evaluation.rows
    assert (metrics["n"], metrics["speakers"]) == (24, 3)
    assert metrics["left_out_emotions"] == {"fear": 8}
    assert metrics["left_out_clips_of_training_speakers"] == 8 and metrics["leaked_speakers"] == []
    assert set(rows.speaker) == {"s1", "s2", "s3"} and set(rows.emotion) == set(EMOTIONS) - {"fear"}
    assert list(rows.condition.unique()) == list(CONDITIONS) and len(rows) == 24 * len(CONDITIONS)
    assert metrics["data"] == ["made: 40 clips of 4 speakers"]


def test_every_figure_follows_from_the_rows(evaluation, bundle, tmp_path):
    write_report(evaluation, tmp_path)
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    again = json.loads(json.dumps(measure(rows, metrics["labels"], load_bundle(str(bundle)).target_error)))
    assert again == {name: metrics[name] for name in again}
    reference = rows[rows.condition == REFERENCE]
    labels = metrics["labels"]
    given = reference[[f"p_{label}" for label in labels]].to_numpy()
    np.testing.assert_allclose(given.sum(axis=1), 1, atol=1e-5)
    truth = reference.emotion.map(labels.index).to_numpy()
    predicted = np.array(labels)[given.argmax(axis=1)]
    assert (predicted == reference.predicted).all()
    assert metrics["ua"] == pytest.approx(recall_score(reference.emotion, predicted, average="macro", zero_division=0))
    assert metrics["wa"] == pytest.approx((predicted == reference.emotion).mean())
    assert metrics["ece"] == pytest.approx(ece(truth, given))
    assert metrics["rmse"] ** 2 == pytest.approx(np.mean((given - np.eye(4)[truth]) ** 2))
    assert np.array(metrics["confusion"]).sum() == metrics["n"] == sum(row["n"] for row in metrics["per_class"].values())
    assert metrics["coverage"] == pytest.approx(1 - reference.unsure.mean())
    for name in ("ua", "wa", "ece"):
        low, high = metrics["intervals_95"][name]
        assert 0 <= low <= high <= 1
    assert metrics["intervals_95"]["wa"][0] <= metrics["wa"] <= metrics["intervals_95"]["wa"][1]
    assert metrics["robustness"][REFERENCE]["labels_flipped"] == 0
    noisy = rows[rows.condition == "babble 0 dB"]
    assert metrics["robustness"]["babble 0 dB"]["labels_flipped"] == (noisy.predicted.to_numpy() != predicted).mean()
    assert metrics["by"]["gender"]["groups"]["male"]["n"] == (reference.gender == "male").sum()


def test_ece_before_calibration_is_that_at_temperature_1(corpus, tmp_path):
    warm, plain = (tiny_bundle(tmp_path, name, temperature=t) for name, t in (("warm", 0.2), ("plain", 1.0)))
    calibrated, raw = (evaluate(str(bundle), [corpus], robustness=False).metrics for bundle in (warm, plain))
    assert calibrated["ece_before_calibration"] == pytest.approx(raw["ece"], abs=1e-5)
    assert calibrated["ece"] != pytest.approx(raw["ece"], abs=1e-3)


def test_a_clips_rows_do_not_depend_on_the_other_clips_or_on_workers(corpus, bundle, evaluation, tmp_path):
    few = tmp_path / "made"
    shutil.copytree(corpus, few)
    labels = pd.read_csv(few / "labels.csv")
    labels[labels.speaker != "s3"].to_csv(few / "labels.csv", index=False)
    alone = evaluate(str(bundle), [few], plan=Plan(workers=2), unheard_only=True).rows
    joined = alone.merge(evaluation.rows, on=["file", "condition"], suffixes=("", "_all"))
    joined = joined[~joined.condition.str.startswith("babble")]  # which is made of the others
    assert len(joined) == 16 * (len(CONDITIONS) - 4)
    for label in ("anger", "sadness"):
        np.testing.assert_allclose(joined[f"p_{label}"], joined[f"p_{label}_all"], atol=1e-5)


def test_clips_of_the_training_are_refused_with_their_names(corpus, bundle, tmp_path):
    """Its speaker by name, and, under a name of their own, samples that are the same."""
    leaked = r"was trained or calibrated on 8 of these clips, of 1 speakers \(made/s0\)"
    with pytest.raises(ValueError, match=f"The split leaks. .* {leaked}: .* --unheard-only .* --allow-leak"):
        evaluate(str(bundle), [corpus])
    clip = read_labels_csv(corpus).clips.query("speaker == 's2' and emotion == 'anger'").iloc[0]
    other = tiny_bundle(tmp_path, training_clips=frozenset([clip.digest[:16]]))
    with pytest.raises(ValueError, match=r"on 1 of these clips, of 1 speakers \(made/s2\)"):
        evaluate(str(other), [corpus])
    assert len(evaluate(str(other), [corpus], robustness=False, unheard_only=True).rows) == 31
    answer = CliRunner().invoke(app, ["evaluate", "--model", str(bundle), "--data", str(corpus), "--out", str(tmp_path / "x")])
    assert answer.exit_code == 2 and "made/s0" in answer.output and not (tmp_path / "x").exists()


def test_a_leak_is_in_the_title(corpus, bundle, tmp_path):
    leaky = evaluate(str(bundle), [corpus], robustness=False, plan=Plan(allow_leak=True))
    assert (leaky.metrics["n"], leaky.metrics["leaked_speakers"]) == (32, ["made/s0"])
    write_report(leaky, tmp_path)
    assert (
        (tmp_path / "report.md")
        .read_text()
        .splitlines()[0]
        .endswith("on 32 clips of 4 speakers: LEAKS, 1 speakers or clips were in its training")
    )


def test_speakers_named_after_their_corpus_are_recognised_in_a_folder_of_any_name(corpus, tmp_path):
    entry = {"corpus": "ravdess", "speakers": {"train": ["ravdess_01", "02"], "calibration": ["ravdess_03"], "test": []}}
    bundle = tiny_bundle(tmp_path, training_data=(entry,))
    folder = tmp_path / "elsewhere"
    shutil.copytree(corpus, folder)
    labels = pd.read_csv(folder / "labels.csv")
    labels = labels.assign(speaker=labels.speaker.map({"s0": "ravdess_01", "s1": "02", "s2": "ravdess_03", "s3": "ravdess_04"}))
    labels.to_csv(folder / "labels.csv", index=False)
    scored = evaluate(str(bundle), [folder], robustness=False, unheard_only=True)
    assert set(scored.rows.speaker) == {"02", "ravdess_04"}  # "02" of another folder is another person


def test_one_speaker_alone_has_no_interval_and_no_babble(corpus, tmp_path):
    one = tmp_path / "one"
    shutil.copytree(corpus, one)
    labels = pd.read_csv(one / "labels.csv")
    labels[labels.speaker == "s3"].drop(columns=["gender", "language"]).to_csv(one / "labels.csv", index=False)
    alone = evaluate(str(tiny_bundle(tmp_path)), [one])
    assert alone.metrics["intervals_95"] is None and alone.metrics["by"]["gender"]["groups"].keys() == {"unknown"}
    assert alone.metrics["robustness"]["babble 0 dB"]["labels_flipped"] == 0
    write_report(alone, tmp_path / "report")
    assert "no interval: one speaker" in (tmp_path / "report" / "report.md").read_text()


def test_nothing_to_score_says_why(corpus, tmp_path):
    bundle = tiny_bundle(tmp_path, labels=("calm", "surprise"))
    with pytest.raises(ValueError, match=r"No clip is left to score of 40: 40 have .* \(it knows calm, surprise\), 0 are of speakers"):
        evaluate(str(bundle), [corpus])


def test_the_command_writes_a_self_contained_report(corpus, bundle, tmp_path):
    answer = CliRunner().invoke(
        app, ["evaluate", "--model", str(bundle), "--data", str(corpus), "--out", str(tmp_path / "r"), "--workers", "1", "--unheard-only"]
    )
    assert answer.exit_code == 0, answer.output
    assert "left out clips of training speakers: 8" in answer.output and "24 clips of 3 speakers" in answer.output
    html = (tmp_path / "r" / "report.html").read_text()
    assert html.count("data:image/svg+xml;base64,") == 3 and "http" not in html.replace("http-equiv", "")
    for heading in ("Scores", "By emotion", "By group", "On the telephone line"):
        assert f"<h2>{heading}</h2>" in html
    nothing = CliRunner().invoke(app, ["evaluate", "--data", str(tmp_path), "--out", str(tmp_path / "x")])
    assert nothing.exit_code == 2 and not (tmp_path / "x").exists()


def test_adapting_standardises_each_corpus_by_its_own_clips(tmp_path):
    """A corpus scores the same alone as beside another; one without enough speakers is scored raw, and the report says so."""
    one, other = made_corpus(tmp_path / "one", 6), made_corpus(tmp_path / "other", 2, first=20)
    bundle = str(tiny_bundle(tmp_path, "line", "ge2e_lr", "mel32", temperature=5.0))
    raw = evaluate(bundle, [one, other], robustness=False).rows
    adapted = evaluate(bundle, [one, other], robustness=False, adapt=True)
    moved = np.abs(adapted.rows.p_anger - raw.p_anger)
    assert moved[raw.corpus == "one"].max() > 0.05 and moved[raw.corpus == "other"].max() < 1e-6
    facts = adapted.metrics["adapted"]
    assert (facts["one"]["segments"], facts["one"]["callers"], facts["one"]["refused"]) == (72, 6, None)
    assert "24 segments of 2 callers are too few" in facts["other"]["refused"]
    alone = evaluate(bundle, [one], robustness=False, adapt=True, plan=Plan(workers=2))
    np.testing.assert_allclose(alone.rows.p_anger, adapted.rows[raw.corpus == "one"].p_anger, atol=1e-5)

    write_report(adapted, tmp_path / "report")
    report = (tmp_path / "report/report.md").read_text()
    assert "standardised by each corpus's own unlabelled clips (raw: other)" in report.splitlines()[0]
    assert "- one: standardised by 72 of its own clips, without labels, of 6 speakers" in report
    expected = roc_auc_score(alone.rows.emotion == "anger", alone.rows.p_anger)
    assert alone.metrics["auc_anger"] == pytest.approx(expected)
    assert alone.metrics["by"]["corpus"]["groups"]["one"]["auc_anger"] == pytest.approx(expected)
    arousal = roc_auc_score(alone.rows.emotion == "anger", alone.rows.p_anger + alone.rows.p_happiness)
    assert alone.metrics["auc_arousal"] == pytest.approx(arousal)


def test_adapting_needs_a_model_that_takes_a_line_profile(corpus, bundle):
    with pytest.raises(ValueError, match="takes no line profile"):
        evaluate(str(bundle), [corpus], adapt=True, unheard_only=True)


def test_a_corpus_is_known_by_its_speakers_names_or_its_own(corpus, tmp_path):
    entries = tuple({"corpus": name, "speakers": {"train": [], "calibration": [], "test": []}} for name in ("ravdess", "made"))
    bundle = load_bundle(str(tiny_bundle(tmp_path, training_data=entries)))
    rows = [("test_side", "ravdess_23"), ("made", "s9"), ("emodb_more", "emodb_03"), ("other", "s1")]
    assert corpora_heard(pd.DataFrame(rows, columns=["corpus", "speaker"]), bundle) == ["made", "test_side"]
