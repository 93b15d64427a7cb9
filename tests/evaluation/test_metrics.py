import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from ser_tasks.evaluation.metrics import ECE_BINS, auc, brier, ccc, ece, one_against_rest, risk_coverage, ua, wa


def test_ua_gives_every_class_the_same_weight():
    truth = ["anger"] * 8 + ["neutral"] * 2
    assert ua(truth, ["anger"] * 10) == pytest.approx(0.5)
    assert wa(truth, ["anger"] * 10) == pytest.approx(0.8)


def test_a_class_that_is_only_predicted_does_not_count():
    assert ua(["anger", "anger"], ["anger", "fear"]) == pytest.approx(0.5)


def test_ece_of_a_worked_example():
    """Bin of 0.9: 2 of 4 right, gap 0.4. Bin of 0.6: 1 of 1 right, gap 0.4. Weighted: 0.4."""
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]])
    assert ece([0, 0, 1, 1, 1], probabilities) == pytest.approx(0.4)


def test_ece_of_calibrated_probabilities_is_near_zero():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 50_000)
    truth = (rng.uniform(size=50_000) > confidence).astype(int)
    assert ece(truth, np.stack([confidence, 1 - confidence], axis=1)) < 0.01
    assert ece(1 - truth, np.stack([confidence, 1 - confidence], axis=1)) > 0.3


def test_certain_and_right_is_perfectly_calibrated():
    assert ece([0, 1], np.eye(2)) == 0


@pytest.mark.parametrize("metric", [ua, wa, ece])
def test_messages_name_both_values(metric):
    with pytest.raises(ValueError, match=r"Truth and prediction differ in length: 3 != 4\."):
        metric([0, 1, 1], np.eye(4))
    with pytest.raises(ValueError, match="are empty"):
        metric([], np.zeros((0, 2)))


def test_ece_needs_rows_of_probabilities():
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        ece([0, 1], [0.5, 0.5])


def test_brier_and_risk_coverage_of_a_worked_example():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7]])
    assert brier([0, 1, 0], probabilities) == pytest.approx((2 * 0.01 + 2 * 0.16 + 2 * 0.49) / 6)
    coverage, risk = risk_coverage([0, 1, 0], probabilities)
    np.testing.assert_allclose(coverage, [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(risk, [0, 1 / 2, 1 / 3])  # 0.9 is right, 0.7 wrong, 0.6 right


def test_metrics_agree_with_torchmetrics():
    """On random scores of 500 clips of 5 classes that are unequally frequent."""
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

    generator = torch.Generator().manual_seed(0)
    given = torch.softmax(2 * torch.randn(500, 5, generator=generator), dim=1)
    truth = torch.multinomial(torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05]), 500, replacement=True, generator=generator)
    predicted = given.argmax(dim=1)
    assert ua(truth, predicted) == pytest.approx(float(multiclass_accuracy(given, truth, 5, average="macro")), abs=1e-6)
    assert wa(truth, predicted) == pytest.approx(float(multiclass_accuracy(given, truth, 5, average="micro")), abs=1e-6)
    assert ece(truth, given) == pytest.approx(float(multiclass_calibration_error(given, truth, 5, n_bins=ECE_BINS, norm="l1")), abs=1e-6)


def test_auc_of_a_worked_example():
    assert auc([True, True, False, False], [0.9, 0.4, 0.4, 0.1]) == pytest.approx(3.5 / 4)
    assert auc([True, True], [0.9, 0.4]) is None
    rng = np.random.default_rng(0)
    positive, score = rng.random(500) < 0.3, rng.integers(0, 20, 500)
    assert auc(positive, score) == pytest.approx(roc_auc_score(positive, score))


def test_one_against_the_rest_of_a_worked_example():
    """Class 0 ranks its two clips 1 and 3 of 4: precision 1 and 2/3; 3 of 4 pairs are in order. Class 2 has no clip."""
    probabilities = np.array([[0.8, 0.1, 0.1], [0.5, 0.4, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1]])
    areas, precisions = one_against_rest([0, 0, 1, 1], probabilities)
    assert areas == [pytest.approx(3 / 4), pytest.approx(3 / 4), None]
    assert precisions[0] == pytest.approx((1 + 2 / 3) / 2) and precisions[2] is None


def test_ccc_falls_with_a_shift_which_correlation_does_not_see():
    truth = np.array([1.0, 2, 3, 4])
    assert ccc(truth, truth) == pytest.approx(1)
    assert ccc(truth, -truth) < 0
    assert ccc(truth, truth + 1) == pytest.approx(2 * 1.25 / (1.25 + 1.25 + 1))


def test_ranking_and_agreement_agree_with_torchmetrics():
    from torchmetrics.functional.classification import multiclass_auroc, multiclass_average_precision
    from torchmetrics.functional.regression import concordance_corrcoef

    rng = np.random.default_rng(0)
    truth = rng.integers(5, size=500)
    probabilities = rng.dirichlet(np.ones(5), 500) + np.eye(5)[truth] * 0.2
    areas, precisions = one_against_rest(truth, probabilities)
    given = torch.tensor(probabilities), torch.tensor(truth)
    np.testing.assert_allclose(areas, multiclass_auroc(*given, 5, average="none"), atol=1e-6)
    np.testing.assert_allclose(precisions, multiclass_average_precision(*given, 5, average="none"), atol=1e-6)
    ratings = rng.uniform(1, 5, 300)
    predicted = 0.5 * ratings + rng.normal(1, 0.5, 300)  # torchmetrics divides the covariance by n - 1 alike
    assert ccc(ratings, predicted) == pytest.approx(float(concordance_corrcoef(torch.tensor(predicted), torch.tensor(ratings))), abs=2e-3)
