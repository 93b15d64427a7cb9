"""A night over calls composed of labelled clips, coded as phone calls: the tables say what was put in."""

import os
from pathlib import Path

import numpy as np
import pytest

from ser_tasks.datasets import read_labels_csv
from ser_tasks.datasets.telephone import read_trimmed
from ser_tasks.lake.catalog import connect
from tests.factories.calls import RATE_HZ, TWO_SIDED, run_night, write_call

PAUSE_S = 1.0


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Path:
    """Customers of EMO-DB, ten clips each: one turns angry, one calms down, one is sad; agents shout, and are not scored."""
    if "SER_DATA_DIR" not in os.environ:
        pytest.skip("SER_DATA_DIR is not set: real audio is needed")
    clips = read_labels_csv(Path(os.environ["SER_DATA_DIR"], "emotion", "emodb")).clips
    folder = tmp_path_factory.mktemp("known")
    stories = {"turns_angry": ("neutral", "anger"), "calms_down": ("anger", "neutral"), "is_sad": ("sadness", "sadness")}
    for number, (name, halves) in enumerate(stories.items()):
        speaker = sorted(clips.speaker.unique())[number]
        turns = []
        for emotion in halves:
            own = clips[(clips.speaker == speaker) & (clips.emotion == emotion)]
            turns += [read_trimmed(file) for file in own.file[:8]]
        gap = np.zeros(int(PAUSE_S * RATE_HZ), np.float32)
        customer = np.concatenate([part for turn in turns for part in (turn, gap)])
        agent = np.roll(np.resize(read_trimmed(clips[clips.emotion == "anger"].file.iloc[-1]), len(customer)), RATE_HZ // 2)
        facts = {"call_id": name} | TWO_SIDED
        noise = 3e-4 * np.random.default_rng(number).standard_normal((len(customer), 2))
        write_call(folder / "calls", f"2026-11-20/{name}.wav", np.stack([agent, customer], axis=1) + noise.astype(np.float32), facts)
    run = run_night(folder / "calls", folder / "lake", "ge2e_tcn")
    assert run["scored"] == 3 and set(run["checks"].values()) == {0}
    return folder / "lake"


def ask(lake: Path, query: str) -> list[tuple]:
    with connect(str(lake)) as connection:
        return connection.execute(query).fetchall()


def test_calls_say_what_was_put_in(lake):
    found = {name: row for name, *row in ask(lake, "SELECT call_id, negativity_change, mean_p_sadness, share_unsure FROM call_emotions")}
    assert found["turns_angry"][0] > 0.3 and found["calms_down"][0] < -0.3 and abs(found["is_sad"][0]) < 0.3
    assert found["is_sad"][1] > 0.5 and max(found["turns_angry"][1], found["calms_down"][1]) < 0.3
    assert ask(lake, "SELECT call_id FROM call_emotions WHERE escalated") == [("turns_angry",)]


def test_nobody_at_work_is_scored(lake):
    assert ask(lake, "SELECT DISTINCT role FROM segments WHERE emotion IS NOT NULL") == [("customer",)]
    assert ask(lake, "SELECT count(*) FROM segments WHERE role = 'agent' AND p_anger IS NOT NULL") == [(0,)]
