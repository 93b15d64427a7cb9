import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_tasks.datasets import DATASETS, SIDES, read_labels_csv, split_by_speaker
from ser_tasks.datasets.credits import licence_of_weights
from ser_tasks.datasets.labels_csv import COLUMNS, EMOTION_OF_LABEL
from ser_tasks.datasets.telephone import mu_law, read_trimmed, trim
from ser_tasks.schemas import EMOTIONS


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    folder.mkdir()
    for name in ("a", "b", "c", "d"):
        (folder / f"{name}.wav").write_bytes(name.encode())
    (folder / "copy_of_a.wav").write_bytes(b"a")
    (folder / "odd_copy_of_b.wav").write_bytes(b"b")
    (folder / "labels.csv").write_text(
        "file,speaker,gender,emotion\n"
        "a.wav,1,Female,Angry\n"
        "b.wav,1,Female,sad\n"
        "c.wav,2,male, happy \n"
        "d.wav,2,male,bored\n"
        "missing.wav,2,male,fear\n"
        "copy_of_a.wav,2,male,anger\n"
        "odd_copy_of_b.wav,2,male,neutral\n"
        ",2,male,neutral\n"
    )
    return folder


def test_labels_csv_says_what_it_found_and_what_it_dropped(corpus):
    read = DATASETS["labels_csv"](corpus)
    assert list(read.clips.columns) == list(COLUMNS)
    assert [Path(file).name for file in read.clips.file] == ["a.wav", "c.wav"]
    assert all(Path(file).is_absolute() for file in read.clips.file)
    assert read.clips[["speaker", "gender", "emotion", "corpus"]].values.tolist() == [
        ["1", "female", "anger", "made"],
        ["2", "male", "happiness", "made"],
    ]
    assert read.dropped == {
        "emotion unknown: bored": 1,
        "file or speaker empty": 1,
        "file missing": 1,
        "same bytes as a clip of another emotion": 2,
        "same bytes as an earlier clip": 1,
    }
    assert read.summary().startswith("made: 2 clips of 2 speakers, 1 dropped (emotion unknown: bored)")


def test_labels_csv_without_gender(corpus):
    (corpus / "labels.csv").write_text("file,speaker,emotion\na.wav,1,anger\n")
    clips = read_labels_csv(corpus).clips
    assert clips.gender.isna().all() and len(clips) == 1
    assert split_by_speaker(clips, seed=0).tolist() == ["train"]


def test_missing_file_and_missing_column_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="a corpus is a folder of clips with a labels.csv"):
        read_labels_csv(tmp_path)
    (tmp_path / "labels.csv").write_text("file,emotion\na.wav,anger\n")
    with pytest.raises(ValueError, match="has no column speaker: it needs file, speaker and emotion"):
        read_labels_csv(tmp_path)


def test_every_spelling_means_an_emotion_of_the_taxonomy():
    assert set(EMOTION_OF_LABEL.values()) == set(EMOTIONS)
    assert all(spelling == spelling.lower() for spelling in EMOTION_OF_LABEL)


def test_the_real_corpora_are_read_whole_and_ravdess_loses_its_copy():
    if "SER_DATA_DIR" not in os.environ:
        pytest.skip("SER_DATA_DIR is not set: real audio is needed")
    ravdess = read_labels_csv(Path(os.environ["SER_DATA_DIR"], "emotion", "ravdess"))
    assert len(ravdess.clips) == 1439 and ravdess.dropped == {"same bytes as an earlier clip": 1}
    assert ravdess.clips.speaker.nunique() == 24 and set(ravdess.clips.emotion) == set(EMOTIONS)


