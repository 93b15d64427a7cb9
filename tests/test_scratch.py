import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ser_tasks.scratch import atomic_folder, atomic_write, scratch_folder


def test_scratch_is_private_and_goes_with_its_run(tmp_path):
    with scratch_folder(str(tmp_path)) as folder:
        (folder / "frames").write_bytes(b"x")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert os.listdir(tmp_path) == []


def test_a_killed_run_s_scratch_is_removed_by_the_next_and_a_living_one_s_is_not(tmp_path):
    code = (
        "import sys, time\nfrom ser_tasks.scratch import scratch_folder\n"
        f"with scratch_folder({str(tmp_path)!r}) as f:\n (f / 'frames').write_bytes(b'x'); print(f, flush=True); time.sleep(60)"
    )
    killed, living = (subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2))
    try:
        names = [process.stdout.readline().strip() for process in (killed, living)]
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        with scratch_folder(str(tmp_path)):
            assert not os.path.exists(names[0])
            assert os.path.exists(names[1])
    finally:
        living.kill()
        living.wait()
        killed.stdout.close()
        living.stdout.close()


def test_an_atomic_write_replaces_the_file_at_the_end_of_the_block(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old" and temporary.name.startswith(".a.txt.") and temporary.suffix == ".tmp"
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]


def write_half(path: Path) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt


def fill(folder: Path, text: str, before_the_end: Callable[[], None]) -> None:
    with atomic_folder(folder) as temporary:
        (temporary / "a").write_text(text)
        before_the_end()


def interrupt() -> None:
    raise KeyboardInterrupt


def test_a_failed_atomic_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_half(path)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_an_atomic_folder_is_there_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "made"
    with pytest.raises(KeyboardInterrupt):
        fill(folder, "half", interrupt)
    assert os.listdir(tmp_path) == []
    fill(folder, "whole", lambda: None)
    assert (folder / "a").read_text() == "whole" and os.listdir(tmp_path) == ["made"]


def test_of_two_writers_of_an_atomic_folder_the_first_wins(tmp_path):
    folder = tmp_path / "made"
    with pytest.raises(OSError, match="not empty"):
        fill(folder, "late", lambda: fill(folder, "early", lambda: None))
    assert (folder / "a").read_text() == "early" and os.listdir(tmp_path) == ["made"]
