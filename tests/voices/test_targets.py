"""Diarization error, and the agent's share of what is released, on calls composed of real clips of speakers that were not learnt from."""

import os
from pathlib import Path

import pytest

from ser_tasks.evaluation.mono_calls import CONDITIONS, run, table

HELD_OUT = ("ravdess", "nemo")
"""Corpora of which nothing was learnt."""
CALLS = 8


@pytest.mark.slow
def test_figures_meet_the_targets_on_held_out_speakers(tmp_path):
    if "SER_DATA_DIR" not in os.environ:
        pytest.skip("SER_DATA_DIR is not set: real audio is needed")
    data = Path(os.environ["SER_DATA_DIR"])
    noises = {file.stem: file for file in sorted((data / "noise").glob("*.flac"))}
    figures = table(run([data / "emotion" / name for name in HELD_OUT], CALLS, 1, noises, tmp_path))
    print(figures.to_string(index=False))
    of = figures[figures["corpus"] == "all"].set_index("condition")
    assert set(of.index) == set(CONDITIONS)
    assert of.loc["emotional", "agent_share"] <= 0.01
    assert of.loc["calm", "agent_share"] <= 0.01
    assert of.loc["calm", "der"] <= 0.05
    assert of.loc["emotional", "der"] <= 0.12
    assert (of["safe_released"] >= 0.6).all()
