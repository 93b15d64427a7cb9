import json
import os
from collections import Counter
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from ser_tasks.audio import open_audio
from ser_tasks.demo import CALLS, make_calls
from ser_tasks.demo.dialogues import CALLS as DIALOGUES

DATA = os.environ.get("SER_DATA_DIR")
RECORDINGS = sorted(path for path in CALLS.rglob("*") if path.is_file() and path.suffix != ".json")
BY_ID = {path.stem: path for path in RECORDINGS}


def read(path) -> np.ndarray:
    with open_audio(path, max_duration_s=600) as reader:
        samples = np.concatenate(list(reader.blocks()), axis=1)
    assert (reader.info.sampling_rate_hz, reader.info.channels, reader.note) == (8_000, 2, None)
    return samples


def speaks(samples: np.ndarray) -> np.ndarray:
    """Bool ``(channels, frames)``: 25 ms frames louder than -45 dBFS."""
    frames = samples[:, : samples.shape[1] // 200 * 200].reshape(2, -1, 200)
    return np.sqrt(np.mean(frames**2, axis=-1)) > 10 ** (-45 / 20)


def longest_pause_s(talk: np.ndarray) -> float:
    edges = np.flatnonzero(np.concatenate([[True], talk, [True]]))
    return float(np.diff(edges).max() - 1) * 0.025


def test_a_dozen_calls_in_many_formats_are_small():
    assert len(RECORDINGS) == len(BY_ID) == 12
    assert {path.suffix for path in RECORDINGS} == {".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a"}
    assert sum(path.stat().st_size for path in CALLS.rglob("*") if path.is_file()) <= 5_000_000


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_every_call_has_two_sound_channels(path):
    samples = read(path)
    assert 20 < samples.shape[1] / 8_000 < 65
    assert np.abs(samples).max() < 0.95
    agent, customer = np.sqrt(np.mean(samples**2, axis=1))
    assert agent > 0.005
    assert customer > 0.005 or path.stem == "technical-1008"


def test_the_calls_hold_what_they_are_there_for():
    talk = {call_id: speaks(read(path)) for call_id, path in BY_ID.items()}
    pauses_s = {call_id: longest_pause_s(rows.any(axis=0)) for call_id, rows in talk.items()}
    assert max(pauses_s, key=pauses_s.get) == "technical-1005" and pauses_s["technical-1005"] > 20
    overlaps = {call_id: rows.all(axis=0).mean() for call_id, rows in talk.items()}
    assert {call_id for call_id, share in overlaps.items() if share > 0.02} == {"deliveries-1006"}
    assert {call_id for call_id, rows in talk.items() if not rows[1].any()} == {"technical-1008"}

    furious = read(BY_ID["deliveries-1002"])[1]
    first, last = np.array_split(furious, 2)
    assert np.sqrt(np.mean(last**2)) > 1.5 * np.sqrt(np.mean(first**2))


def test_every_sidecar_states_every_fact():
    sidecars = {path.stem: json.loads(path.with_suffix(".json").read_text()) for path in RECORDINGS}
    for path in RECORDINGS:
        facts = sidecars[path.stem]
        assert facts["call_id"] == path.stem
        assert facts["channels"] == {"0": "agent", "1": "customer"}
        assert all(isinstance(facts[name], str) and facts[name] for name in ("agent_id", "customer_id", "queue", "language"))
        started_at = datetime.fromisoformat(facts["started_at"])
        assert started_at.utcoffset() is not None and started_at.date().isoformat() == path.parent.name
    assert {path.parent.name for path in RECORDINGS} == {"2026-11-18", "2026-11-19", "2026-11-20"}
    assert Counter(facts["queue"] for facts in sidecars.values()) == {"billing": 4, "deliveries": 4, "technical": 4}
    assert [call_id for call_id, facts in sidecars.items() if not facts["notice_given"]] == ["deliveries-1009"]
    assert len(list(CALLS.rglob("*.json"))) == len(RECORDINGS)


def test_the_shipped_calls_are_those_of_the_dialogues():
    assert {(call.call_id, call.suffix, call.started_at[:10]) for call in DIALOGUES} == {
        (path.stem, path.suffix, path.parent.name) for path in RECORDINGS
    }
    for call in DIALOGUES:
        assert json.loads(BY_ID[call.call_id].with_suffix(".json").read_text()) == make_calls.sidecar(call)
        assert {mood for _, mood, _ in call.lines} <= make_calls.GAIN_DB.keys()
        assert call.agent_voice != call.customer_voice


def test_most_lines_of_customers_are_neutral_and_two_calls_get_angry():
    moods = {call.call_id: [mood for role, mood, _ in call.lines if role == "customer"] for call in DIALOGUES}
    spoken = [mood for each in moods.values() for mood in each]
    assert 0.6 <= spoken.count("neutral") / len(spoken) <= 0.95
    for call_id, first, last in (
        ("deliveries-1002", "neutral", "anger"),
        ("billing-1011", "neutral", "anger"),
        ("deliveries-1006", "anger", "neutral"),
        ("billing-1007", "anger", "neutral"),
        ("deliveries-1012", "anger", "happiness"),
    ):
        assert (moods[call_id][0], moods[call_id][-1]) == (first, last), call_id


@pytest.mark.skipif(not DATA, reason="SER_DATA_DIR is not set: the demo calls are made of EMO-DB in it")
def test_calls_made_again_are_the_shipped_calls():
    found = make_calls.clips(Path(DATA))
    for call in DIALOGUES:
        made, shipped = make_calls.signal(call, found), read(BY_ID[call.call_id])
        if call.suffix == ".flac":
            np.testing.assert_allclose(made, shipped, atol=2 / 32768)
        else:  # an encoder may add some milliseconds
            assert made.shape[1] == pytest.approx(shipped.shape[1], abs=2_400)
        heard = [path for (role, *_), path in zip(call.lines, make_calls.chosen(call, found), strict=True) if role == "customer"]
        assert len(heard) - len(set(heard)) <= 1, call.call_id


def test_without_the_corpus_the_maker_says_what_to_set(monkeypatch, tmp_path):
    monkeypatch.setenv("SER_DATA_DIR", str(tmp_path / "none"))
    with pytest.raises(SystemExit, match="set SER_DATA_DIR to the folder that holds EMO-DB"):
        make_calls.make_calls(tmp_path / "calls")
    assert not (tmp_path / "calls").exists()


def test_made_calls_replace_their_own_files_only(monkeypatch, tmp_path):
    moods = {(voice, mood) for call in DIALOGUES for role, mood, _ in call.lines for voice in (call.agent_voice, call.customer_voice)}
    monkeypatch.setattr(make_calls, "clips", lambda data: {name: [Path("a.flac"), Path("b.flac")] for name in moods})
    monkeypatch.setattr(make_calls, "spoken", lambda path: np.ones(800, np.float32))
    folder = tmp_path / "2026-11-18"
    folder.mkdir()
    (folder / "billing-1001.wav").write_text("of an earlier format")
    (folder / "mine.txt").write_text("mine")
    make_calls.make_calls(tmp_path)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.*") if path.name != "mine.txt") == sorted(
        path.relative_to(CALLS) for path in CALLS.rglob("*.*")
    )
    assert (folder / "mine.txt").read_text() == "mine"
    assert read(tmp_path / "2026-11-19" / "deliveries-1006.wav").shape[0] == 2
