"""MDRE: words from labels, from file names or from a transcript beside the recording; what each of its encoders hears and reads."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rich.progress import Progress

from ser_tasks.datasets import read_corpora
from ser_tasks.datasets.emodb import SENTENCES
from ser_tasks.evaluation.evaluate import evaluate
from ser_tasks.evaluation.plan import Plan
from ser_tasks.evaluation.texts import texts_of
from ser_tasks.features import features_of
from ser_tasks.features.words import VOCABULARY, place_words, word_ids
from ser_tasks.inference.bundle import load_bundle, save_bundle
from ser_tasks.models import make_model
from ser_tasks.training.feature_cache import pool_of
from ser_tasks.training.field.run import field
from ser_tasks.training.recipe import recipe_of
from ser_tasks.training.trainer import ModelSpec, learn, prepare
from ser_tasks.transcripts.said import said
from ser_tasks.transcripts.transcript import Transcript, Turn, Word
from tests.factories.speakers import LABELS, made_corpus

KINDS = ("mdre", "mdre_audio", "mdre_text")
TELLING = {"anger": "I am so angry", "neutral": "the lamp is on the table", "fear": "help me"}
"""Words that say the emotion, unlike those of acted corpora."""


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def with_text(folder, text_of):
    labels = pd.read_csv(folder / "labels.csv")
    labels.assign(text=[text_of(row) for row in labels.to_dict("records")]).to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def telling(tmp_path_factory):
    """A corpus whose words say the emotion."""
    return with_text(made_corpus(tmp_path_factory.mktemp("telling") / "made"), lambda row: TELLING[row["emotion"]])


@pytest.fixture(scope="module")
def acted(tmp_path_factory):
    """A corpus of which each speaker says one of two sentences with every emotion, as actors do."""
    return with_text(
        made_corpus(tmp_path_factory.mktemp("acted") / "made", speakers=3),
        lambda row: ["two words", "three other words"][row["file"][-5] > "1"],
    )


def test_words_are_numbers_whatever_their_case_and_none_is_zero():
    assert word_ids("Don't go, GO! 3rd_time") == word_ids("don't GO go 3RD time") and len(set(word_ids("don't go 3rd time"))) == 4
    many = word_ids(" ".join(f"word{number}" for number in range(5000)))
    assert min(many) >= 1 and max(many) < VOCABULARY and len(set(many)) > 0.8 * VOCABULARY
    assert np.array_equal(np.array(many, np.float16).astype(int), many), "float16 holds them exactly"
    assert word_ids("") == word_ids(" ,.- ") == []


def test_words_are_spread_over_the_frames_of_their_segment_alone():
    flat = np.ones((14, 3), np.float32)
    place_words(flat, np.array([6, 3, 5]), ["one two three", "", "a b c d e f g"])
    one, two, three = word_ids("one two three")
    assert flat[:9, 2].tolist() == [one, 0, two, 0, three, 0, 0, 0, 0] and (flat[:, :2] == 1).all()
    assert (flat[9:, 2] > 0).all(), "of more words than frames, one a frame is left"


@pytest.mark.parametrize("name", KINDS)
def test_each_encoder_depends_on_its_own_columns_alone(name):
    model = make_model(name, 3, 40).eval()
    flat = torch.randn(1, 50, 40)
    flat[0, :, -1] = 0
    flat[0, ::10, -1] = torch.tensor(word_ids("one two three four five"))
    spoken, others = flat.clone(), flat.clone()
    spoken[0, :, :-1] += 1
    others[0, ::10, -1] = torch.tensor(word_ids("six two three four five"))
    silent = flat.clone()
    silent[0, :, -1] = 0
    moved = flat.clone()
    moved[0, :, -1] = moved[0, :, -1].roll(3)
    with torch.inference_mode():
        logits, *changed = (model(each, torch.tensor([50])) for each in (flat, spoken, others, silent, moved))
    differs = [not torch.equal(each, logits) for each in changed]
    assert (
        differs
        == {"mdre": [True, True, True, False], "mdre_audio": [True, False, False, False], "mdre_text": [False, True, True, False]}[name]
    )


def test_texts_come_from_the_labels_the_name_and_a_transcript(telling, tmp_path):
    clips = read_corpora([telling])[0].clips
    assert texts_of(clips) == [TELLING[emotion] for emotion in clips["emotion"]]
    unknown = clips.head(1).assign(text=None)
    assert texts_of(unknown) == [""]
    copy = tmp_path / "call.wav"
    copy.write_bytes(Path(clips["file"].iloc[0]).read_bytes())
    copy.with_suffix(".vtt").write_text("WEBVTT\n\n00:00.000 --> 00:01.000\nhello there\n\n00:02.000 --> 00:03.000\ngood bye\n")
    spans = pd.DataFrame({"file": [str(copy), f"{copy}#t=1.5,9"], "text": [None, None]})
    assert texts_of(spans) == ["hello there good bye", "good bye"]
    assert len(SENTENCES) == 10 and SENTENCES["a01"].startswith("Der Lappen")


def test_features_hold_the_words_of_each_clip_and_follow_a_change_of_the_text(telling, tmp_path):
    clips = read_corpora([telling])[0].clips.head(6)
    recipe, plan = replace(recipe_of("mdre"), copies=1), Plan(cache=tmp_path, workers=1)
    with Progress(disable=True) as silent:
        pool = pool_of(clips, recipe, plan, silent)
        other = pool_of(clips.assign(text="quite other words"), recipe, plan, silent)
    for index, text in enumerate(clips["text"]):
        for copy in (0, 1):
            column = pool.features(index, copy)[:, -1]
            assert column[column > 0].tolist() == word_ids(text)
            changed = other.features(index, copy)
            np.testing.assert_array_equal(changed[:, :-1], pool.features(index, copy)[:, :-1])
            assert changed[changed[:, -1] > 0, -1].tolist() == word_ids("quite other words")


def trained(name, folder, cache, epochs):
    clips = read_corpora([folder])[0].clips
    clips = clips[clips["emotion"].isin(LABELS)].reset_index(drop=True)
    clips = clips.assign(side=np.where(clips["speaker"].isin(["s4", "s5"]), "test", "train"))
    spec, plan = ModelSpec(name, LABELS, replace(recipe_of(name), epochs=epochs, copies=0, batch=8), name), Plan(cache=cache, workers=1)
    with Progress(disable=True) as silent:
        return learn(clips, prepare(clips, spec, plan, silent), spec, plan)[0]


def test_words_that_say_the_emotion_are_read_also_from_a_bundle_on_other_speakers(telling, tmp_path):
    """The text alone classifies; without its words it cannot."""
    bundle = trained("mdre_text", telling, tmp_path / "cache", epochs=12)
    assert bundle.mean[-1] == 0 and bundle.std[-1] == 1
    folder = save_bundle(bundle, tmp_path / "bundle")
    plan = Plan(cache=tmp_path / "cache", workers=1, allow_leak=True)
    assert evaluate(str(folder), [telling], plan, robustness=False).metrics["ua"] > 0.95
    flat, lengths = features_of("mdre40", {}, [np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32) for _ in range(3)], 8000)
    loaded = load_bundle(folder)
    with torch.inference_mode():
        alike = loaded.probabilities(torch.from_numpy(flat.reshape(3, int(lengths[0]), -1)), torch.from_numpy(lengths))
    assert torch.equal(alike[0], alike[1]), "without words, the text branch says the same of everything"


@pytest.mark.slow
def test_the_fields_row_has_both_encoders_and_each_alone_and_acted_sentences_say_nothing(acted, tmp_path):
    """Sentences that every emotion has in equal numbers leave the text alone at chance, by speaker."""
    table = field(
        [acted], tmp_path / "out", Plan(cache=tmp_path / "cache", workers=1), names=["mdre"], epochs=3, announce=lambda line: None
    )
    honest = table.set_index("system")["honest_ua"]
    assert set(honest.index) == set(KINDS)
    assert honest["mdre_text"] == pytest.approx(1 / 3, abs=0.01)
    assert honest["mdre_audio"] > honest["mdre_text"]


def test_what_is_said_in_a_segment_is_of_its_speaker_and_time():
    words = tuple(Word(text, at_s, at_s + 0.2) for text, at_s in (("one", 1.0), ("two", 2.0), ("three", 3.0)))
    timed = Turn(1, 3.2, None, "one two three", words, channel=1)
    spread = Turn(4, 8, None, "four five six seven", channel=1)
    other, unknown = Turn(1, 9, None, "agent talks on", channel=0), Turn(1, 9, None, "whose is this")
    by_role = Turn(1, 2, None, "as a customer", role="customer")
    transcript = Transcript("x", (timed, spread, other, unknown))
    assert said(transcript, 1, "customer", 1.5, 6.0) == "two three four five"
    assert said(transcript, 0, "agent", 0.0, 20.0) == "agent talks on"
    assert said(Transcript("x", (by_role, unknown)), 0, "customer", 0.0, 9.0) == "as a customer"
    assert said(Transcript("x", (by_role, unknown)), 0, "agent", 0.0, 9.0) == ""


def test_a_night_reads_the_words_of_a_transcript_and_keeps_none(telling, tmp_path):
    """The same call with other words in its transcript has other scores; nothing of the words is in the lake."""
    from tests.factories.calls import TWO_SIDED, run_night, two_sided, write_call

    folder = save_bundle(trained("mdre_text", telling, tmp_path / "cache", epochs=12), tmp_path / "bundle")
    anger = {}
    for number, text in enumerate((TELLING["anger"], TELLING["neutral"])):
        calls = tmp_path / f"calls-{number}"
        write_call(calls, "call.wav", two_sided([("customer", 1, 4), ("agent", 5, 8)], 10), TWO_SIDED)
        turns = [{"start_s": 1.0, "end_s": 4.0, "channel": 1, "text": text}, {"start_s": 5.0, "end_s": 8.0, "channel": 0, "text": "hello"}]
        (calls / "call.transcript.json").write_text(json.dumps({"turns": turns}))
        run = run_night(calls, calls / "lake", folder)
        assert run["scored"] == 1
        segments = pd.read_parquet(next((calls / "lake" / "segments").rglob("*.parquet")))
        anger[text] = segments.loc[segments["channel"] == 1, "p_anger"].mean()
        assert not any(b"lamp" in path.read_bytes() or b"angry" in path.read_bytes() for path in (calls / "lake").rglob("*.parquet"))
    assert anger[TELLING["anger"]] > anger[TELLING["neutral"]] + 0.2
