import json
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from rich.progress import Progress
from sklearn.metrics import recall_score

from ser_tasks.datasets import folds_of
from ser_tasks.datasets.labels_csv import read_labels_csv
from ser_tasks.datasets.telephone import mu_law, read_trimmed
from ser_tasks.evaluation.metrics import ece
from ser_tasks.evaluation.plan import Plan
from ser_tasks.features import FEATURE_SETS, features_of
from ser_tasks.inference.bundle import ALL_UNSURE, load_bundle
from ser_tasks.training.augment import add_babble
from ser_tasks.training.calibrate import best_temperature, threshold
from ser_tasks.training.feature_cache import pool_of
from ser_tasks.training.fit import Examples, even_weights
from ser_tasks.training.recipe import recipe_of
from ser_tasks.training.train import FOUR, Training, calibrated_across, recalibrated, train_bundle, training_key
from ser_tasks.training.trainer import ModelSpec, learn
from tests.factories.calls import speechlike, tiny_bundle
from tests.factories.speakers import LABELS, made_corpus

PLAN = Plan()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return made_corpus(tmp_path_factory.mktemp("data") / "made")


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def trained(corpus, cache, tmp_path_factory) -> Training:
    out = tmp_path_factory.mktemp("out") / "bundle"
    return train_bundle([corpus], spec_of("cnn_lstm", 25), out, Plan(seed=3, cache=cache))


def test_training_separates_easy_emotions(trained):
    assert trained.bundle.scores["test"]["all"]["ua"] > 0.9
    assert trained.corpora == ["made: 72 clips of 6 speakers"]
    assert trained.seconds > 0 and len(trained.history) == 25 and trained.history[-1] < trained.history[0]


def test_the_bundle_on_disk_reproduces_its_scores(trained, corpus):
    bundle = load_bundle(str(trained.folder))
    assert bundle.model_id == trained.bundle.model_id and bundle.scores == json.loads(json.dumps(trained.bundle.scores))
    entry = bundle.training_data[0]
    clips = read_labels_csv(corpus).clips
    test = clips[clips.speaker.isin(entry["speakers"]["test"]) & clips.emotion.isin(LABELS)]
    assert entry["clips"]["test"] == len(test) == trained.bundle.scores["test"]["all"]["segments"]
    right = 0
    for file, emotion in zip(test.file, test.emotion, strict=True):
        flat, lengths = features_of(bundle.feature_set, bundle.feature_params, [soundfile.read(file, dtype="float32")[0]], 8000)
        with torch.inference_mode():
            probabilities = bundle.probabilities(torch.from_numpy(flat)[None], torch.from_numpy(lengths))
        right += bundle.labels[int(probabilities.argmax())] == emotion
    assert right / len(test) == pytest.approx(trained.bundle.scores["test"]["all"]["wa"], abs=0.15)


def test_no_speaker_is_on_two_sides_and_the_card_names_them_all(trained):
    bundle = load_bundle(str(trained.folder))
    speakers = bundle.training_data[0]["speakers"]
    assert sorted(sum(speakers.values(), [])) == [f"s{index}" for index in range(6)]
    for side in ("train", "calibration", "test"):
        assert f"made, {side}: {', '.join(speakers[side])}" in bundle.card
    assert "prohibited (AI Act" in bundle.card and f"{bundle.scores['test']['all']['ece']:.2f}" in bundle.card
    assert bundle.licence == "unknown" and "ask its owners" in bundle.licence_text and "made, licence unknown" in bundle.licence_text


def spec_of(model: str, epochs: int | None = None, labels: tuple[str, ...] = LABELS) -> ModelSpec:
    return ModelSpec(model, labels, recipe_of(model, epochs=epochs), model)


def pool_quietly(clips: pd.DataFrame, spec: ModelSpec, cache: Path):
    with Progress(disable=True) as progress:
        return pool_of(clips, spec.recipe, Plan(cache=cache), progress)


