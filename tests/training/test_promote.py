"""A lake's default model: replaced only by a better one on callers whom neither heard, used by nights, and taken back."""

import json

import pytest
from typer.testing import CliRunner

from flows.cli import app
from ser_tasks.evaluation.compare_bundles import Comparison, Figures
from ser_tasks.inference.bundle import load_bundle
from ser_tasks.lake import promotions
from ser_tasks.pipeline.spec import run_settings
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from ser_tasks.training import promote as library
from tests.factories.calls import tiny_bundle
from tests.factories.speakers import speechlike_corpus


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A lake, two bundles, and a comparison whose verdict the test sets."""
    verdict = {"better": True}

    def compare(old, new, data, plan=None):
        figures = Figures(0.5, 1.0, None), Figures(0.6 if verdict["better"] else 0.4, 1.0, None)
        gain, gaining, losing = ((0.05, 0.15), 5, 1) if verdict["better"] else ((-0.15, -0.05), 1, 5)
        return Comparison(load_bundle(old).model_id, load_bundle(new).model_id, *figures, 60, 6, gain, gaining, losing)

    monkeypatch.setattr(library, "compare_bundles", compare)
    monkeypatch.delenv("SER_MODEL", raising=False)
    lake = str(tmp_path / "lake")
    return lake, [str(tiny_bundle(tmp_path, name=name, seed=seed)) for seed, name in enumerate(("one", "two"))], verdict


def promote(lake, *options):
    return CliRunner().invoke(app, ["promote", "--lake", lake, "--empty-ok", *options])


def model_of_a_night(lake, **settings):
    return load_bundle(run_settings(Settings(**settings), None, None, lake).model).name


def test_a_better_model_becomes_the_default_of_its_lake_and_is_taken_back(made, tmp_path):
    lake, (one, two), _ = made
    assert "No model was promoted" in promote(lake).output
    assert model_of_a_night(lake) == load_bundle("default").name
    answer = promote(lake, "--model", one, "--data", str(tmp_path))
    assert answer.exit_code == 0, answer.output
    assert "is the default of" in answer.output
    assert model_of_a_night(lake) == "one"
    assert load_bundle(run_settings(Settings(), None, None, lake).model).model_id == load_bundle(one).model_id
    assert promote(lake, "--model", two, "--data", str(tmp_path)).exit_code == 0
    assert model_of_a_night(lake) == "two"
    for name in ("one", load_bundle("default").name):
        assert promote(lake, "--rollback").exit_code == 0
        assert model_of_a_night(lake) == name
    refused = promote(lake, "--rollback")
    assert refused.exit_code == 2
    assert "all of it was rolled back" in refused.output
    assert len(promotions.read(open_store(lake))) == 4
    assert "UA 0.600" in promote(lake).output


def test_a_model_that_is_not_better_is_refused_and_nothing_changes(made, tmp_path):
    lake, (one, _), verdict = made
    verdict["better"] = False
    answer = promote(lake, "--model", one, "--data", str(tmp_path))
    assert answer.exit_code == 1
    assert "UA 0.400" in answer.output
    assert "Nothing was changed" in answer.output
    assert list(open_store(lake).list()) == []
    assert model_of_a_night(lake) == load_bundle("default").name


def test_what_is_named_comes_before_the_default_of_the_lake(made, tmp_path, monkeypatch):
    lake, (one, two), _ = made
    assert promote(lake, "--model", one, "--data", str(tmp_path)).exit_code == 0
    monkeypatch.setenv("SER_MODEL", two)
    assert model_of_a_night(lake) == "two"
    assert load_bundle(run_settings(Settings(), one, None, lake).model).name == "one"
    assert "SER_MODEL is set" in promote(lake, "--rollback").output


def test_the_same_model_is_no_promotion(made, tmp_path):
    lake, (one, _), _ = made
    assert promote(lake, "--model", one, "--data", str(tmp_path)).exit_code == 0
    again = promote(lake, "--model", one, "--data", str(tmp_path))
    assert again.exit_code == 2
    assert "is the default of" in again.output and "already" in again.output


def test_two_promotions_at_once_are_one(made):
    lake = open_store(made[0])
    promotions.promote(lake, "a-1-00000000", "default", "better", "ann")
    with pytest.raises(ValueError, match="is a-1-00000000 by now, not default"):
        promotions.promote(lake, "b-1-00000000", "default", "better", "ben")
    lake.write_bytes("promotions/000002.json", b"{}")
    with pytest.raises(ValueError, match="000002.json .* is no promotion"):
        promotions.read(lake)


def test_the_bundle_in_the_lake_stays_when_its_folder_changes(made, tmp_path):
    lake, (one, _), _ = made
    promote(lake, "--model", one, "--data", str(tmp_path))
    model_id = load_bundle(one).model_id
    (tmp_path / "one" / "bundle.json").write_text(json.dumps({}))
    assert load_bundle(promotions.default_model(open_store(lake))).model_id == model_id


def test_options_that_do_not_fit_are_refused(made, tmp_path):
    lake, (one, _), _ = made
    for options in (["--model", one], ["--data", str(tmp_path)], ["--rollback", "--model", one]):
        assert promote(lake, *options).exit_code == 2


@pytest.mark.slow
def test_the_real_comparison_decides(tmp_path, monkeypatch):
    """Random weights against the shipped default on made speech: no better than by chance, so refused."""
    monkeypatch.delenv("SER_MODEL", raising=False)
    data = speechlike_corpus(tmp_path / "made", speakers=6)
    lake, bundle = str(tmp_path / "lake"), str(tiny_bundle(tmp_path, seed=2))
    few = promote(lake, "--model", bundle, "--data", str(speechlike_corpus(tmp_path / "few", speakers=4)))
    assert few.exit_code == 2
    assert "too few to compare on" in few.output
    found = promote(lake, "--model", bundle, "--data", str(data))
    assert found.exit_code in (0, 1)
    assert (found.exit_code == 0) == (promotions.default_model(open_store(lake)) is not None)
