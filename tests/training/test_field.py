"""The field's table: its rows, honest and leaky folds, refusals, resuming, and the page that is generated from it."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.metrics import accuracy_score, recall_score
from typer.testing import CliRunner

from flows.cli import app
from ser_tasks.datasets import speaker_ids
from ser_tasks.evaluation.plan import Plan
from ser_tasks.training.baselines import CLASSIFIERS, PREPARATIONS
from ser_tasks.training.field import folds, run
from ser_tasks.training.field.folds import FoldWork, field_corpora, run_fold
from ser_tasks.training.field.page import DOCS, merged, page
from ser_tasks.training.field.protocols import PROTOCOLS, honest_folds
from ser_tasks.training.field.rows import MARKS, ROWS, Published, System
from ser_tasks.training.field.run import field, why_missing
from ser_tasks.training.field.table import FAIR, speaker_interval, why_not

EMOTIONS = ("anger", "neutral")
CHOSEN = ["functionals_rf_svm", "lstm", "survey", "transformer"]


def clips_of(folder: Path, speakers: list[str], takes: int = 4) -> Path:
    """``takes`` clips of two emotions by each speaker, and the ``labels.csv``."""
    folder.mkdir(parents=True)
    rng, rows = np.random.default_rng(len(speakers)), []
    for number, speaker in enumerate(speakers):
        for emotion in EMOTIONS:
            for take in range(takes):
                time_s = np.arange(int(8000 * rng.uniform(0.5, 0.9))) / 8000
                wave = np.sin(2 * np.pi * (300 if emotion == "anger" else 120) * (1 + 0.03 * number) * time_s)
                name = f"{number}_{emotion}_{take}.wav"
                soundfile.write(folder / name, 0.1 * wave + 0.02 * rng.standard_normal(len(time_s)), 8000)
                rows.append((name, speaker, emotion))
    pd.DataFrame(rows, columns=["file", "speaker", "emotion"]).to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture(scope="module", autouse=True)
def few_trees():
    """Ten trees in place of 300."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CLASSIFIERS, "random_forest", lambda seed: RandomForestClassifier(10, random_state=seed))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """40 clips of 5 speakers."""
    return clips_of(tmp_path_factory.mktemp("field") / "forty", [f"s{number}" for number in range(5)])


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def out(data, cache, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    arguments = ["field", "--data", str(data), "--out", str(folder), "--cache", str(cache), "--workers", "1", "--epochs", "1"]
    answer = CliRunner().invoke(app, [*arguments, "--rows", ",".join(CHOSEN)])
    assert answer.exit_code == 0, answer.output
    assert re.search(r"functionals_rf_svm: \d+ folds to run, some \d+ min of one core", answer.output)
    assert "survey: a survey, no system" in answer.output and "transformer: waits for weights" in answer.output
    return folder


def test_the_field_has_7_kinds_of_model_and_the_16_rows_of_the_brief():
    numbers = [row.number for row in ROWS.values()]
    assert sorted(numbers) == sorted([*(f"model {n}" for n in range(1, 8)), *(f"table 4.1, {n}" for n in range(1, 17))])
    for name, row in ROWS.items():
        assert row.name == name and row.mark in MARKS and row.brief and row.paper and set(row.protocols) <= PROTOCOLS.keys()
        assert (row.systems and row.leaks) or row.waits
        assert row.differs or not row.figures  # else a twin that misses its figure would have no reason


def test_every_system_is_in_a_registry_or_the_row_says_what_it_waits_for():
    for row in ROWS.values():
        for system in row.systems:
            assert row.waits or why_missing(system) is None, system


def test_the_table_follows_from_the_rows_of_tested_clips(out):
    table, rows = pd.read_parquet(out / "field.parquet"), pd.read_parquet(out / "rows.parquet")
    assert set(table["row"]) == {"functionals_rf_svm", "lstm"} and len(table) == 3
    for line in table.to_dict("records"):
        own = rows[(rows["row"] == line["row"]) & (rows["system"] == line["system"])]
        honest, leaky = own[own["protocol"] == "honest"], own[own["protocol"] == "leaky"]
        assert line["honest_ua"] == pytest.approx(recall_score(honest["emotion"], honest["predicted"], average="macro"))
        assert line["leaky_ua"] == pytest.approx(recall_score(leaky["emotion"], leaky["predicted"], average="macro"))
        assert line["leaky_wa"] == pytest.approx(accuracy_score(leaky["emotion"], leaky["predicted"]))
        assert line["flattery"] == pytest.approx(line["leaky_ua"] - line["honest_ua"])
        assert line["honest_low"] <= line["honest_ua"] <= line["honest_high"]
        assert len(honest) == honest["file"].nunique() == line["clips"] == 40 and line["speakers"] == 5
        assert line["audio_h_per_h"] > 0 and pd.notna(line["parameters"]) == (":" not in line["system"])


def test_honest_folds_keep_speakers_apart_and_leaky_ones_do_not(out):
    rows = pd.read_parquet(out / "rows.parquet")
    rows = rows[rows["system"] == "svm:egemaps"]
    of_speaker = rows.groupby(["protocol", "speaker"])["fold"].nunique().unstack("protocol")
    assert (of_speaker["honest"] == 1).all() and (of_speaker["leaky"] > 1).all()


def test_the_report_shows_every_row(out):
    for name in ("field.md", "field.html"):
        text = (out / name).read_text(encoding="utf-8")
        for row in CHOSEN:
            assert f"{row}" in text
        assert "waits for weights" in text and "a survey, no system" in text
    assert "<svg" in (out / "field.svg").read_text() and 'src="data:image/svg+xml' in (out / "field.html").read_text()


def test_a_finished_row_is_not_run_again_and_a_kill_loses_one_fold(data, cache, tmp_path, monkeypatch):
    runs, whole = [], run.run_fold

    def run_some(work):
        runs.append(work.file)
        if len(runs) == 4:
            raise KeyboardInterrupt
        whole(work)

    monkeypatch.setattr(run, "run_fold", run_some)
    arguments = {"names": ["functionals_rf_svm"], "announce": lambda text: None}
    with pytest.raises(KeyboardInterrupt):
        field([data], tmp_path, Plan(cache=cache), **arguments)
    first = field([data], tmp_path, Plan(cache=cache), **arguments)
    assert len(runs) == len(set(runs)) + 1  # one fold twice: the killed one
    again = field([data], tmp_path, Plan(cache=cache), **arguments)
    assert len(runs) == len(set(runs)) + 1
    pd.testing.assert_frame_equal(first, again)


def test_the_same_seed_gives_the_same_rows(data, cache, out, tmp_path):
    field([data], tmp_path, Plan(cache=cache), names=["lstm"], epochs=1, announce=lambda text: None)
    first, again = (pd.read_parquet(folder / "rows.parquet").drop(columns=["scoring_s", "fold_cpu_s"]) for folder in (out, tmp_path))
    pd.testing.assert_frame_equal(first[first["row"] == "lstm"].reset_index(drop=True), again)


def test_what_a_voice_says_of_its_label_helps_the_leaky_twin_alone(data, tmp_path, monkeypatch):
    """Functionals that hold the speaker, and labels that hang on the speaker: the leaky twin is perfect, the honest figure is not."""
    clips = field_corpora([data])["forty"]
    voices = pd.factorize(clips["speaker"])[0]
    clips = clips.assign(emotion=np.where(voices % 2, "anger", "neutral"))
    made = np.eye(5)[voices] + 0.01 * np.random.default_rng(0).standard_normal((40, 5))
    monkeypatch.setattr(folds, "functionals_for", lambda *arguments: made)
    tested = {}
    for protocol in ("honest", "leaky"):
        works = folds.folds_of_system(System("knn:egemaps"), protocol, clips, tmp_path, Plan())
        for work in works:
            run_fold(work)
        rows = pd.concat([pd.read_parquet(work.file) for work in works])
        tested[protocol] = recall_score(rows["emotion"], rows["predicted"], average="macro")
    assert tested["leaky"] == 1 and tested["honest"] < 0.7


def test_honest_preparations_see_training_clips_alone_and_leaky_ones_all(data, tmp_path, monkeypatch):
    clips, seen = field_corpora([data])["forty"], []
    monkeypatch.setattr(folds, "functionals_for", lambda *arguments: np.random.default_rng(0).standard_normal((40, 6)))

    class Watched(SelectKBest):
        def fit(self, x, y=None):
            seen.append(len(x))
            return super().fit(x, y)

    monkeypatch.setitem(PREPARATIONS, "forward", lambda seed, speakers: [Watched(k=3)])
    for protocol in ("honest", "leaky"):
        run_fold(folds.folds_of_system(System("naive_bayes:egemaps:forward"), protocol, clips, tmp_path, Plan())[0])
    assert seen == [32, 40]


def test_clips_that_the_leaky_twin_makes_up_are_tested_without_a_speaker(data, tmp_path, monkeypatch):
    clips = field_corpora([data])["forty"]
    clips = clips[(clips["emotion"] == "anger") | (clips.groupby(["speaker", "emotion"]).cumcount() < 2)].reset_index(drop=True)
    x = np.random.default_rng(0).standard_normal((len(clips), 4)) + 3 * (clips["emotion"] == "anger").to_numpy()[:, None]
    monkeypatch.setattr(folds, "functionals_for", lambda *arguments: x)
    works = folds.folds_of_system(System("naive_bayes:egemaps:smote"), "leaky", clips, tmp_path, Plan())
    for work in works:
        run_fold(work)
    rows = pd.concat([pd.read_parquet(work.file) for work in works])
    assert len(clips) == 30 and rows["speaker"].isna().sum() == rows["file"].isna().sum() == 10
    assert (rows["emotion"] == "neutral").sum() == 20 and rows["emotion"][rows["speaker"].isna()].eq("neutral").all()


def test_a_planted_shared_speaker_is_refused_before_anything_is_run(tmp_path, cache):
    folder = clips_of(tmp_path / "planted", ["a", "b", "c"])
    stolen, labels = soundfile.read(folder / "0_anger_0.wav", dtype="int16")[0], pd.read_csv(folder / "labels.csv")
    soundfile.write(folder / "planted.flac", stolen, 8000)
    labels.loc[len(labels)] = {"file": "planted.flac", "speaker": "c", "emotion": "anger"}
    labels.to_csv(folder / "labels.csv", index=False)
    arguments = ["field", "--data", str(folder), "--out", str(tmp_path / "out"), "--cache", str(cache)]
    answer = CliRunner().invoke(app, [*arguments, "--rows", "functionals_rf_svm"])
    assert answer.exit_code == 2 and "The split leaks. Its sides share 2 identical clips" in answer.output
    assert not list(tmp_path.glob("out/**/*.parquet"))


def test_a_fold_that_shares_a_speaker_is_refused(data, tmp_path):
    clips = field_corpora([data])["forty"]
    side = np.where(clips["speaker"] == "s0", "test", "train").astype(object)
    side[0] = "train"
    with pytest.raises(ValueError, match=r"Its sides share 1 speakers \(forty/s0\)"):
        run_fold(FoldWork(System("svm:egemaps"), "honest", 0, clips.assign(side=side), tmp_path, Plan()))


def test_one_corpus_in_two_folders_is_one_and_its_speakers_stay_together(tmp_path):
    one = clips_of(tmp_path / "emodb", ["emodb_03", "emodb_08"])
    two = clips_of(tmp_path / "emodb_more", ["emodb_03", "EMODB_08 ", "emodb_09"])
    clips = field_corpora([one, two])
    assert list(clips) == ["emodb"] and clips["emodb"]["speaker"].nunique() == 3
    for side in honest_folds(clips["emodb"], 0).values():
        tested = set(speaker_ids(clips["emodb"])[side == "test"])
        assert len(tested) == 1 and not tested & set(speaker_ids(clips["emodb"])[side != "test"])


def test_the_number_of_folds():
    for speakers, n_folds in ((2, 2), (4, 4), (6, 6), (10, 5), (24, 6)):
        rows = [("c", f"s{speaker:02}", None, None, f"{speaker}{take}", "f") for speaker in range(speakers) for take in range(2)]
        clips = pd.DataFrame(rows, columns=["corpus", "speaker", "gender", "sentence", "digest", "file"], dtype=object)
        assert len(honest_folds(clips, 0)) == n_folds
    with pytest.raises(ValueError, match="c has 1 speaker"):
        honest_folds(clips[clips["speaker"] == "s00"], 0)


def test_unknown_rows_are_refused(data, tmp_path):
    with pytest.raises(ValueError, match=r"The field has no row alexnet: choose of cnn, lstm, cnn_lstm, "):
        field([data], tmp_path, Plan(), names=["alexnet"])


def test_the_interval_is_of_speakers_not_of_clips():
    """Two speakers who are always right and two who are always wrong: the interval is wide, however many clips they have."""
    rows = pd.DataFrame([(f"s{n}", "anger", "anger" if n % 2 else "fear") for n in range(4) for _ in range(500)])
    low, high = speaker_interval(rows.set_axis(["speaker", "emotion", "predicted"], axis=1))
    assert low == 0 and high == 1


def test_a_twin_far_from_the_published_figure_says_why_not():
    row, published = ROWS["ensemble_1d"], Published("emodb", 0.9542)
    assert why_not(row, published, {"leaky_wa": 0.9542 - FAIR + 0.001}) is None
    assert why_not(row, published, {"leaky_wa": 0.80}) == f"-15 points: {row.differs}"


def test_the_page_is_what_the_rows_say():
    table = pd.read_parquet(DOCS / "field.parquet")
    text = (DOCS / "FIELD.md").read_text(encoding="utf-8")
    assert text == page(merged([table]))
    for line in table.dropna(subset=["honest_ua"]).to_dict("records"):
        of_system = [
            each
            for each in text.partition("## Twins")[0].splitlines()
            if each.startswith(f"| `{line['row']}`") and f"| `{line['system']}` |" in each
        ]
        assert len(of_system) == 1 and f"{line['corpus']} {line['honest_ua']:.2f}".replace(" 0.", " .") in of_system[0]
    for name in ROWS:
        assert f"| `{name}`" in text
