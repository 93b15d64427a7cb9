"""Folds that an interrupted cross-validation finished: the same code resumes from them, any other code begins anew."""

import pytest

from ser_tasks.evaluation.plan import Plan
from ser_tasks.training import cross_validation
from ser_tasks.training.cross_validation import Folding, evaluate_across
from ser_tasks.training.leaderboard import spec_of
from tests.factories.speakers import LABELS, made_corpus


class InterruptedRunError(Exception):
    pass


@pytest.mark.parametrize(("resumed_by", "trained"), [("0.1+gaaaa", 1), ("0.1+gaaaa.d12345678", 3)])
def test_only_the_code_that_made_finished_folds_resumes_from_them(tmp_path, monkeypatch, resumed_by, trained):
    """Two of three folds are finished, then the run stops; the next run trains the third alone, or all three."""
    data, plan, folding = [made_corpus(tmp_path / "data")], Plan(cache=tmp_path / "cache"), Folding(n_folds=3)
    calls: list[int] = []
    learn = cross_validation.learn

    def learn_two(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise InterruptedRunError
        return learn(*arguments, **options)

    def evaluate():
        return evaluate_across(spec_of("cnn_lstm", LABELS, 1), data, plan, folding, robustness=False, beside_leaky=False)

    monkeypatch.setattr(cross_validation, "learn", learn_two)
    monkeypatch.setattr(cross_validation, "code_version", lambda: "0.1+gaaaa")
    with pytest.raises(InterruptedRunError):
        evaluate()
    calls[:] = [1] * 3
    monkeypatch.setattr(cross_validation, "code_version", lambda: resumed_by)
    rows = evaluate().rows
    assert len(calls) - 3 == trained
    assert rows["fold"].nunique() == 3
