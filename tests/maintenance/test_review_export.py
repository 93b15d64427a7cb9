"""Exported reviews: labels that training reads, with recordings that are found, and nothing that must not leave the lake."""

import csv
import io

import numpy as np
import pytest
import soundfile as sf
from typer.testing import CliRunner

from flows.cli import app
from ser_tasks.calls.metadata import recording_id
from ser_tasks.datasets import read_corpora
from ser_tasks.datasets.clip import read_clip
from ser_tasks.lake import reviews
from ser_tasks.lake.reviews import Review, Stretch
from ser_tasks.storage import open_store
from tests.factories.lakes import DAY, MODEL, POLICY, Call, angry, segment, worse, write_calls

FIRST, SECOND = Stretch(1, 2.0, 6.0), Stretch(1, 36.0, 40.0)


@pytest.fixture
def made(tmp_path):
    """Two calls whose recordings are in a store."""
    recordings, lake = open_store(str(tmp_path / "calls")), str(tmp_path / "lake")
    calls = [angry(), worse()]
    for seed, call in enumerate(calls):
        key = call.recording["key"]
        file, noise = io.BytesIO(), np.random.default_rng(seed).normal(0, 0.1, (8000 * 41, 2)).astype(np.float32)
        sf.write(file, noise, 8000, format="WAV", subtype="ULAW")
        recordings.write_bytes(key, file.getvalue())
        etag = next(each.etag for each in recordings.list() if each.key == key)
        for row in [call.recording, call.outcome, call.facts, *call.segments]:
            row |= {"recording_id": recording_id(key), "etag": etag}
        call.facts |= {"channel_roles": "agent,customer", "customer_pseudonym": f"person-{call.facts['call_id']}", "language": "de"}
    write_calls(lake, calls)
    return lake, recordings, {call.facts["call_id"]: call for call in calls}


def judge(made, name, review):
    lake, _, calls = made
    facts = calls[name].facts
    where = reviews.Call(DAY, f"{MODEL}.{POLICY}", "c1", facts["recording_id"], facts["etag"], name, MODEL)
    reviews.write(open_store(lake), where, review)


def export(made, out, *options):
    lake, recordings, _ = made
    return CliRunner().invoke(app, ["reviews", "export", "--lake", lake, "--recordings", recordings.uri, "--out", str(out), *options])


def rows_in(out):
    with (out / "labels.csv").open() as file:
        return list(csv.DictReader(file))


def test_what_reviewers_hear_is_read_by_training_with_its_recordings(made, tmp_path):
    judge(made, "angry", Review("agree", "ann", "anger", FIRST, "she shouts at 0151 2345678"))
    judge(made, "angry", Review("wrong", "ann", "sadness", SECOND))
    judge(made, "worse", Review("wrong", "ann", "neutral", SECOND))
    out = tmp_path / "labelled"
    answer = export(made, out)
    assert answer.exit_code == 0, answer.output
    assert "3 labels of 2 recordings" in answer.output
    found = {(row["speaker"], row["emotion"], row["start_s"], row["end_s"], row["channel"], row["language"]) for row in rows_in(out)}
    assert found == {
        ("person-angry", "anger", "2.0", "6.0", "1", "de"),
        ("person-angry", "sadness", "36.0", "40.0", "1", "de"),
        ("person-worse", "neutral", "36.0", "40.0", "1", "de"),
    }
    [corpus] = read_corpora([out])
    assert sorted(corpus.clips["emotion"]) == ["anger", "neutral", "sadness"]
    assert corpus.clips["speaker"].nunique() == 2
    signal, rate_hz = read_clip(corpus.clips["file"].iloc[0])
    assert signal.shape == (1, 4 * 8000)
    assert rate_hz == 8000
    assert "0151" not in (out / "labels.csv").read_text()
    assert {row["file"] for row in rows_in(out)} == {f"recordings/{call.facts['recording_id']}.wav" for call in made[2].values()}


def test_notes_are_exported_only_where_asked_for(made, tmp_path):
    judge(made, "angry", Review("agree", "ann", "anger", FIRST, "she shouts"))
    assert export(made, tmp_path / "with", "--notes").exit_code == 0
    assert [row["note"] for row in rows_in(tmp_path / "with")] == ["she shouts"]


def test_the_majority_counts_and_a_tie_is_left_out(made, tmp_path):
    for reviewer, emotion in (("ann", "anger"), ("ben", "anger"), ("cat", "neutral")):
        judge(made, "angry", Review("wrong", reviewer, emotion, FIRST))
    for reviewer, emotion in (("ann", "anger"), ("ben", "neutral")):
        judge(made, "angry", Review("wrong", reviewer, emotion, SECOND))
    answer = export(made, tmp_path / "out")
    assert "1 left out: reviewers hear different emotions" in answer.output
    assert [(row["emotion"], row["start_s"]) for row in rows_in(tmp_path / "out")] == [("anger", "2.0")]


def test_whole_calls_are_exported_on_the_customers_channel_where_asked_for(made, tmp_path):
    judge(made, "angry", Review("wrong", "ann", "anger"))
    refused = export(made, tmp_path / "out")
    assert refused.exit_code == 2
    assert "There are 1 of whole calls: --calls exports them" in refused.output
    assert export(made, tmp_path / "out", "--calls").exit_code == 0
    [row] = rows_in(tmp_path / "out")
    assert (row["start_s"], row["end_s"], row["channel"]) == ("", "", "1")


def test_recordings_that_changed_or_are_gone_are_said(made, tmp_path):
    _, recordings, calls = made
    judge(made, "angry", Review("agree", "ann", "anger", FIRST))
    judge(made, "worse", Review("agree", "ann", "anger", SECOND))
    recordings.delete(calls["worse"].recording["key"])
    answer = export(made, tmp_path / "out")
    assert answer.exit_code == 0
    assert "1 recordings left out: The recording is no longer in the store" in answer.output
    assert len(rows_in(tmp_path / "out")) == 1
    recordings.write_bytes(calls["angry"].recording["key"], b"another")
    answer = export(made, tmp_path / "other")
    assert answer.exit_code == 2
    assert "None of the 2 labelled recordings" in answer.output
    assert not (tmp_path / "other" / "labels.csv").exists()


def test_labels_are_not_overwritten_and_without_any_nothing_is_written(made, tmp_path):
    empty = export(made, tmp_path / "out")
    assert empty.exit_code == 2
    assert "judge stretches on the dashboard first" in empty.output
    judge(made, "angry", Review("agree", "ann", "anger", FIRST))
    assert export(made, tmp_path / "out").exit_code == 0
    again = export(made, tmp_path / "out")
    assert again.exit_code == 2
    assert "exists already" in again.output


def test_who_withdrew_since_is_not_exported(made, tmp_path):
    judge(made, "angry", Review("agree", "ann", "anger", FIRST))
    later = made[2]["angry"].facts["scored_at"].replace(year=2027)
    call = Call("angry", [segment(2, 6)], outcome="withheld", reason_code="no_notice", chunk="c2", scored_at=later, planned_at=later)
    for row in [call.recording, call.outcome, call.facts, *call.segments]:
        row |= {"recording_id": made[2]["angry"].facts["recording_id"]}
    write_calls(made[0], [call])
    assert export(made, tmp_path / "out").exit_code == 2


def test_a_sample_is_drawn_by_a_command(made):
    answer = CliRunner().invoke(app, ["reviews", "draw", "--lake", made[0], "--first", "2026-11-01", "--last", "2026-11-30"])
    assert answer.exit_code == 0, answer.output
    assert "Drew 2 calls" in answer.output
