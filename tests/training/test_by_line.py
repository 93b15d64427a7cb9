"""Networks trained on features standardised by their corpora, whose bundles take line profiles."""

from dataclasses import replace

import numpy as np
import pytest

from ser_tasks.evaluation.plan import Plan
from ser_tasks.inference.bundle import load_bundle
from ser_tasks.training.feature_cache import Pool
from ser_tasks.training.fit import Examples
from ser_tasks.training.recipe import recipe_of
from ser_tasks.training.train import train_bundle
from ser_tasks.training.trainer import ModelSpec
from tests.factories.speakers import LABELS, made_corpus


@pytest.fixture(scope="module")
def examples() -> Examples:
    """Three classes, of which 2 is neutral, in two corpora of unlike level and spread."""
    rng, truth = np.random.default_rng(0), np.tile([0, 1, 2, 2], 10)
    speakers = np.repeat(["one/a", "two/b"], 20)
    clips = [
        rng.normal(5 * (speaker == "two/b") + label, 1 + label, (30 + 5 * label, 4)) for label, speaker in zip(truth, speakers, strict=True)
    ]
    lengths = np.array([[len(clip) for clip in clips]])
    starts = np.cumsum(lengths, axis=1) - lengths
    pool = Pool([np.concatenate(clips).astype(np.float16)], starts, lengths, np.zeros(40, np.int64))
    return Examples(pool, np.arange(40), truth, speakers, 3)


def test_each_corpus_has_the_statistics_of_a_line_with_each_share_of_neutral_speech(examples):
    overall, lines = examples.line_normalisation(2, (0.25, 0.8))
    frames = [examples.pool.features(clip).astype(np.float64) for clip in examples.clips]
    means = []
    for corpus in ("one", "two"):
        for share, found in zip((0.25, 0.8), lines.by_corpus[corpus], strict=True):
            weights = np.array([share / 10 if label == 2 else (1 - share) / 2 / 5 for label in examples.truth])
            weights[examples.corpora != corpus] = 0
            assert weights.sum() == pytest.approx(1)
            mean = sum(weight * clip.mean(axis=0) for weight, clip in zip(weights, frames, strict=True))
            square = sum(weight * np.square(clip - mean).mean(axis=0) for weight, clip in zip(weights, frames, strict=True))
            np.testing.assert_allclose(found.mean, mean, rtol=1e-3)
            np.testing.assert_allclose(found.std, np.sqrt(square), rtol=1e-3)
            means.append(mean)
    np.testing.assert_allclose(overall.mean, np.mean(means, axis=0), rtol=1e-3)  # both corpora have the same weight
    assert (overall.std > lines.by_corpus["one"][0].std).all()  # it holds the corpora's difference


def test_each_clip_is_standardised_by_its_own_corpus_and_one_of_the_shares(examples):
    _, lines = examples.line_normalisation(2, (0.25, 0.8))
    members, x = np.array([0, 39] * 20), np.ones((40, 6, 4), np.float32)
    drawn = set()
    for row, member in zip(lines.apply(x, members, np.random.default_rng(0)), members, strict=True):
        choices = [each.apply(x[0]) for each in lines.by_corpus[examples.corpora[member]]]
        drawn |= {(member, number) for number, choice in enumerate(choices) if np.array_equal(row, choice)}
    assert drawn == {(0, 0), (0, 1), (39, 0), (39, 1)}


def test_a_network_trained_by_line_is_scored_and_calibrated_by_its_line(tmp_path):
    corpus = made_corpus(tmp_path / "data" / "made")
    spec = ModelSpec("cnn_lstm", LABELS, replace(recipe_of("cnn_lstm", epochs=2, by_line=True), copies=1), name="mine")
    plan = Plan(cache=tmp_path / "cache", workers=1)
    training = train_bundle([corpus], spec, tmp_path / "out", plan, folds=2, conditions=["GSM"])
    bundle = load_bundle(tmp_path / "out")
    assert bundle.by_line and bundle.takes_lines and bundle.model_id == training.bundle.model_id
    rows = training.rows
    assert set(rows["condition"]) == {"mu-law", "GSM", "mu-law, by its line"} and rows.groupby("condition").size().nunique() == 1
    by_line = rows[rows["condition"] == "mu-law, by its line"].sort_values("file")
    raw = rows[rows["condition"] == "mu-law"].sort_values("file")
    assert np.abs(by_line["p_anger"].to_numpy() - raw["p_anger"].to_numpy()).max() > 1e-4
    assert {"ua", "ece"} <= bundle.scores["test_on_line"]["all"].keys() and "anger" in bundle.calibrations
    for words in ("--by-line", "Features are standardised by those of the training side", "by the statistics of its corpus"):
        assert words in bundle.card


def test_models_with_pooled_states_are_not_trained_by_line_twice():
    with pytest.raises(ValueError, match="takes line profiles anyway"):
        recipe_of("ge2e_lr", by_line=True)
