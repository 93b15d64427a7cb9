"""Splits: which speakers are on which side, and that sides stay apart on any corpora."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_tasks.datasets import SPLITS, folds_of, refuse_leaks
from ser_tasks.datasets.leaks import shared

HONEST = [name for name in SPLITS if name != "random-clips"]


def clips_of(corpora: dict[str, int], sentences: int = 4) -> pd.DataFrame:
    """Each speaker says each sentence in two emotions."""
    rows = [
        (corpus, f"s{speaker:02}", ["female", "male"][speaker % 2], f"{sentence}", emotion)
        for corpus, speakers in corpora.items()
        for speaker in range(speakers)
        for sentence in range(sentences)
        for emotion in ("anger", "neutral")
    ]
    clips = pd.DataFrame(rows, columns=["corpus", "speaker", "gender", "sentence", "emotion"])
    return clips.assign(digest=[f"{index:016x}" for index in range(len(clips))], file=[f"{index}.wav" for index in range(len(clips))])


@given(st.dictionaries(st.sampled_from("abc"), st.integers(6, 12), min_size=2), st.integers(2, 6), st.integers(2, 6), st.integers(0, 3))
@settings(max_examples=15, deadline=None)
@pytest.mark.parametrize("split", HONEST)
def test_sides_stay_apart_and_every_clip_is_tested_once(split, corpora, n_folds, sentences, seed):
    clips = clips_of(corpora, sentences)
    tests = np.zeros(len(clips), int)
    for side in folds_of(clips, split, n_folds, seed=seed).values():
        leak = refuse_leaks(clips.assign(side=side), apart=SPLITS[split].apart)
        assert leak.speakers == [] and leak.clips == []
        tests += (side == "test").to_numpy()
        assert (side == "train").any() and (side == "calibration").any() and (side == "test").any()
    if split == "sentence-independent":  # a speaker is tested on one block of sentences
        assert tests.max() == 1
    else:
        assert (tests == 1).all()


def test_k_fold_of_ravdess_is_the_usual_one():
    clips = clips_of({"ravdess": 24})
    for number, side in enumerate(folds_of(clips, "k-fold", 6).values()):
        actors = sorted(clips.speaker[side == "test"].unique())
        assert actors == [f"s{actor:02}" for actor in range(4 * number, 4 * number + 4)]
        held = clips[side == "calibration"]
        assert held.speaker.nunique() == 2 and held.gender.nunique() == 2


def test_corpora_that_are_not_tested_only_train():
    clips = clips_of({"a": 6, "b": 3})
    for split in ("k-fold", "leave-one-speaker-out", "random-clips"):
        folds = folds_of(clips, split, 6, tested=["a"])
        assert len(folds) == 6 and not any((side[clips.corpus == "b"] == "test").any() for side in folds.values())
    assert list(folds_of(clips, "leave-one-corpus-out", tested=["b"])) == ["without b"]
    with pytest.raises(ValueError, match="There is no corpus c to test on: these are a, b"):
        folds_of(clips, "k-fold", tested=["c"])


def test_splits_that_the_corpora_do_not_allow_are_refused():
    clips = clips_of({"a": 3})
    with pytest.raises(ValueError, match="'loso' is no split: choose one of k-fold"):
        folds_of(clips, "loso")
    with pytest.raises(ValueError, match="a has 3 speakers: that is too few for 6 folds"):
        folds_of(clips, "k-fold", 6)
    with pytest.raises(ValueError, match="There is one corpus, a: to leave one out, give two or more"):
        folds_of(clips, "leave-one-corpus-out")
    with pytest.raises(ValueError, match="a has one sentence"):
        folds_of(clips_of({"a": 3}, sentences=1), "sentence-independent", 3)
    with pytest.raises(ValueError, match="The sentences of a are not known"):
        folds_of(clips.assign(sentence=None), "sentence-independent", 3)


def test_random_clips_leak_and_are_refused_with_the_names():
    clips = clips_of({"a": 6}, sentences=20)
    side = next(iter(folds_of(clips, "random-clips").values()))
    with pytest.raises(ValueError, match=r"The split leaks. Its sides share 6 speakers \(a/s00, a/s01, a/s02, a/s03, a/s04, ...\)"):
        refuse_leaks(clips.assign(side=side), apart=SPLITS["random-clips"].apart)
    assert refuse_leaks(clips.assign(side=side), allow=True).speakers == [f"a/s0{index}" for index in range(6)]


def test_planted_duplicates_and_sentences_are_found():
    clips = clips_of({"a": 6})
    folds = folds_of(clips, "k-fold", 6)
    first = next(iter(folds.values()))
    tested, training = clips.index[first == "test"][0], clips.index[first == "train"][0]
    planted = clips.assign(side=first)
    planted.loc[training, "digest"] = planted.loc[tested, "digest"]
    with pytest.raises(ValueError, match=rf"2 identical clips \({tested}.wav, {training}.wav\)"):
        refuse_leaks(planted)
    assert len(shared(clips.assign(side=first)).sentences) == 4
    with pytest.raises(ValueError, match=r"4 sentences \(a/0, a/1, a/2, a/3\)"):
        refuse_leaks(clips.assign(side=first), apart=SPLITS["sentence-independent"].apart)


def test_beside_a_large_corpus_one_of_few_speakers_has_a_block_a_speaker():
    rows = [
        (corpus, f"s{speaker}", None, str(speaker), f"{corpus}{speaker}")
        for corpus, n in (("large", 6), ("few", 2))
        for speaker in range(n)
    ]
    clips = pd.DataFrame(rows, columns=["corpus", "speaker", "gender", "sentence", "digest"])
    tested = [set(clips["corpus"][side == "test"] + clips["speaker"][side == "test"]) for side in folds_of(clips, "k-fold", 3).values()]
    assert tested == [{"larges0", "larges1", "fews0"}, {"larges2", "larges3", "fews1"}, {"larges4", "larges5"}]
    with pytest.raises(ValueError, match="few has 2 speakers: that is too few for 3 folds"):
        folds_of(clips[clips["corpus"] == "few"], "k-fold", 3)
