"""A night's memory does not grow with its recordings."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

MARGIN = 1.15
"""A night of ten times the recordings may take so much of the memory: what varies from run to run, and the checks' share of it."""


def peak_mb(recordings: int, folder: Path) -> dict[str, float]:
    script = Path(__file__).with_name("growth.py")
    command = [sys.executable, str(script), "night", str(recordings)]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=600, check=False)
    assert answer.returncode == 0, answer.stderr[-3000:]
    found = json.loads(answer.stdout.splitlines()[-1])
    assert found["scored"] == recordings
    return found["peak_mb"]


@pytest.mark.slow
def test_a_thousand_recordings_take_the_memory_of_a_hundred(tmp_path):
    """Peak resident memory of the flow's process and of the largest worker, in whole nights of the real flow with two workers."""
    few, many = peak_mb(100, tmp_path), peak_mb(1000, tmp_path)
    assert min(few.values()) > 50  # both were found
    for process in ("flow", "largest worker"):
        assert many[process] < MARGIN * few[process], (process, few, many)
