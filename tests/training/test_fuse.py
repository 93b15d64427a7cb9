"""A late fusion on lakes whose truth is made up: words that say something get a weight, words that say nothing are refused."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from scipy.special import expit
from typer.testing import CliRunner

from flows.cli import app
from ser_tasks.evaluation.compare_bundles import NotBetterError
from ser_tasks.inference.bundle import load_bundle
from ser_tasks.inference.fusion import COLUMNS, FIGURES, figures_of
from ser_tasks.training.fuse import fuse
from ser_tasks.training.on_top import train_on_top
from tests.factories.calls import tiny_bundle
from tests.factories.lakes import DAY, Call, row, run_row, segment, write, write_calls

CALLS, CALLERS = 160, 80


def review(call: Call, emotion: str, reviewer: str = "ann") -> dict:
    of_call = {name: call.facts[name] for name in ("recording_id", "etag", "call_id", "model")}
    stated = {
        "verdict": "wrong",
        "emotion": emotion,
        "reviewer": reviewer,
        "blind": True,
        "reviewed_at": datetime(2026, 11, 22, tzinfo=UTC),
    }
    return row("reviews", review_id=f"{call.facts['call_id']}-{reviewer}", **of_call, **stated)


def lake_of(folder, model: str, words: float = 0.0, turns: float = 0.0, seed: int = 0, angry: float = 0.5):
    """Reviewed calls of which the voice says something, and words and interruptions as much as stated, in standard deviations."""
    rng, calls, reviews = np.random.default_rng(seed), [], []
    for number in range(CALLS):
        is_angry = bool(rng.random() < angry)
        call = Call(f"c{number}", [segment(2, 12, (0.4, 0.2, 0.2, 0.2))], duration_s=300.0, model=model)
        side = 1 if is_angry else -1
        call.facts |= {
            "customer_pseudonym": f"caller-{number % CALLERS}",
            "call_anger": float(expit(rng.normal(side * 0.5 - 2))),
            "anger_seconds": float(rng.uniform(0, 3)),
            "talk_ratio": float(rng.uniform(0.3, 0.7)),
            "turns_per_minute": float(rng.uniform(4, 12)),
            "customer_longest_turn_s": float(rng.uniform(5, 60)),
            "agent_response_s": float(rng.uniform(-0.5, 1)),
            "customer_response_s": None,
            "interruptions_by_customer": int(max(0, rng.normal(5 + turns * side * 2, 2))),
            "interruptions_by_agent": int(rng.integers(0, 6)),
            "overlap_s": float(rng.uniform(0, 20)),
        }
        if number % 5:  # every fifth call has no transcript
            call.facts |= {
                "words_source": "webvtt",
                "customer_words_sentiment": float(np.clip(rng.normal(-words * side * 0.2, 0.2), -1, 1)),
                "customer_words_negative_share": float(rng.uniform(0, 1)),
                "customer_words_per_minute": float(rng.normal(150, 20)),
                "customer_questions": int(rng.integers(0, 9)),
            }
        calls.append(call)
        reviews.append(review(call, "anger" if is_angry else "neutral"))
    lake = str(folder / "lake")
    write_calls(lake, calls)
    write(lake, "runs", [run_row(model=model)], chunk="r1")
    write(lake, "reviews", reviews, DAY, "reviews")
    return lake, calls


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("voice"))


@pytest.fixture(scope="module")
def fused(voice, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fused")
    lake, calls = lake_of(folder, load_bundle(voice).model_id, words=1.5)
    return fuse(lake, str(voice), folder / "bundle"), calls


def test_words_that_say_something_have_the_weight(fused, voice):
    made, _ = fused
    parts = made.bundle.fusion.parts
    assert sum(parts.values()) == pytest.approx(1) and parts["words"] > 0.4 and parts["words"] > 2 * parts["turn_taking"]
    coefficients = {name: weight.coefficient for name, weight in made.bundle.fusion.weights.items()}
    assert max(coefficients, key=lambda name: abs(coefficients[name])) == "customer_words_sentiment"
    assert coefficients["customer_words_sentiment"] < 0 < coefficients["call_anger_logit"]
    assert made.comparison.better and made.comparison.clips == CALLS and made.comparison.callers == CALLERS
    aucs = made.bundle.fusion.scores["auc_anger"]
    assert aucs["voice + words"] > aucs["voice"] + 0.1 and aucs["voice + turn_taking"] < aucs["voice"] + 0.05
    assert aucs["voice + turn_taking + words"] > aucs["voice"] + 0.1
    assert made.bundle.fusion.voice == load_bundle(voice).model_id


def test_turn_taking_that_says_something_has_the_weight(voice, tmp_path):
    lake, _ = lake_of(tmp_path, load_bundle(voice).model_id, turns=1.5, seed=3)
    parts = fuse(lake, str(voice), tmp_path / "bundle").bundle.fusion.parts
    assert parts["turn_taking"] > 0.4 and parts["turn_taking"] > 2 * parts["words"]


@pytest.mark.parametrize("seed", range(5))
def test_parts_that_say_nothing_are_refused(voice, tmp_path, seed):
    lake, _ = lake_of(tmp_path, load_bundle(voice).model_id, seed=seed)
    with pytest.raises(NotBetterError, match=r"Refused, nothing is written: .* alone UA .* 160 reviewed calls of 80 held-out callers"):
        fuse(lake, str(voice), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_call_without_a_part_keeps_the_rest(fused):
    fusion = fused[0].bundle.fusion
    call = fused[1][1].facts | {"emotion_role": "customer"}
    alone = call | dict.fromkeys(name for name in COLUMNS if name not in ("call_anger", "anger_seconds", "scored_speech_s", "duration_s"))
    assert fusion.anger_of(alone) == call["call_anger"], "the voice's alone"
    no_words = call | dict.fromkeys(name for name in COLUMNS if "words" in name or "questions" in name)
    mean = {name: fusion.weights[name].mean for name in ("customer_words_sentiment", "customer_words_negative_share")}
    per_minute = fusion.weights["customer_questions_per_minute"].mean
    as_usual = mean | {"customer_words_per_minute": fusion.weights["customer_words_per_minute"].mean, "customer_questions": per_minute * 5}
    assert fusion.anger_of(no_words) == pytest.approx(fusion.anger_of(call | as_usual))
    low, high = (fusion.anger_of(call | {"customer_words_sentiment": value}) for value in (-0.6, 0.6))
    assert 0 < high < low < 1
    assert fusion.anger_of(call | {"emotion_role": "mixed"}) is None and fusion.anger_of(call | {"call_anger": None}) is None


def test_every_figure_is_made_of_the_columns_that_are_said(fused):
    facts = {name: fused[1][1].facts[name] for name in COLUMNS}
    assert len(figures_of(facts)) == len(FIGURES)
    assert np.isnan(figures_of(dict.fromkeys(COLUMNS))).all()
    strange = facts | {"customer_words_per_minute": 1e9}
    usual = fused[0].bundle.fusion.anger_of(facts | {"emotion_role": "customer"})
    assert abs(fused[0].bundle.fusion.anger_of(strange | {"emotion_role": "customer"}) - usual) < 0.2, "one strange figure decides no call"


def test_the_bundle_says_whose_voice_it_has_and_is_refused_with_another(fused, voice, tmp_path):
    folder = fused[0].folder
    description = json.loads((folder / "bundle.json").read_text())
    assert description["kind"] == "fusion" and description["fusion"]["voice"] == load_bundle(voice).model_id
    loaded = load_bundle(folder)
    assert loaded.model_id == fused[0].bundle.model_id != load_bundle(voice).model_id and loaded.fusion == fused[0].bundle.fusion
    assert loaded.name == "tiny_fused" and loaded.voice_id == load_bundle(voice).model_id
    priors = {"anger": 0.1, "happiness": 0.2, "neutral": 0.5, "sadness": 0.2}
    assert load_bundle(folder, priors).fusion == loaded.fusion
    other = tiny_bundle(tmp_path, seed=9)
    (other / "bundle.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match="these weights are of another voice"):
        load_bundle(other)
    for broken in ({"kind": "fusion"}, {"fusion": description["fusion"]}):
        text = {name: value for name, value in description.items() if name not in ("kind", "fusion")} | broken
        (other / "bundle.json").write_text(json.dumps(text))
        with pytest.raises(ValueError, match="kind"):
            load_bundle(other)


def test_the_card_and_the_list_of_models_have_the_weights(fused):
    card = (fused[0].folder / "MODEL_CARD.md").read_text()
    words = fused[0].bundle.fusion.parts["words"]
    assert f"| words | {words:.2f} |" in card and "`customer_words_sentiment`" in card and "| voice + words |" in card


def test_neither_a_fusion_is_fused_nor_its_voice_trained(fused, voice, tmp_path):
    with pytest.raises(ValueError, match="is a fusion already"):
        fuse("lake", str(fused[0].folder), tmp_path / "again")
    with pytest.raises(ValueError, match="is a fusion, fitted to its voice"):
        train_on_top(str(fused[0].folder), [], tmp_path / "again", None)
    with pytest.raises(FileExistsError, match="exists"):
        fuse("lake", str(voice), fused[0].folder)


def test_too_few_calls_and_what_was_left_out(voice, tmp_path):
    model = load_bundle(voice).model_id
    lake, calls = lake_of(tmp_path, model, angry=0.05)
    ties = [review(call, "anger" if call.facts["call_id"] != "c0" else "sadness", "bob") for call in calls[:3]]
    write(lake, "reviews", ties, DAY, "ties")
    with pytest.raises(ValueError, match=r"\d+ reviewed calls with anger, of \d+ callers, are too few: 20 of 5 .*as many reviewers"):
        fuse(lake, str(voice), tmp_path / "bundle")
    with pytest.raises(ValueError, match="0 reviewed calls with anger.*160 calls left out: scored by another model than other-1-"):
        fuse(lake, str(tiny_bundle(tmp_path, "other", seed=4)), tmp_path / "bundle")


def test_the_command(voice, tmp_path):
    lake, _ = lake_of(tmp_path, load_bundle(voice).model_id, words=1.5, seed=1)
    arguments = ["fuse", "--lake", lake, "--on", str(voice), "--out", str(tmp_path / "mine"), "--name", "mine"]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 0 and "a gain of +0." in answer.output and "weights: voice 0." in answer.output, answer.output
    listed = CliRunner().invoke(app, ["models", str(tmp_path / "mine")], env={"COLUMNS": "400"})
    assert listed.exit_code == 0, listed.output
    silent, _ = lake_of(tmp_path / "silent", load_bundle(voice).model_id)
    answer = CliRunner().invoke(app, ["fuse", "--lake", silent, "--on", str(voice), "--out", str(tmp_path / "no")])
    assert answer.exit_code == 1 and "Refused, nothing is written" in answer.output and not (tmp_path / "no").exists()
