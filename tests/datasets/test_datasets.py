import os
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_tasks.datasets import COLUMNS, DATASETS, SIDES, read_corpora, read_labels_csv, refuse_leaks, shared, split_by_speaker
from ser_tasks.datasets.clip import read_clip
from ser_tasks.datasets.credits import CREDITS, licence_of_weights
from ser_tasks.datasets.labels import EMOTION_OF_LABEL, LEFT_OUT
from ser_tasks.datasets.telephone import mu_law, read_trimmed, trim
from ser_tasks.schemas import EMOTIONS
from tests.factories.audio import write_with_pyav
from tests.factories.calls import speechlike


def sound(path: Path, seed: int) -> None:
    """A short clip of its own; the same seed gives the same samples. Seed 0 is silence."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in CONTAINERS:
        signal = 0.1 * np.random.default_rng(seed).standard_normal((1, 8000)).astype(np.float32)
        write_with_pyav(path, signal, 48000, CONTAINERS[path.suffix])
        return
    soundfile.write(path, bool(seed) * np.random.default_rng(seed).integers(-5000, 5000, 800, np.int16), 8000)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    for seed, name in enumerate(("silent", "a", "b", "c", "d")):
        sound(folder / f"{name}.wav", seed)
    sound(folder / "copy_of_a.flac", 1)
    sound(folder / "odd_copy_of_b.wav", 2)
    (folder / "text.wav").write_text("no audio")
    (folder / "labels.csv").write_text(
        "file,speaker,gender,emotion,language,sentence_id\n"
        "a.wav,1,Female,Angry,en,7\n"
        "b.wav,1,F,sad,en,7\n"
        "c.wav,2,male, happy ,en,8\n"
        "d.wav,2,male,bored,en,8\n"
        "d.wav,2,male,puzzled,en,8\n"
        "missing.wav,2,male,fear,en,8\n"
        "copy_of_a.flac,1,female,anger,en,8\n"
        "odd_copy_of_b.wav,2,male,neutral,en,8\n"
        "silent.wav,2,male,neutral,en,8\n"
        "text.wav,2,male,neutral,en,8\n"
        ",2,male,neutral,en,8\n"
    )
    return folder


def test_labels_csv_reports_clips_read_and_dropped(corpus):
    read = read_labels_csv(corpus)
    assert list(read.clips.columns) == list(COLUMNS)
    assert [Path(file).name for file in read.clips.file] == ["a.wav", "c.wav"]
    assert all(Path(file).is_absolute() for file in read.clips.file)
    columns = ["speaker", "gender", "label", "emotion", "language", "sentence", "licence", "corpus"]
    assert read.clips[columns].values.tolist() == [
        ["1", "female", "angry", "anger", "en", "7", "unknown", "made"],
        ["2", "male", "happy", "happiness", "en", "8", "unknown", "made"],
    ]
    assert read.dropped == {
        "bored: the taxonomy has no boredom": 1,
        "puzzled: unknown, see labels.py": 1,
        "file or speaker empty": 1,
        "file missing": 1,
        "not readable as audio (not_audio)": 1,
        "silent": 1,
        "the same samples as a clip of another emotion": 2,
        "the same samples as an earlier clip": 1,
    }
    assert read.summary().startswith("made: 2 clips of 2 speakers, 1 dropped (file or speaker empty)")


def test_a_clip_under_two_speakers_stays_for_splits_to_refuse(corpus):
    (corpus / "labels.csv").write_text("file,speaker,emotion\na.wav,1,anger\ncopy_of_a.flac,2,anger\nb.wav,3,anger\n")
    clips = read_labels_csv(corpus).clips
    assert len(clips) == 3
    with pytest.raises(ValueError, match=r"2 identical clips \(.*a.wav, .*copy_of_a.flac\)"):
        refuse_leaks(clips.assign(side=["train", "test", "train"]))


def test_a_speaker_named_after_the_corpus_is_one_person_in_every_folder():
    clips = pd.DataFrame({"corpus": ["one", "two", "one", "two"], "speaker": ["ravdess_01", "ravdess_01", "01", "01"]})
    clips = clips.assign(side=["train", "test"] * 2, sentence=None, digest=list("abcd"), file=list("abcd"))
    assert shared(clips).speakers == ["one/ravdess_01", "two/ravdess_01"]


def test_labels_csv_without_gender(corpus):
    (corpus / "labels.csv").write_text("file,speaker,emotion\na.wav,1,anger\n")
    clips = read_labels_csv(corpus).clips
    assert clips[["gender", "language", "sentence"]].isna().all(axis=None) and len(clips) == 1
    assert split_by_speaker(clips, seed=0).tolist() == ["train"]


def test_missing_file_and_missing_column_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="give a folder of clips with a labels.csv"):
        read_labels_csv(tmp_path)
    (tmp_path / "labels.csv").write_text("file,emotion\na.wav,anger\n")
    with pytest.raises(ValueError, match="has no column speaker: it needs file, speaker, emotion"):
        read_labels_csv(tmp_path)


CONTAINERS = {".webm": ("webm", "libopus", 48000), ".avi": ("avi", "pcm_s16le", 22050)}
"""Of files that libsndfile does not write."""

TREES = {
    "ravdess": {
        "Actor_01/03-01-05-01-02-01-01.wav": ("ravdess_01", "male", "anger", "en", "02"),
        "Actor_12/03-01-02-01-01-02-12.wav": ("ravdess_12", "female", "calm", "en", "01"),
        "Actor_12/03-02-02-01-01-02-12.wav": "song, not speech",
    },
    "emodb": {
        "wav/03a01Wa.wav": ("emodb_03", "male", "anger", "de", "a01"),
        "wav/13b10Ab.wav": ("emodb_13", "female", "fear", "de", "b10"),
        "wav/16a07La.wav": "boredom: the taxonomy has no boredom (EMO-DB)",
    },
    "tess": {
        "TESS Toronto emotional speech set data/OAF_angry/OAF_back_angry.wav": ("tess_OAF", "female", "anger", "en", "back"),
        "TESS Toronto emotional speech set data/YAF_pleasant_surprised/YAF_youth_ps.wav": ("tess_YAF", "female", "surprise", "en", "youth"),
        "TESS Toronto emotional speech set data/OAF_neutral/OA_bite_neutral.wav": "not named as tess names its clips",
    },
    "savee": {
        "AudioData/DC/a01.wav": ("savee_DC", "male", "anger", "en", "common 01"),
        "AudioData/KL/sa15.wav": ("savee_KL", "male", "sadness", "en", "sadness 15"),
        "AudioData/JK/su03.wav": ("savee_JK", "male", "surprise", "en", "common 03"),
    },
    "crema_d": {
        "AudioWAV/1001_DFA_ANG_XX.wav": ("crema_d_1001", "male", "anger", "en", "DFA"),
        "AudioWAV/1002_IEO_HAP_LO.wav": ("crema_d_1002", "female", "happiness", "en", "IEO"),
        "AudioWAV/1003_IEO_NEU_XX.wav": ("crema_d_1003", None, "neutral", "en", "IEO"),
    },
    "nemo": {
        "samples/SB0_sadness_1.wav": ("nemo_SB0", "female", "sadness", "pl", "1"),
        "samples/WR0_surprised_90.wav": ("nemo_WR0", "male", "surprise", "pl", "90"),
    },
    "iemocap": {
        "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav": ("iemocap_01F", "female", "neutral", "en", "excuse me"),
        "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M001.wav": ("iemocap_01M", "male", "happiness", "en", "it's great"),
        "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M002.wav": "frustration: between anger and sadness, and neither (IEMOCAP)",
        "Session5/sentences/wav/Ses05M_script01_1b/Ses05M_script01_1b_F003.wav": "undecided: its annotators did not agree (IEMOCAP)",
        "Session5/sentences/wav/Ses05M_script01_1b/Ses05M_script01_1b_F004.wav": "no label in dialog/EmoEvaluation",
    },
    "esd": {
        "0011/Angry/0011_000351.wav": ("esd_0011", None, "anger", "en", "en 1"),
        "0001/Neutral/train/0001_000001.wav": ("esd_0001", None, "neutral", "zh", "zh 1"),
        "0020/Surprise/0020_001750.wav": ("esd_0020", None, "surprise", "en", "en 350"),
    },
    "emozionalmente": {
        "emozionalmente_dataset/audio/5f3a_1.wav": ("emozionalmente_anna", "female", "happiness", "it", "Vado a casa"),
        "emozionalmente_dataset/audio/5f3a_2.wav": ("emozionalmente_ugo", "male", "neutral", "it", "Vado a casa"),
        "emozionalmente_dataset/audio/5f3a_3.wav": ("emozionalmente_zoe", None, "anger", "it", None),
        "emozionalmente_dataset/audio/9.wav": "not in metadata/samples.csv",
    },
    "mesd": {
        "Mexican Emotional Speech Database (MESD)/Anger_C_A_abajo.wav": ("mesd_C", None, "anger", "es", "abajo"),
        "Mexican Emotional Speech Database (MESD)/Happiness_F_B_Buenos días.wav": ("mesd_F", "female", "happiness", "es", "buenos días"),
        "Mexican Emotional Speech Database (MESD)/Neutral_M_A_ayer.wav": ("mesd_M", "male", "neutral", "es", "ayer"),
    },
    "banglaser": {
        "BanglaSER/Actor 34/03-01-01-02-03-03-34.wav": ("banglaser_34", "female", "happiness", "bn", "03"),
        "BanglaSER/Actor 01/03-01-03-02-01-01-01.wav": ("banglaser_01", "male", "anger", "bn", "01"),
        "BanglaSER/Actor 01/03-01-05-01-01-02-01.wav": ("banglaser_01", "male", "neutral", "bn", "01"),
    },
    "emns": {
        "raw_webm/recording_1.webm": ("emns_3", "female", "anger", "en", "Get out of here."),
        "raw_webm/recording_2.webm": ("emns_3", "female", "happiness", "en", "We made it!"),
        "raw_webm/recording_3.webm": "sarcastic: a way of speaking, and no emotion (EMNS)",
        "raw_webm/recording_4.webm": "not in metadata.csv",
        "raw_webm/recording_5.webm": ("emns_3", "female", "surprise", "en", "You?"),
    },
    "emovo": {
        "EMOVO/f1/gio-f1-b1.wav": ("emovo_f1", "female", "happiness", "it", "b1"),
        "EMOVO/m3/rab-m3-d2.wav": ("emovo_m3", "male", "anger", "it", "d2"),
        "EMOVO/m3/tri-m3-l4.wav": ("emovo_m3", "male", "sadness", "it", "l4"),
    },
    "turev": {
        "Sound Source/Angry/6783_a_kz.wav": ("turev_6783", None, "anger", "tr", None),
        "Sound Source/Calm/1358_deniz.wav": ("turev_1358", None, "neutral", "tr", None),
        "Sound Source/Happy/1358_deniz.wav": ("turev_1358", None, "happiness", "tr", None),
    },
    "casia": {
        "相同文本300/ZhaoZuoxiang/angry/201.wav": ("casia_zhaozuoxiang", None, "anger", "zh", "201"),
        "不同文本100/Zuoxiang.Zhao/normal/301.wav": ("casia_zhaozuoxiang", None, "neutral", "zh", "neutral 301"),
        "liuchanhg/surprise/250.wav": ("casia_liuchanhg", None, "surprise", "zh", "250"),
    },
    "rml": {
        "rml-1/s1/an1.avi": ("rml_s1", None, "anger", None, None),
        "rml-2/s8/chinese/ha2.avi": ("rml_s8", None, "happiness", None, None),
        "rml-2/s8/su10.wav": ("rml_s8", None, "surprise", None, None),
    },
    "susas": {
        "simulated/angry/boston1/help2.wav": ("susas_boston1", "male", "anger", "en", "help"),
        "simulated/nyc3/neutral/break1.wav": ("susas_nyc3", "male", "neutral", "en", "break"),
        "simulated/loud/general2/no1.wav": "loud: a way of speaking, and no emotion (SUSAS)",
    },
    "eesdb": {
        "F01/anger/03.wav": ("eesdb_F01", "female", "anger", "zh", None),
        "sadness/m12_07.wav": ("eesdb_M12", "male", "sadness", "zh", None),
    },
    "emospeech_india": {
        "delhi/bacho-safe-angry-1562907046662-c7b431195e2871a0c0b0825234c1e22bbcde02163992fd45108a7974.wav": (
            "emospeech_india_c7b431195e28",
            None,
            "anger",
            "hi",
            "bacho",
        ),
        "delhi/no-safe-Calm-1562907046663-c7b431195e2871a0c0b0825234c1e22bbcde02163992fd45108a7974.wav": (
            "emospeech_india_c7b431195e28",
            None,
            "neutral",
            "en",
            "no",
        ),
        "delhi/background-safe-None-20190701193438-d14a028c2a3a2bc9476102bb288234c415a2b01f828ea62ac5b3e42f.wav": (
            "no emotion given (EmoSpeech India)"
        ),
        "delhi/help-gunshots-fearful-1562907046664-c7b431195e2871a0c0b0825234c1e22bbcde02163992fd45108a7974.wav": (
            "gunshots or breaking glass (EmoSpeech India)"
        ),
        "delhi/help-safe-fearful-1562907046665-d14a028c2a3a2bc9476102bb288234c415a2b01f828ea62ac5b3e42f.wav": (
            "its speaker is unknown (EmoSpeech India)"
        ),
    },
    "emogator": {
        "data/mp3/000001-13-1.wav": ("emogator_000001", None, "happiness", None, None),
        "data/mp3/000357-28-3.wav": ("emogator_000357", None, "surprise", None, None),
        "data/mp3/000357-02-3.wav": "amusement: no emotion of the taxonomy (EmoGator)",
    },
    "subesco": {
        "F_01_OISHI_S_1_ANGRY_1.wav": ("subesco_F01", "female", "anger", "bn", "1"),
        "M_10_SHIPU_S_10_DISGUST_5.wav": ("subesco_M10", "male", "disgust", "bn", "10"),
    },
}
"""Published file names with speaker, gender, emotion, language and sentence, or with the reason why they are left out."""

BESIDE = {
    "emozionalmente": {
        "emozionalmente_dataset/metadata/samples.csv": "timestamp,file_name,actor,emotion_expressed,sentence\n"
        "1,5f3a_1.wav,anna,joy,Vado a casa\n2,5f3a_2.wav,ugo,neutrality,Vado a casa\n3,5f3a_3.wav,zoe,anger,\n",
        "emozionalmente_dataset/metadata/users.csv": "username,age,gender,mother_tongue\nanna,30,female,italian\nugo,40,male,italian\n",
    },
    "emns": {
        "metadata.csv": "id|utterance|description|emotion|date_created|status|gender|age|level|audio_recording|user_id\n"
        "1|Get out of here.|shouts|Angry||Complete|Female|20|9|wavs/recording_1.webm|3\n"
        "2|We made it!|glad|Excited||Complete|Female|20|9|wavs/recording_2.webm|3\n"
        "3|Well done.|dry|Sarcastic||Complete|Female|20|9|wavs/recording_3.webm|3\n"
        "5|You?|-|Surprised||Complete|Female|20|9|wavs/recording_5.webm|3\n"
    },
    "crema_d": {"VideoDemographics.csv": "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,Caucasian,Not Hispanic\n1002,21,Female,Asian,-\n"},
    "nemo": {
        "data.tsv": "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tsex\tage\n"
        "SB0_sadness_1.wav\tsadness\tA\ta\tSB0\tfemale\t27\nWR0_surprised_90.wav\tsurprised\tB\tb\tWR0\tmale\t24\n"
    },
    "iemocap": {
        "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt": "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
        "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]\nC-E2:\tNeutral;\t()\n\n"
        "[10.0 - 11.3]\tSes01F_impro01_M001\texc\t[2.0000, 3.5, 4.0]\n[12.0 - 13.3]\tSes01F_impro01_M002\tfru\t[2.5, 2.5, 2.5]\n",
        "Session5/dialog/EmoEvaluation/Ses05M_script01_1b.txt": "[1.0 - 2.3]\tSes05M_script01_1b_F003\txxx\t[2.5, 2.5, 2.5]\n",
        "Session1/dialog/transcriptions/Ses01F_impro01.txt": "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.\n"
        "Ses01F_impro01_M001 [010.0-011.3]: It's great!\n",
    },
}
"""Lists and transcripts beside the clips."""


def plant(folder: Path, name: str) -> Path:
    for seed, file in enumerate(TREES[name], 1000 * (1 + list(TREES).index(name))):
        sound(folder / file, seed)
    for file, text in BESIDE.get(name, {}).items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    return folder


def test_names_of_two_corpora_are_of_the_one_that_more_of_them_fit(tmp_path):
    """BanglaSER names its clips as RAVDESS does, with other meanings."""
    both = ("03-01-01-01-01-01-01", "03-01-02-02-02-02-04")

    def corpus_of(folder: str, *others: str) -> str:
        for seed, name in enumerate([*both, *others], 1):
            sound(tmp_path / folder / f"{name}.wav", seed)
        (read,) = read_corpora([tmp_path / folder])
        return read.name

    assert corpus_of("a") == "ravdess"
    assert corpus_of("my BanglaSER copy") == "banglaser"
    assert corpus_of("b", "03-01-03-01-03-01-07") == "banglaser"
    assert corpus_of("c", "03-01-08-01-01-01-07") == "ravdess"


def test_files_in_no_list_are_no_corpus(tmp_path):
    """The names of Emozionalmente's and EMNS's files say nothing."""
    sound(tmp_path / "some" / "audio" / "a.wav", 1)
    (tmp_path / "some" / "metadata.csv").write_text("id|text\n1|hello\n")
    with pytest.raises(ValueError, match="is no corpus and holds none"):
        read_corpora([tmp_path / "some"])


def test_every_corpus_has_a_tree_here():
    assert TREES.keys() == DATASETS.keys()


@pytest.mark.parametrize("name", DATASETS)
def test_a_corpus_is_read_in_its_published_layout(name, tmp_path):
    folder = plant(tmp_path / "any name", name)
    sound(folder / "__MACOSX" / Path(next(iter(TREES[name]))).name, 7)  # what some zip files bring along
    (read,) = read_corpora([folder])
    assert read.name == name
    expected = {file: facts for file, facts in TREES[name].items() if isinstance(facts, tuple)}
    found = {
        Path(row.file).relative_to(folder.resolve()).as_posix(): (row.speaker, row.gender, row.emotion, row.language, row.sentence)
        for row in read.clips.replace({np.nan: None}).itertuples()
    }
    assert found == expected
    assert read.dropped == dict(Counter(reason for reason in TREES[name].values() if isinstance(reason, str)))
    assert set(read.clips.licence) == {CREDITS[name].licence}
    assert read.clips.digest.is_unique


def test_corpora_side_by_side_are_read_separately(tmp_path):
    for name in TREES:
        plant(tmp_path / name.upper(), name)
    assert sorted(corpus.name for corpus in read_corpora([tmp_path])) == sorted(TREES)
    (tmp_path / "own").mkdir()
    sound(tmp_path / "own" / "a.wav", 1)
    (tmp_path / "own" / "labels.csv").write_text("file,speaker,emotion\na.wav,1,anger\n")
    assert "own" in [corpus.name for corpus in read_corpora([tmp_path])]
    with pytest.raises(ValueError, match="Two corpora are named own: give each folder once"):
        read_corpora([tmp_path, tmp_path / "own"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="is no corpus and holds none"):
        read_corpora([tmp_path / "empty"])
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        read_corpora([tmp_path / "nowhere"])


def test_every_label_maps_to_the_taxonomy_or_is_left_out_with_a_reason():
    assert set(EMOTION_OF_LABEL.values()) == set(EMOTIONS)
    assert not EMOTION_OF_LABEL.keys() & LEFT_OUT.keys()
    assert all(spelling == spelling.lower() for spelling in [*EMOTION_OF_LABEL, *LEFT_OUT])


REAL = [
    pytest.param("emotion/ravdess", 1439, 24, 1, marks=pytest.mark.slow),
    ("emotion/emodb", 339, 10, 0),
    pytest.param("emotion/nemo", 2863, 6, 0, marks=pytest.mark.slow),
    pytest.param("emotion/emospeech_india", 945, 84, 0, marks=pytest.mark.slow),
    pytest.param("emotion_bursts/emogator", 1894, 320, 0, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("folder", "clips", "speakers", "dropped"), REAL)
def test_a_real_corpus_is_read_alike_by_its_names_and_by_its_labels(folder, clips, speakers, dropped):
    if "SER_DATA_DIR" not in os.environ:
        pytest.skip("SER_DATA_DIR is not set: real audio is needed")
    folder = Path(os.environ["SER_DATA_DIR"], folder)
    by_names, by_labels = DATASETS[folder.name].read(folder), read_labels_csv(folder)
    assert (len(by_names.clips), by_names.clips.speaker.nunique(), sum(by_names.dropped.values())) == (clips, speakers, dropped)
    known = ["file", "speaker", "emotion", "language", "sentence", "licence", "corpus", "digest"]
    pd.testing.assert_frame_equal(by_names.clips[known], by_labels.clips.sort_values("file", ignore_index=True)[known])


@pytest.mark.parametrize(
    ("first", "second", "leaks"),
    [
        ("call.wav#t=0,4", "call.wav#t=3.5,9", True),
        ("call.wav#t=0,4", "call.wav#t=4,9", False),
        ("call.wav", "call.wav#t=4,9", True),
        ("call.wav#t=4,", "call.wav#t=,5", True),
        ("call.wav#t=0,4&channel=0", "call.wav#t=0,4&channel=1", False),
        ("call.wav#t=0,4&channel=0", "call.wav#t=0,4", True),
        ("call.wav#t=0,4", "other.wav#t=0,4", False),
    ],
)
def test_stretches_of_one_recording_on_two_sides_may_not_overlap(first, second, leaks):
    clips = pd.DataFrame({"file": [first, second], "side": ["train", "test"], "speaker": ["a", "b"], "digest": ["1", "2"]})
    clips = clips.assign(corpus="made", sentence=None)
    assert shared(clips).clips == (sorted([first, second]) if leaks else [])
    assert not shared(clips.assign(side="train"))


def test_a_speaker_in_other_letters_is_the_same_speaker():
    clips = pd.DataFrame({"file": ["a.wav", "b.wav"], "side": ["train", "test"], "speaker": ["Ann", "ANN "], "digest": ["1", "2"]})
    with pytest.raises(ValueError, match=r"share 2 speakers \(made/ANN , made/Ann\)"):
        refuse_leaks(clips.assign(corpus="made", sentence=None))


def test_words_are_known_of_corpora_whose_names_or_transcripts_say_them(tmp_path):
    """MDRE reads them; it was published on IEMOCAP."""
    texts = {
        name: dict(zip(*(DATASETS[name].read(plant(tmp_path / name, name)).clips[key] for key in ("file", "text")), strict=True))
        for name in ("iemocap", "tess")
    }
    assert {Path(file).stem: text for file, text in texts["iemocap"].items()} == {
        "Ses01F_impro01_F000": "excuse me",
        "Ses01F_impro01_M001": "it's great",
    }
    assert {Path(file).stem: text for file, text in texts["tess"].items()} == {
        "OAF_back_angry": "Say the word back",
        "YAF_youth_ps": "Say the word youth",
    }


def test_leaks_between_sides_are_named_and_refused():
    clips = pd.DataFrame(
        [
            ("train", "one", "ann", "s1", "d1", "a.wav"),
            ("train", "one", "bob", "s2", "d2", "b.wav"),
            ("test", "one", "eve", "s1", "d3", "c.wav"),
            ("test", "two", "ann", "s2", "d4", "d.wav"),
        ],
        columns=["side", "corpus", "speaker", "sentence", "digest", "file"],
    )
    honest = refuse_leaks(clips)
    assert honest.sentences == ["one/s1"] and not (honest.speakers or honest.clips) and honest.describe() == "1 sentences (one/s1)"
    assert shared(clips[:2]).describe() == "nothing"
    planted = clips.assign(speaker=["ann", "bob", "bob", "ann"])
    with pytest.raises(ValueError, match=r"The split leaks. Its sides share 1 speakers \(one/bob\)"):
        refuse_leaks(planted)
    twice = clips.assign(digest=["d1", "d2", "d3", "d1"])
    with pytest.raises(ValueError, match=r"share 2 identical clips \(a.wav, d.wav\)"):
        refuse_leaks(twice)
    assert refuse_leaks(twice, allow=True).clips == ["a.wav", "d.wav"]
    assert not refuse_leaks(clips.assign(sentence=None))


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


def test_held_out_sides_have_both_genders():
    clips = pd.DataFrame({"corpus": "one", "speaker": list("abcdefghij"), "gender": ["female", "male"] * 5})
    for seed in range(20):
        sides = split_by_speaker(clips, seed)
        for side in ("test", "calibration"):
            assert sorted(clips.gender[sides == side]) == ["female", "male"]


def test_seeds_give_different_splits():
    clips = pd.DataFrame({"corpus": "one", "speaker": list("abcdefghij"), "gender": None})
    assert len({tuple(split_by_speaker(clips, seed)) for seed in range(10)}) > 3


def test_trim_keeps_the_speech_and_a_short_margin():
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


def test_labels_csv_can_label_parts_of_calls(tmp_path):
    """Two speakers of one stereo call, one channel each, and an m4a file."""
    folder = tmp_path / "calls"
    folder.mkdir()
    rng = np.random.default_rng(0)
    call = (0.1 * rng.standard_normal((80000, 2))).astype(np.float32)
    soundfile.write(folder / "call.wav", call, 8000, subtype="PCM_16")
    write_with_pyav(folder / "voice.m4a", np.stack([speechlike(2.0, seed=3)] * 2), 8000, ("ipod", "aac", 16_000))
    (folder / "labels.csv").write_text(
        "file,speaker,emotion,start_s,end_s,channel\n"
        "call.wav,ann,anger,1.5,3,1\ncall.wav,bob,neutral,2,,0\ncall.wav,eve,neutral,20,21,0\ncall.wav,eve,neutral,1,2,5\n"
        "voice.m4a,eve,sadness,,,\ncall.wav,tom,neutral,4,5,\n"
    )
    found = read_labels_csv(folder)
    assert found.clips.speaker.tolist() == ["ann", "bob", "eve", "tom"]
    assert found.dropped == {"not readable as audio (no_samples)": 1, "not readable as audio (no_channels)": 1}
    assert found.clips.file[0] == f"{folder}/call.wav#t=1.5,3&channel=1" and found.clips.file[2].endswith("voice.m4a")
    stored = soundfile.read(folder / "call.wav", dtype="float32")[0]
    np.testing.assert_array_equal(read_clip(found.clips.file[0])[0], stored[12000:24000, 1][None])
    np.testing.assert_array_equal(read_clip(found.clips.file[1])[0], stored[16000:, 0][None])
    np.testing.assert_array_equal(read_clip(found.clips.file[3])[0], stored[32000:40000].T)
    assert len(read_trimmed(found.clips.file[2])) > 8000
    (folder / "labels.csv").write_text("file,speaker,emotion,start_s,end_s\ncall.wav,ann,anger,3,2\n")
    with pytest.raises(ValueError, match="labels.csv, line 2: start_s 3, end_s 2, channel nan. They must be numbers from 0 on"):
        read_labels_csv(folder)


def test_ratings_of_iemocap_are_valence_activation_and_dominance_in_its_order(tmp_path):
    clips = DATASETS["iemocap"].read(plant(tmp_path, "iemocap")).clips
    excited = clips[clips["label"] == "excited"].iloc[0]
    assert (excited["valence"], excited["arousal"], excited["dominance"]) == (2.0, 3.5, 4.0)


def test_ratings_of_other_corpora_are_null_and_of_a_labels_csv_its_own(tmp_path):
    sound(tmp_path / "mine" / "a.wav", 1)
    sound(tmp_path / "mine" / "b.wav", 2)
    (tmp_path / "mine" / "labels.csv").write_text("file,speaker,emotion,arousal\na.wav,x,anger,4.5\nb.wav,x,anger,none\n")
    clips = read_labels_csv(tmp_path / "mine").clips
    assert list(clips["arousal"]) == [4.5, None] and clips["valence"].isna().all()
