"""Pooled states are computed once; noisy copies hold no other speaker, and training on them makes a model hold out in noise."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.progress import Progress

from ser_tasks.datasets import read_corpora, speaker_ids
from ser_tasks.evaluation.evaluate import babblers
from ser_tasks.evaluation.plan import Plan
from ser_tasks.training.calibrate import FOREIGN_SET_THRESHOLD
from ser_tasks.training.pooled_states import copies_of, own_clips, states_under
from ser_tasks.training.recipe import recipe_of
from ser_tasks.training.train import train_bundle
from ser_tasks.training.trainer import ModelSpec
from tests.factories.speakers import LABELS, made_corpus

SILENT = Progress(disable=True)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return read_corpora([made_corpus(tmp_path_factory.mktemp("data") / "made")])[0].clips


def test_the_voices_of_a_copy_are_the_speakers_own_other_clips(clips):
    speaker_of = dict(zip(clips["file"], speaker_ids(clips), strict=True))
    for file, speaker, others in zip(clips["file"], speaker_ids(clips), own_clips(clips, seed=0), strict=True):
        assert others and file not in others and {speaker_of[other] for other in others} == {speaker}


def test_copies_differ_from_their_clip_and_depend_on_no_other_speaker(clips, tmp_path):
    recipe = recipe_of("ge2e_lr")
    states = copies_of(clips, "ge2e_lr", recipe, Plan(cache=tmp_path / "all"), SILENT)
    assert states.shape == (3, len(clips), 512) and np.isfinite(states).all()
    distances = np.linalg.norm(states[1:] - states[0], axis=2) / np.linalg.norm(states[0], axis=1)
    assert (distances > 0).all() and np.median(distances) > 0.05
    some = clips[speaker_ids(clips) == speaker_ids(clips).iloc[0]]
    alone = copies_of(some, "ge2e_lr", recipe, Plan(cache=tmp_path / "some"), SILENT)
    np.testing.assert_allclose(alone, states[:, clips.index.get_indexer(some.index)], atol=0.02)


def test_states_are_computed_once_for_each_condition(clips, tmp_path):
    plan, recipe, others = Plan(cache=tmp_path), recipe_of("ge2e_lr"), babblers(clips, 0)
    first = states_under(clips, "ge2e_lr", recipe, "babble 10 dB", others, plan, SILENT)
    stored = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    np.testing.assert_array_equal(states_under(clips, "ge2e_lr", recipe, "babble 10 dB", others, plan, SILENT), first)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == stored
    states_under(clips, "ge2e_lr", recipe, "mu-law", others, plan, SILENT)
    assert len(list(tmp_path.iterdir())) == len(stored) + 1


@pytest.mark.slow
def test_a_cross_validated_bundle_is_calibrated_and_scored_by_its_line(tmp_path):
    """Every calibration is there, and rows have the line's condition for every clip."""
    corpus = made_corpus(tmp_path / "data" / "made")
    priors = (("anger", 0.1), *((label, 0.9 / (len(LABELS) - 1)) for label in LABELS if label != "anger"))
    spec = ModelSpec("ge2e_lr", LABELS, replace(recipe_of("ge2e_lr"), copies=1), name="mine", priors=priors)
    training = train_bundle([corpus], spec, tmp_path / "out", Plan(cache=tmp_path / "cache"), folds=2, conditions=["GSM"])
    bundle, rows = training.bundle, training.rows
    assert {"anger", "arousal"} <= bundle.calibrations.keys() and set(bundle.set_thresholds) == set(LABELS)
    assert bundle.priors == dict(priors) and bundle.set_coverage == 0.8
    assert len(set(bundle.set_thresholds.values())) == 1 and max(bundle.set_thresholds.values()) <= FOREIGN_SET_THRESHOLD
    assert bundle.scores["sets"]["unheard speakers"]["coverage"] >= 0.8
    assert rows.groupby("condition").size().nunique() == 1
    assert set(rows["condition"]) == {"mu-law", "GSM", "mu-law, by its line"}
    assert isinstance(rows, pd.DataFrame) and bundle.scores["test_on_line"]["all"]["ua"] > 0.9
    for words in ("1 copies of it were", "in noise and in babble", "emotion_set", "Sets on these clips", "--priors anger=0.1"):
        assert words in bundle.card
    with pytest.raises(ValueError, match="Condition 'phone' is unknown"):
        train_bundle([corpus], spec, tmp_path / "other", Plan(cache=tmp_path / "cache"), folds=2, conditions=["phone"])
