"""Two bundles are compared on callers whom neither heard: better means better than a few callers could bring about."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, recall_score, roc_auc_score

from ser_tasks.evaluation.compare_bundles import compare_bundles, compare_scores
from ser_tasks.evaluation.evaluate import evaluate
from ser_tasks.inference.bundle import load_bundle
from tests.factories.calls import tiny_bundle
from tests.factories.speakers import speechlike_corpus

LABELS = ("anger", "neutral", "sadness")


def clips_of(callers: int, each: int = 6) -> pd.DataFrame:
    rows = [("mine", f"c{caller}", LABELS[clip % 3]) for caller in range(callers) for clip in range(each)]
    return pd.DataFrame(rows, columns=["corpus", "speaker", "emotion"])


def scores(clips: pd.DataFrame, right: float, seed: int) -> np.ndarray:
    """Probabilities whose largest is the truth in this share of the clips."""
    rng, truth = np.random.default_rng(seed), clips["emotion"].map(LABELS.index).to_numpy()
    chosen = np.where(rng.random(len(clips)) < right, truth, (truth + 1) % 3)
    given = rng.uniform(0.05, 0.3, (len(clips), 3))
    given[np.arange(len(clips)), chosen] += 0.6
    return given / given.sum(axis=1, keepdims=True)


def test_figures_are_those_of_scikit_learn():
    clips = clips_of(8).iloc[:-2]  # emotions not equally often
    old, new = scores(clips, 0.5, 1), scores(clips, 0.9, 2)
    found = compare_scores(clips, LABELS, old, new, "a-1", "b-2")
    truth = clips["emotion"].map(LABELS.index)
    weights = 1 / clips.groupby("emotion")["speaker"].transform("size")
    for figures, given in ((found.old, old), (found.new, new)):
        assert figures.ua == pytest.approx(recall_score(truth, given.argmax(axis=1), average="macro"))
        assert figures.log_loss == pytest.approx(log_loss(truth, given, sample_weight=weights))
        assert figures.auc_anger == pytest.approx(roc_auc_score(truth == 0, given[:, 0]))
    assert (found.clips, found.callers, found.better) == (46, 8, True)
    gain, rng, gains = found.new.ua - found.old.ua, np.random.default_rng(0), []
    of_emotion = [np.flatnonzero(truth == index) for index in range(3)]
    correct = [given.argmax(axis=1) == truth.to_numpy() for given in (old, new)]
    for _ in range(4000):
        drawn = [rng.choice(clips_of_it, len(clips_of_it)) for clips_of_it in of_emotion]
        gains.append(np.mean([correct[1][each].mean() - correct[0][each].mean() for each in drawn]))
    np.testing.assert_allclose(found.gain_interval_95, (gain - 1.96 * np.std(gains), gain + 1.96 * np.std(gains)), atol=0.015)
    gains_of = (pd.Series(correct[1].astype(float) - correct[0]) * weights).groupby(clips["speaker"]).sum().round(9)
    assert (found.callers_gaining, found.callers_losing) == ((gains_of > 0).sum(), (gains_of < 0).sum()) == (7, 0)
    assert f"b-2 has UA {found.new.ua:.3f}" in found.summary() and f"a-1 UA {found.old.ua:.3f}" in found.summary()


def test_the_same_a_worse_and_a_hardly_better_bundle_are_not_better():
    clips = clips_of(8)
    old = scores(clips, 0.7, 1)
    assert not compare_scores(clips, LABELS, old, old, "a", "b").better
    assert not compare_scores(clips, LABELS, old, scores(clips, 0.4, 2), "a", "b").better
    slightly = old.copy()
    first_wrong = np.flatnonzero(old.argmax(axis=1) != clips["emotion"].map(LABELS.index))[0]
    slightly[first_wrong] = np.eye(3)[LABELS.index(clips["emotion"][first_wrong])]
    found = compare_scores(clips, LABELS, old, slightly, "a", "b")
    assert found.new.ua > found.old.ua and not found.better and found.gain_interval_95[0] <= 0


def test_a_gain_of_one_caller_that_others_pay_for_is_not_better():
    clips = clips_of(6, each=60)
    truth, wrong = (np.eye(3)[(clips["emotion"].map(LABELS.index) + shift) % 3] for shift in (0, 1))
    first, rest = (clips["speaker"] == "c0").to_numpy(), np.arange(len(clips)) % 60 < 3
    old = np.where(first[:, None], wrong, truth)
    new = np.where((rest & ~first)[:, None], wrong, truth)
    found = compare_scores(clips, LABELS, old, new, "a", "b")
    assert found.gain_interval_95[0] > 0 and (found.callers_gaining, found.callers_losing, found.better) == (1, 5, False)


def test_chance_alone_is_rarely_better():
    clips = clips_of(12)
    better = sum(
        compare_scores(clips, LABELS, scores(clips, 0.5, 2 * n), scores(clips, 0.5, 2 * n + 1), "a", "b").better for n in range(40)
    )
    assert better <= 6


def test_bundles_are_compared_on_callers_whom_neither_heard(tmp_path):
    data = speechlike_corpus(tmp_path / "made", speakers=7)
    entry = {"corpus": "made", "licence": "none", "clips": {}, "speakers": {"train": ["s0"], "calibration": ["s1"], "test": []}}
    old = str(tiny_bundle(tmp_path, name="old", seed=1, training_data=(entry,)))
    new = str(tiny_bundle(tmp_path, name="new", seed=2))
    found = compare_bundles(old, new, [data])
    assert (found.clips, found.callers) == (5 * 12, 5)
    assert (found.old_id, found.new_id) == (load_bundle(old).model_id, load_bundle(new).model_id)
    assert found.old.ua == pytest.approx(evaluate(old, [data], robustness=False, unheard_only=True).metrics["ua"])
    with pytest.raises(ValueError, match="4 callers whom neither .* was trained on are too few to compare on: 5 are needed"):
        compare_bundles(old, new, [speechlike_corpus(tmp_path / "few", speakers=4)])


@pytest.mark.slow
def test_a_bundle_that_takes_profiles_is_standardised_by_the_clips(tmp_path):
    data = speechlike_corpus(tmp_path / "made", speakers=5)
    found = compare_bundles("fast", "fast", [data])
    metrics = evaluate("fast", [data], robustness=False, adapt=True).metrics
    assert found.old.ua == pytest.approx(metrics["ua"]) and found.new.auc_anger == pytest.approx(metrics["auc_anger"])
    assert metrics["adapted"]["made"]["refused"] is None
