"""Functionals, classifiers and preparations: each does what its name says."""

import numpy as np
import pytest
import scipy.stats
from imblearn.over_sampling import SMOTE
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import NearestNeighbors

from ser_tasks.features import features_of
from ser_tasks.training import baselines
from ser_tasks.training.baselines import BASELINES, PREPARATIONS, BaselineSpec, is_baseline, make_baseline
from ser_tasks.training.functionals import FUNCTIONALS
from ser_tasks.training.genetic_selection import GeneticSelector, _judge, _without_outliers
from ser_tasks.training.selective_smote import SelectiveSmote
from tests.factories.speakers import LABELS


@pytest.mark.parametrize("name", FUNCTIONALS)
def test_functionals_of_one_sample_and_of_silence_are_finite(name):
    if name in ("egemaps", "is09", "is10"):
        pytest.skip("openSMILE gives NaN for less than a frame, which is taken as 0")
    for signal in (np.array([0.1], np.float32), np.zeros(8000, np.float32)):
        assert np.isfinite(FUNCTIONALS[name]([signal])).all()


def test_functionals_are_statistics_of_their_frames():
    signal = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    mfcc = features_of("mfcc40", {}, [signal], 8000)[0]
    np.testing.assert_allclose(FUNCTIONALS["mfcc40_mean"]([signal])[0], mfcc.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(FUNCTIONALS["mfcc39"]([signal])[0, :13], mfcc[:, :13].mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(FUNCTIONALS["mfcc39"]([signal])[0, 39:52], mfcc[:, :13].std(axis=0), atol=1e-3)
    packets = features_of("wavelet_packet", {}, [signal], 8000)[0]
    found = FUNCTIONALS["wavelet_packet"]([signal])[0].reshape(9, 64)
    expected = [packets.mean(axis=0), packets.std(axis=0), scipy.stats.skew(packets), scipy.stats.kurtosis(packets)]
    np.testing.assert_allclose(found[:4, :32], expected, atol=2e-3)
    np.testing.assert_allclose(found[6, :32], np.ptp(packets, axis=0), atol=1e-3)
    np.testing.assert_allclose(found[7:, :32], np.quantile(packets, (0.25, 0.75), axis=0), atol=1e-3)


def test_a_modulation_lies_in_its_band():
    """Noise whose level swings 10 times a second: the band from 8 to 16 Hz is the strongest in every band of frequency."""
    rng, t = np.random.default_rng(0), np.arange(24_000) / 8000
    signal = (rng.normal(0, 0.1, len(t)) * (1 + 0.9 * np.sin(2 * np.pi * 10 * t))).astype(np.float32)
    levels = FUNCTIONALS["modulation"]([signal])[0, :95].reshape(5, 19)
    assert (levels.argmax(axis=0) == 2).all()


def test_baselines_are_listed_by_classifier_and_functionals():
    assert len(BASELINES) == 18 and "gradient_boosting:egemaps" in BASELINES and all(map(is_baseline, BASELINES))
    assert is_baseline("lda:wavelet_packet:forward")
    for name in ("svm", "svm:", "svm:mfcc", "svm:egemaps:", "svm:egemaps:none", "svm:egemaps:smote:smote", ":egemaps"):
        assert not is_baseline(name)
    with pytest.raises(ValueError, match="'svm:egemaps:ga' is no baseline: choose one of CLASSIFIER:FUNC.* of smote, sel"):
        BaselineSpec("svm:egemaps:ga", LABELS)


def made_clips() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Functionals ``(180, 30)`` of 6 speakers, of which the first three tell the classes and the next ten tell the speaker."""
    rng = np.random.default_rng(1)
    truth, speakers = np.tile(np.repeat([0, 1, 2], [20, 6, 4]), 6), np.repeat(np.arange(6), 30)
    x = rng.standard_normal((180, 30))
    x[:, :3] += 1.5 * np.eye(3)[truth]
    x[:, 3:13] += 3 * rng.standard_normal((6, 10))[speakers]
    return x, truth, speakers


@pytest.mark.parametrize("preparation", PREPARATIONS)
def test_every_preparation_is_fitted_inside_the_training_clips(preparation, monkeypatch):
    monkeypatch.setattr(baselines, "SELECTED", 4)
    x, truth, speakers = made_clips()
    train = speakers < 4
    model = make_baseline("lda", 0, preparation, speakers[train]).fit(x[train], truth[train])
    given = model.predict_proba(x[~train])
    np.testing.assert_allclose(given.sum(axis=1), 1, atol=1e-6)
    assert balanced_accuracy_score(truth[~train], given.argmax(axis=1)) > 0.55
    again = make_baseline("lda", 0, preparation, speakers[train]).fit(x[train], truth[train]).predict_proba(x[~train])
    np.testing.assert_array_equal(again, given)


def test_selective_smote_stays_in_the_region_of_its_class():
    """Two islands of the rare class with the frequent one between them: SMOTE fills the gap, selective interpolation does not."""
    rng = np.random.default_rng(0)
    rare = np.concatenate([rng.normal(-4, 0.3, (4, 2)), rng.normal(4, 0.3, (4, 2))])
    x, truth = np.concatenate([rng.normal(0, 1, (200, 2)), rare]), np.repeat([0, 1], [200, 8])
    counts, crossing = {}, {}
    for name, sampler in (("selective", SelectiveSmote(random_state=0)), ("smote", SMOTE(random_state=0))):
        grown, labels = sampler.fit_resample(x, truth)
        made, of_made = grown[len(x) :], labels[len(x) :]
        nearest = NearestNeighbors(n_neighbors=1).fit(x).kneighbors(made)[1][:, 0]
        np.testing.assert_array_equal(grown[: len(x)], x)
        assert (of_made == 1).all()
        counts[name], crossing[name] = len(made), int((truth[nearest] == 0).sum())
    assert counts == {"selective": 192, "smote": 192} and crossing["selective"] == 0 and crossing["smote"] > 30
    assert SelectiveSmote().fit_resample(x[:201], truth[:201])[1].sum() == 1, "a single clip has no neighbour to interpolate with"


def test_the_genetic_algorithm_keeps_what_tells_classes_and_gets_no_worse():
    x, truth, speakers = made_clips()
    folds = list(GroupKFold(3).split(x, groups=speakers))
    selector = GeneticSelector(folds, random_state=0).fit(x, truth)
    assert selector.get_support()[:3].all() and selector.get_support().sum() < 25
    assert selector.history_ == sorted(selector.history_) and selector.history_[-1] > selector.history_[0]
    assert selector.transform(x).shape == (180, selector.get_support().sum())
    with pytest.raises(ValueError, match="The inner folds go to clip 179, but there are 90"):
        GeneticSelector(folds).fit(x[:90], truth[:90])
    with pytest.raises(ValueError, match="needs clips of 2 speakers or more"):
        make_baseline("svm", 0, "forward", np.zeros(90))


def test_the_fitness_of_chromosomes_is_the_ua_of_linear_discriminant_analysis():
    x, truth, speakers = made_clips()
    train, test = np.flatnonzero(speakers < 4), np.flatnonzero(speakers >= 4)
    mask = np.arange(30) % 2 == 0
    reference = LinearDiscriminantAnalysis(solver="lsqr", priors=np.full(3, 1 / 3)).fit(x[train][:, mask], truth[train])
    expected = balanced_accuracy_score(truth[test], reference.predict(x[test][:, mask]))
    assert _judge(x, truth, (train, test)).score(mask) == pytest.approx(expected, abs=0.05)


def test_outliers_among_chromosomes_are_no_parents():
    fitness = np.r_[np.full(10, 0.5), 0.1, 0.9]
    sizes = np.r_[np.full(10, 50), 90, 5]
    assert _without_outliers(fitness, sizes, best=11).tolist() == [*range(10), 11]