def test_normalisation_is_of_the_training_speakers_only(trained, corpus, cache):
    bundle = load_bundle(str(trained.folder))
    clips = read_labels_csv(corpus).clips
    pool = pool_quietly(clips, spec_of("cnn_lstm", 1), cache)
    train = np.flatnonzero(clips.speaker.isin(bundle.training_data[0]["speakers"]["train"]))
    frames = np.concatenate([pool.features(clip).astype(np.float64) for clip in train])
    np.testing.assert_allclose(bundle.mean, frames.mean(axis=0), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(bundle.std, frames.std(axis=0), rtol=1e-3, atol=1e-3)


def test_a_fold_never_looks_at_the_test_side(corpus, cache):
    """Weights, normalisation, temperature and threshold are the same whatever the test clips are labelled."""
    clips = read_labels_csv(corpus).clips
    side = folds_of(clips, "k-fold", 6)["fold 1 of 6"]
    spec = spec_of("cnn_lstm", 2)
    pool = pool_quietly(clips, spec, cache)
    bundle, _ = learn(clips.assign(side=side), pool, spec, PLAN)
    turned = clips.assign(side=side)
    turned.loc[side == "test", "emotion"] = "neutral"
    assert learn(turned, pool, spec, PLAN)[0].model_id == bundle.model_id
    turned.loc[side == "calibration", "emotion"] = "neutral"
    other = learn(turned, pool, spec, PLAN)[0]
    assert other.temperature != bundle.temperature
    assert all(torch.equal(one, two) for one, two in zip(bundle.module.parameters(), other.module.parameters(), strict=True))


def test_a_killed_training_ends_with_the_same_weights(corpus, cache, tmp_path):
    clips = read_labels_csv(corpus).clips
    clips = clips.assign(side=folds_of(clips, "k-fold", 6)["fold 1 of 6"])
    spec = spec_of("cnn_tcn", 3)
    pool = pool_quietly(clips, spec, cache)
    whole, losses = learn(clips, pool, spec, PLAN)

    class Killed(BaseException):
        pass

    def kill(step: int, steps: int, loss: float) -> None:
        if step > steps * 0.8:
            raise Killed

    checkpoint = tmp_path / "training.pt"
    with pytest.raises(Killed):
        learn(clips, pool, spec, PLAN, checkpoint, kill)
    assert checkpoint.exists()
    torch.manual_seed(99)
    steps = []
    resumed, again = learn(clips, pool, spec, PLAN, checkpoint, lambda step, of, loss: steps.append((step, of)))
    assert resumed.model_id == whole.model_id and again == losses
    assert steps[0][0] == steps[0][1] * 2 // 3 + 1 and not checkpoint.exists()


def test_a_checkpoint_is_not_used_by_a_training_on_other_sides(corpus):
    clips, spec = read_labels_csv(corpus).clips, spec_of("cnn_tcn", 3)
    keys = [training_key(clips, spec, PLAN, folds) for folds in (0, 3, 6, 3)]
    assert len(set(keys)) == 3 and keys[1] == keys[3]


def test_features_are_computed_once_and_a_corpus_keeps_them_in_any_mix(corpus, tmp_path, monkeypatch):
    clips = read_labels_csv(corpus).clips
    spec, cache = spec_of("cnn_lstm", 1), tmp_path / "cache"
    first = pool_quietly(clips, spec, cache)
    monkeypatch.setattr("ser_tasks.training.feature_cache.compute_features", None)
    second = pool_quietly(clips.assign(corpus="made"), spec, cache)
    assert first.lengths.shape == (1 + spec.recipe.copies, len(clips)) and stat.S_IMODE(cache.stat().st_mode) == 0o700
    for clip, copy in ((0, 0), (5, 3), (71, 7)):
        np.testing.assert_array_equal(first.features(clip, copy), second.features(clip, copy))
        assert first.features(clip, copy).shape == (first.lengths[copy, clip], 40)
    signal = read_trimmed(Path(clips.file[5]))
    plain = features_of("mfcc40", {}, [mu_law(signal)], 8000)[0]
    np.testing.assert_allclose(first.features(5), plain, rtol=1e-3, atol=0.3)  # kept as float16
    assert first.lengths[1, 5] != first.lengths[0, 5]


@pytest.mark.slow
def test_cross_validated_training_scores_and_trains_on_every_speaker(corpus, cache, tmp_path):
    training = train_bundle([corpus], spec_of("cnn_lstm", 8), tmp_path / "b", Plan(seed=1, cache=cache), folds=3)
    bundle = load_bundle(tmp_path / "b")
    assert bundle.scores["folds"] == 3 and bundle.scores["test"]["all"]["segments"] == 48
    assert set(bundle.training_data[0]["speakers"]["train"]) == {f"s{index}" for index in range(6)}
    assert len(bundle.training_clips) == 72, "clips of fear are trained on as well, though the bundle has no output for it"
    reference = training.rows[training.rows["condition"] == "mu-law"]
    assert len(reference) == 48 and reference.groupby("speaker")["fold"].nunique().max() == 1
    assert bundle.scores["test"]["all"]["ua"] == pytest.approx(
        recall_score(reference.emotion, reference.predicted, average="macro"), abs=1e-4
    )
    assert "3-fold cross-validation" in bundle.card and "| babble 10 dB |" in bundle.card
    assert not list(cache.glob("training-*")), "checkpoints are removed at the end"


def test_the_same_seed_gives_the_same_bundle(corpus, cache, tmp_path):
    """Whatever the global generator was at before, which training leaves as it was."""
    ids = []
    for index, seed in enumerate((1, 1, 2)):
        torch.manual_seed(index)
        before = torch.get_rng_state()
        training = train_bundle([corpus], spec_of("cnn_lstm", 1), tmp_path / str(index), Plan(seed=seed, cache=cache))
        ids.append(training.bundle.model_id)
        assert torch.equal(torch.get_rng_state(), before)
    assert ids[0] == ids[1] != ids[2]


def test_another_model_feature_set_and_name(corpus, tmp_path):
    spec = ModelSpec("crnn", LABELS, recipe_of("crnn", params={"n_mels": 16}, epochs=1), name="mine", version="7")
    training = train_bundle([corpus.parent], spec, tmp_path / "b", Plan(cache=tmp_path / "c"))
    bundle = load_bundle(tmp_path / "b")
    assert training.bundle.model_id.startswith("mine-7-")
    assert (bundle.feature_set_id, bundle.feature_params["n_mels"], bundle.feature_params["top_db"]) == ("logmel8k-1", 16, 60.0)


def test_invalid_trainings_are_refused(corpus, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="No train speaker has sadness: give corpora of 3 speakers or more, or fewer labels"):
        train_bundle([corpus], spec_of("cnn_lstm", labels=("anger", "sadness")), out, PLAN)
    with pytest.raises(ValueError, match="Labels bored are not in the taxonomy"):
        spec_of("cnn_lstm", labels=("anger", "bored"))
    with pytest.raises(ValueError, match="is no corpus and holds none: it needs a labels.csv"):
        train_bundle([tmp_path], spec_of("cnn_lstm", labels=FOUR), out, PLAN)
    with pytest.raises(ValueError, match="Two corpora are named made: give each folder once"):
        train_bundle([corpus, corpus.parent], spec_of("cnn_lstm", labels=FOUR), out, PLAN)
    with pytest.raises(ValueError, match="Model 'mine' is unknown: choose one of cnn_lstm"):
        recipe_of("mine")
    out.mkdir()
    with pytest.raises(FileExistsError, match="exists: name another folder"):
        train_bundle([corpus], spec_of("cnn_lstm"), out, PLAN)
    assert list(out.iterdir()) == []


def test_a_clip_that_another_corpus_has_under_another_name_is_refused(corpus, tmp_path):
    """Every speaker of one corpus is in the other too: whatever the split, one of them is on two sides."""
    copy = tmp_path / "copy"
    shutil.copytree(corpus, copy)
    labels = pd.read_csv(copy / "labels.csv")
    labels.assign(speaker=[f"t{(int(name[1:]) + 3) % 6}" for name in labels.speaker]).to_csv(copy / "labels.csv", index=False)
    for seed in range(5):
        with pytest.raises(ValueError, match=r"The split leaks. Its sides share \d+ identical clips"):
            train_bundle([corpus, copy], spec_of("cnn_lstm", 1), tmp_path / f"out-{seed}", Plan(seed=seed))


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
    unsure_below = threshold(probabilities, truth, np.ones(len(truth)), np.arange(len(truth)) % 400, target_error)
    assert wrong[confidence >= unsure_below].mean() <= target_error
    lower = np.unique(confidence[confidence < unsure_below])[:-40]  # what speakers differ by, and the candidates' steps
    assert all(wrong[confidence >= candidate].mean() > target_error - 0.02 for candidate in lower[:: max(1, len(lower) // 200)])


def test_a_threshold_allows_for_speakers_that_differ():
    """Of ten speakers one is always wrong: one in ten wrong labels are too many, since another ten may have two of them."""
    probabilities, speakers = np.tile([0.9, 0.1], (500, 1)), np.arange(500) % 10
    truth = (speakers == 0).astype(int)
    assert threshold(probabilities, truth, np.ones(500), speakers, 0.1) == ALL_UNSURE
    assert threshold(probabilities, truth, np.ones(500), speakers, 0.25) == pytest.approx(0.9)


def test_the_threshold_of_a_cross_validation_keeps_the_target_on_unseen_speakers_and_on_unseen_corpora(tmp_path):
    """The model is more often wrong on new corpora, at the same confidence."""
    bundle = load_bundle(tiny_bundle(tmp_path, temperature=1.0))
    passes = []
    for seed, noise in ((0, 0.0), (1, 0.7)):
        logits, truth = made_logits(seed)
        scores = torch.softmax(torch.from_numpy(logits + noise * np.random.default_rng(9).standard_normal(logits.shape)), dim=1).numpy()
        rows = pd.DataFrame(scores, columns=[f"p_{label}" for label in bundle.labels])
        rows["emotion"], rows["corpus"] = np.array(bundle.labels)[truth], "made"
        passes.append(rows.assign(speaker=[f"s{number % 40}" for number in range(len(rows))], temperature=1.0))
    target = 0.35
    known = calibrated_across(replace(bundle, target_error=target), passes[:1])
    both = calibrated_across(replace(bundle, target_error=target), passes)
    assert known.unsure_below < both.unsure_below < 1
    for rows in passes:
        after = recalibrated(rows, both)
        sure = after[~after.unsure]
        right = sure[[f"p_{label}" for label in bundle.labels]].to_numpy().argmax(axis=1) == sure.emotion.map(list(bundle.labels).index)
        assert len(sure) > 50 and 1 - right.mean() <= target


def test_a_target_out_of_reach_leaves_everything_unsure():
    probabilities = np.tile([0.9, 0.1], (50, 1))
    assert threshold(probabilities, np.array([1, 0] * 25), np.ones(50), np.arange(50), 0.2) == ALL_UNSURE
    assert threshold(probabilities, np.zeros(50, int), np.ones(50), np.arange(50), 0.2) == pytest.approx(0.9)


def test_calibration_counts_by_weight():
    """One speaker's 40 wrong clips against another's 10 right ones: as one speaker each, half is wrong."""
    probabilities = np.array([[0.9, 0.1]] * 40 + [[0.8, 0.2]] * 10)
    truth = np.array([1] * 40 + [0] * 10)
    by_speaker = np.array([1 / 40] * 40 + [1 / 10] * 10)
    one_each = np.arange(50)
    assert threshold(probabilities, truth, by_speaker, one_each, 0.7) == pytest.approx(0.8)
    assert threshold(probabilities, truth, np.ones(50), one_each, 0.7) == ALL_UNSURE
    confident = best_temperature(np.log(probabilities), truth, np.where(truth == 0, 1.0, 1e-6))
    assert confident < 0.5 and best_temperature(np.log(probabilities), truth, np.ones(50)) > 1


def test_every_emotion_of_a_speaker_weighs_the_same():
    speakers, truth = np.array(["a"] * 17 + ["b"] * 3), np.array([0] + [1] * 16 + [0, 1, 1])
    weights = even_weights(speakers, truth)
    assert weights.mean() == pytest.approx(1)
    cells = [weights[(speakers == speaker) & (truth == label)].sum() for speaker in "ab" for label in (0, 1)]
    np.testing.assert_allclose(cells, cells[0])


def test_emotions_are_drawn_equally_often_and_small_corpora_more_than_in_proportion():
    speakers = np.array(["big/a"] * 60 + ["big/b"] * 40 + ["small/c"] * 25)
    truth = np.array([0] * 90 + [1] * 10 + [0] * 5 + [1] * 20)
    shares = Examples(None, np.arange(125), truth, speakers, 2).shares
    big = np.char.startswith(speakers, "big")
    assert shares.sum() == pytest.approx(1) and shares[big].sum() == pytest.approx(2 * shares[~big].sum())
    for corpus in (big, ~big):
        assert shares[corpus & (truth == 0)].sum() == pytest.approx(shares[corpus & (truth == 1)].sum())


def test_babble_in_features_matches_babble_in_sound():
    """Two voices at one level, added up in their bands, and added up as sound."""

    class InStep:
        def integers(self, high: int) -> int:
            return 0

    for name, own in FEATURE_SETS.items():
        if own.bands_db is None:
            with pytest.raises(ValueError, match=f"{name} has no levels of bands: babble can't be mixed into it"):
                add_babble(np.ones((5, 3), np.float32), [np.ones((5, 3), np.float32)], 0.0, own, {}, InStep())
            continue
        params = own.complete({})
        voices = [speechlike(2.0, seed) for seed in (1, 2)]
        voices = [voice * np.float32(0.05 / voice.std()) for voice in voices]
        one, other, both = (features_of(name, params, [signal], 8000)[0] for signal in (*voices, voices[0] + voices[1]))
        guessed = own.bands_db(add_babble(one, [other], 0.0, own, params, InStep()), params)
        wanted = own.bands_db(both, params)
        alone = own.bands_db(one, params)
        assert np.corrcoef(guessed.ravel(), wanted.ravel())[0, 1] > 0.9 > np.corrcoef(alone.ravel(), wanted.ravel())[0, 1] + 0.02, name