speakers = st.dictionaries(
    st.tuples(st.sampled_from(["one", "two", "three"]), st.text("abcdef", min_size=1, max_size=2)),
    st.tuples(st.sampled_from(["female", "male", None]), st.integers(1, 4)),
    min_size=1,
    max_size=40,
)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(speakers, st.integers(0, 2**31))
def test_no_speaker_is_on_two_sides(speakers, seed):
    clips = pd.DataFrame(
        [(corpus, speaker, gender) for (corpus, speaker), (gender, n_clips) in speakers.items() for _ in range(n_clips)],
        columns=["corpus", "speaker", "gender"],
    ).sample(frac=1, random_state=seed)
    clips["side"] = split_by_speaker(clips, seed)
    assert (clips.groupby(["corpus", "speaker"]).side.nunique() == 1).all()
    assert set(clips.side) <= set(SIDES)
    assert (split_by_speaker(clips, seed) == clips.side).all()
    for _, of_corpus in clips.groupby("corpus"):
        if of_corpus.speaker.nunique() >= 3:
            assert set(of_corpus.side) == set(SIDES)
        else:
            assert set(of_corpus.side) == {"train"}


def test_held_out_sides_take_both_genders():
    clips = pd.DataFrame({"corpus": "one", "speaker": list("abcdefghij"), "gender": ["female", "male"] * 5})
    for seed in range(20):
        sides = split_by_speaker(clips, seed)
        for side in ("test", "calibration"):
            assert sorted(clips.gender[sides == side]) == ["female", "male"]


def test_seeds_give_different_splits():
    clips = pd.DataFrame({"corpus": "one", "speaker": list("abcdefghij"), "gender": None})
    assert len({tuple(split_by_speaker(clips, seed)) for seed in range(10)}) > 3


def test_trim_keeps_the_speech_and_a_little_around_it():
    signal = np.zeros(3 * 8000, np.float32)
    signal[8000:16000] = np.sin(np.arange(8000)).astype(np.float32)
    signal += np.float32(1e-4) * np.random.default_rng(0).standard_normal(len(signal)).astype(np.float32)
    trimmed = trim(signal)
    assert len(trimmed) == pytest.approx(8000 + 2 * 800, abs=320)
    assert np.square(trimmed).sum() == pytest.approx(np.square(signal[8000:16000]).sum(), rel=1e-3)


def test_clips_are_read_at_the_telephone_level(tmp_path):
    tone = 0.001 * np.sin(2 * np.pi * 440 * np.arange(2 * 44100) / 44100)
    soundfile.write(tmp_path / "tone.wav", np.stack([tone, tone], axis=1), 44100, subtype="FLOAT")
    clip = read_trimmed(tmp_path / "tone.wav")
    assert clip.dtype == np.float32 and len(clip) == pytest.approx(16000, abs=2)
    assert 20 * np.log10(np.sqrt(np.mean(clip**2))) == pytest.approx(-26, abs=0.01)
    soundfile.write(tmp_path / "silent.wav", np.zeros(8000), 8000)
    with pytest.raises(ValueError, match="silent.wav holds no sound"):
        read_trimmed(tmp_path / "silent.wav")


def test_mu_law_is_g711():
    """Its levels near zero are 0 and ±8/32768, its signal-to-noise ratio on loud speech-like noise is about 38 dB."""
    noise = (0.1 * np.random.default_rng(0).standard_normal(40000)).astype(np.float32)
    coded = mu_law(noise)
    assert len(np.unique(coded)) <= 255
    assert np.isin(np.array([0, 8], np.float32) / 32768, np.unique(coded)).all()
    assert 10 * np.log10(np.var(noise) / np.var(noise - coded)) == pytest.approx(38, abs=1.5)


def test_mu_law_clips_what_is_beyond_full_scale():
    loud = np.array([-3.0, -1.0, 1.0, 3.0, 0.0], np.float32)
    first = mu_law(loud)
    np.testing.assert_allclose(first, [-1, -1, 1, 1, 0], atol=0.02)
    np.testing.assert_array_equal(first, mu_law(loud))


def test_licence_follows_the_strictest_corpus():
    assert licence_of_weights(["emodb", "nemo"]) == "CC BY-NC-SA 4.0"
    assert licence_of_weights(["emodb"]) == "CC0"
    assert licence_of_weights(["emodb", "mine"]) == "unknown"
