"""Models on pooled states are trained in one step, from the states of each corpus standardised by its own statistics."""

import numpy as np
import pytest

from ser_tasks.evaluation.plan import Plan
from ser_tasks.inference.bundle import load_bundle
from ser_tasks.training.fit_pooled import logistic_regression, reference_statistics
from ser_tasks.training.recipe import recipe_of
from ser_tasks.training.train import train_bundle
from ser_tasks.training.trainer import ModelSpec
from tests.factories.speakers import LABELS, made_corpus


@pytest.mark.parametrize("name", ["ge2e_lr", "whisper_lr", "joint_lr"])
def test_training_separates_easy_emotions_and_the_bundle_leaves_the_encoder_out(name, tmp_path):
    corpus = made_corpus(tmp_path / "data" / "made")
    plan = Plan(cache=tmp_path / "cache")
    training = train_bundle([corpus], ModelSpec(name, LABELS, recipe_of(name), name="mine"), tmp_path / "one", plan)
    assert training.bundle.scores["test"]["all"]["ua"] > 0.9
    bundle = load_bundle(tmp_path / "one")
    assert bundle.model_id == training.bundle.model_id
    assert (bundle.module.line_scale > 0).all() and bundle.module.line_mean.abs().max() > 0.1
    if name == "whisper_lr":
        assert (tmp_path / "one" / "model.safetensors").stat().st_size < 200_000
    again = train_bundle([corpus], ModelSpec(name, LABELS, recipe_of(name), name="mine"), tmp_path / "two", plan)
    assert again.bundle.model_id == bundle.model_id


def test_statistics_are_of_clips_as_neutral_as_calls():
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [30, 30, 40])
    states = rng.standard_normal((100, 5)) + truth[:, None]
    mean, scale = reference_statistics(states, truth, neutral=2, neutral_share=0.8)
    drawn = rng.choice(100, 200_000, p=np.choose(truth, [0.1 / 30, 0.1 / 30, 0.8 / 40]))
    np.testing.assert_allclose(mean, states[drawn].mean(axis=0), atol=0.02)
    np.testing.assert_allclose(scale, states[drawn].std(axis=0), atol=0.02)
    even, _ = reference_statistics(states, truth, neutral=None, neutral_share=0.8)
    np.testing.assert_allclose(even, np.mean([states[truth == each].mean(axis=0) for each in range(3)], axis=0))
    alone, _ = reference_statistics(states[:30], truth[:30], neutral=2, neutral_share=0.8)
    np.testing.assert_allclose(alone, states[:30].mean(axis=0))


def test_logistic_regression_finds_the_minimum():
    """Its gradient is zero there, and scikit-learn finds the same."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 300)
    x, weights = rng.standard_normal((300, 6)) + np.eye(3, 6)[truth], rng.uniform(0.5, 2, 300)
    coefficients, bias, _ = logistic_regression(x, truth, weights, 3, ridge=0.05)
    reference = LogisticRegression(C=1 / (0.05 * 300), tol=1e-8, max_iter=1000).fit(x, truth, weights / weights.mean())
    np.testing.assert_allclose(coefficients, reference.coef_, atol=2e-3)
    np.testing.assert_allclose(bias - bias.mean(), reference.intercept_ - reference.intercept_.mean(), atol=2e-3)
