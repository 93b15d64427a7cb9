import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from ser_tasks.bundle import ALL_UNSURE, load_bundle
from ser_tasks.datasets.labels_csv import read_labels_csv
from ser_tasks.features import features_of
from ser_tasks.metrics import ece
from ser_tasks.train import _fit, _prepare, best_temperature, threshold, train_bundle

LABELS = ("anger", "neutral")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Batches this small are slower on several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Six speakers: "anger" is a harsh high buzz, "neutral" a soft low tone, each speaker at another pitch."""
    folder = tmp_path_factory.mktemp("data") / "made"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for speaker in range(6):
        for emotion in (*LABELS, "fear"):
            for take in range(4):
                seconds = rng.uniform(0.8, 1.6)
                time_s = np.arange(int(8000 * seconds)) / 8000
                pitch_hz = (300 if emotion == "anger" else 120) * (1 + 0.03 * speaker)
                wave = np.sin(2 * np.pi * pitch_hz * time_s)
                signal = 0.1 * (np.sign(wave) if emotion == "anger" else wave) + 0.005 * rng.standard_normal(len(time_s))
                name = f"{speaker}_{emotion}_{take}.wav"
                soundfile.write(folder / name, signal, 8000)
                rows.append((name, f"s{speaker}", ["female", "male"][speaker % 2], emotion))
    pd.DataFrame(rows, columns=["file", "speaker", "gender", "emotion"]).to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("out") / "bundle"
    return train_bundle([corpus], "cnn_lstm", out, LABELS, epochs=6, seed=3)


def test_training_learns_what_there_is_to_learn(trained):
    assert trained["scores"]["test"]["all"]["ua"] > 0.9
    assert trained["corpora"] == ["made: 72 clips of 6 speakers"]
    assert trained["seconds"] > 0


def test_the_bundle_on_disk_scores_as_the_summary_says(trained, corpus):
    bundle = load_bundle(trained["bundle"])
    assert bundle.model_id == trained["model_id"] and bundle.scores == json.loads(json.dumps(trained["scores"]))
    told = bundle.training_data[0]
    clips = read_labels_csv(corpus).clips
    test = clips[clips.speaker.isin(told["speakers"]["test"]) & clips.emotion.isin(LABELS)]
    assert told["clips"]["test"] == len(test) == trained["scores"]["test"]["all"]["segments"]
    right = 0
    for file, emotion in zip(test.file, test.emotion, strict=True):
        flat, lengths = features_of(bundle.feature_set, bundle.feature_params, [soundfile.read(file, dtype="float32")[0]], 8000)
        with torch.inference_mode():
            probabilities = bundle.probabilities(torch.from_numpy(flat)[None], torch.from_numpy(lengths))
        right += bundle.labels[int(probabilities.argmax())] == emotion
    assert right / len(test) == pytest.approx(trained["scores"]["test"]["all"]["wa"], abs=0.15)


def test_no_speaker_is_on_two_sides_and_the_card_names_them_all(trained):
    bundle = load_bundle(trained["bundle"])
    speakers = bundle.training_data[0]["speakers"]
    assert sorted(sum(speakers.values(), [])) == [f"s{index}" for index in range(6)]
    for side in ("train", "calibration", "test"):
        assert f"made, {side}: {', '.join(speakers[side])}" in bundle.card
    assert "prohibited (AI Act" in bundle.card and f"{bundle.scores['test']['all']['ece']:.2f}" in bundle.card
    assert bundle.licence == "unknown" and "ask its owners" in bundle.licence_text and "made, licence unknown" in bundle.licence_text


def test_normalisation_is_of_the_training_speakers_only(trained, corpus):
    from rich.progress import Progress

    bundle = load_bundle(trained["bundle"])
    clips = read_labels_csv(corpus).clips
    clips = clips[clips.speaker.isin(bundle.training_data[0]["speakers"]["train"]) & clips.emotion.isin(LABELS)].assign(side="train")
    with Progress(disable=True) as progress:
        train = _prepare(clips, LABELS, "mfcc40", {}, 0, 0, progress)
    frames = np.concatenate(train.features[0])
    np.testing.assert_allclose(bundle.mean, frames.mean(axis=0), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(bundle.std, frames.std(axis=0), rtol=1e-3, atol=1e-3)


def test_the_same_seed_gives_the_same_bundle(corpus, tmp_path):
    """Whatever the global generator was at before, which training leaves as it was."""
    ids = []
    for index, seed in enumerate((1, 1, 2)):
        torch.manual_seed(index)
        before = torch.get_rng_state()
        ids.append(train_bundle([corpus], "cnn_lstm", tmp_path / str(index), LABELS, epochs=1, seed=seed)["model_id"])
        assert torch.equal(torch.get_rng_state(), before)
    assert ids[0] == ids[1] != ids[2]


def test_another_model_feature_set_and_name(corpus, tmp_path):
    summary = train_bundle(
        [corpus.parent], "crnn", tmp_path / "b", LABELS, feature_params={"n_mels": 16}, name="mine", version="7", epochs=1
    )
    bundle = load_bundle(tmp_path / "b")
    assert summary["model_id"].startswith("mine-7-")
    assert (bundle.feature_set_id, bundle.feature_params["n_mels"], bundle.feature_params["top_db"]) == ("logmel8k-1", 16, 60.0)


def test_what_cannot_be_trained_is_refused(corpus, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="No train speaker has sadness: give corpora of 3 speakers or more, or fewer labels"):
        train_bundle([corpus], "cnn_lstm", out, ("anger", "sadness"))
    with pytest.raises(ValueError, match="Labels bored are not in the taxonomy"):
        train_bundle([corpus], "cnn_lstm", out, ("anger", "bored"))
    with pytest.raises(ValueError, match="is no corpus and holds none: it needs a labels.csv"):
        train_bundle([tmp_path], "cnn_lstm", out)
    with pytest.raises(ValueError, match="Two corpora are named made: give each folder once"):
        train_bundle([corpus, corpus.parent], "cnn_lstm", out)
    with pytest.raises(ValueError, match="Model 'mine' has no feature set of its own"):
        train_bundle([corpus], "mine", out)
    out.mkdir()
    with pytest.raises(FileExistsError, match="exists: name another folder"):
        train_bundle([corpus], "cnn_lstm", out, LABELS)
    assert list(out.iterdir()) == []


def test_a_clip_that_another_corpus_has_under_another_name_is_refused(corpus, tmp_path):
    """Every speaker of one corpus is in the other too: whatever the split, one of them is on two sides."""
    copy = tmp_path / "copy"
    shutil.copytree(corpus, copy)
    labels = pd.read_csv(copy / "labels.csv")
    labels.assign(speaker=[f"t{(int(name[1:]) + 3) % 6}" for name in labels.speaker]).to_csv(copy / "labels.csv", index=False)
    with pytest.raises(ValueError, match=r"The split leaks. Its sides share \d+ identical clips"):
        for seed in range(5):
            train_bundle([corpus, copy], "cnn_lstm", tmp_path / f"out-{seed}", LABELS, epochs=1, seed=seed)


def made_logits(seed: int, n_segments: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is exactly calibrated: the truth is drawn from it."""
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((n_segments, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (probabilities.cumsum(axis=1) < rng.uniform(size=(n_segments, 1))).sum(axis=1)
    return logits, np.minimum(truth, 3)


@pytest.mark.parametrize("factor", [0.2, 1.0, 3.0, 10.0])
def test_temperature_undoes_a_factor_on_the_logits(factor):
    logits, truth = made_logits(0)
    temperature = best_temperature(logits * factor, truth, np.ones(len(truth)))
    assert temperature == pytest.approx(factor, rel=0.1)
    assert ece(truth, torch.softmax(torch.from_numpy(logits * factor / temperature), dim=1).numpy()) < 0.03


@pytest.mark.parametrize("target_error", [0.1, 0.3, 0.5])
def test_threshold_is_the_lowest_that_keeps_the_target(target_error):
    logits, truth = made_logits(1)
    probabilities = torch.softmax(torch.from_numpy(2 * logits), dim=1).numpy()
    confidence, wrong = probabilities.max(axis=1), probabilities.argmax(axis=1) != truth
    unsure_below = threshold(probabilities, truth, np.ones(len(truth)), target_error)
    assert wrong[confidence >= unsure_below].mean() <= target_error
    lower = np.unique(confidence[confidence < unsure_below])
    assert all(wrong[confidence >= candidate].mean() > target_error for candidate in lower[:: max(1, len(lower) // 200)])
    assert len(lower) > 0 or wrong.mean() <= target_error


def test_a_target_out_of_reach_leaves_everything_unsure():
    probabilities = np.tile([0.9, 0.1], (50, 1))
    assert threshold(probabilities, np.array([1, 0] * 25), np.ones(50), 0.2) == ALL_UNSURE
    assert threshold(probabilities, np.zeros(50, int), np.ones(50), 0.2) == pytest.approx(0.9)


def test_calibration_counts_by_weight():
    """One speaker's 40 wrong clips against another's 10 right ones: as one speaker each, half is wrong."""
    probabilities = np.array([[0.9, 0.1]] * 40 + [[0.8, 0.2]] * 10)
    truth = np.array([1] * 40 + [0] * 10)
    by_speaker = np.array([1 / 40] * 40 + [1 / 10] * 10)
    assert threshold(probabilities, truth, by_speaker, 0.5) == pytest.approx(0.8)
    assert threshold(probabilities, truth, np.ones(50), 0.5) == ALL_UNSURE
    confident = best_temperature(np.log(probabilities), truth, np.where(truth == 0, 1.0, 1e-6))
    assert confident < 0.5 < 1 < best_temperature(np.log(probabilities), truth, np.ones(50))


def test_training_weighs_rare_classes_as_much_as_common_ones(trained, corpus):
    """One clip of a speaker's anger to sixteen of their neutral speech, features that say nothing: probabilities stay near one half."""
    from dataclasses import replace

    from rich.progress import Progress

    from ser_tasks.models import make_model
    from ser_tasks.train import Side, _probabilities

    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    truth = np.array([0] * 8 + [1] * 128)
    clips = [[rng.standard_normal((50, 40)).astype(np.float32) for _ in truth]]
    side = Side(pd.DataFrame({"corpus": "made", "speaker": ["a", "b"] * 68}), truth, clips)
    bundle = replace(
        load_bundle(trained["bundle"]), temperature=1.0, mean=(0.0,) * 40, std=(1.0,) * 40, module=make_model("cnn_lstm", 2, 40)
    )
    with Progress(disable=True) as progress:
        _fit(bundle, side, 0.02, 3, 0, progress)
    assert _probabilities(bundle, side)[:, 0].mean() == pytest.approx(0.5, abs=0.12)
