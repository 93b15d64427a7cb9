"""The views in a process of their own: the same answers and errors as here, and a clear one where that process is lost."""

import os
import signal

import duckdb
import pytest

from ser_tasks.lake import catalog
from ser_tasks.lake.views_apart import ViewsLostError, ask_apart
from tests.factories.lakes import write_good_lake


def test_they_answer_as_they_would_here(tmp_path):
    write_good_lake(tmp_path / "lake")
    (part,) = (tmp_path / "lake" / "outcomes").rglob("*.parquet")
    part.with_name("again.parquet").write_bytes(part.read_bytes())  # every outcome twice
    found = ask_apart(str(tmp_path / "lake"), None, (), str(tmp_path), catalog.run_checks)
    with catalog.connect(str(tmp_path / "lake")) as connection:
        assert found == catalog.run_checks(connection)
    assert any(found.values())


def test_a_part_that_cannot_be_read_is_an_error_of_duckdb_unless_it_is_left_out(tmp_path):
    write_good_lake(tmp_path / "lake")
    (part,) = (tmp_path / "lake" / "outcomes").rglob("*.parquet")
    part.write_bytes(b"not Parquet")
    with pytest.raises(duckdb.Error):
        ask_apart(str(tmp_path / "lake"), None, (), str(tmp_path), catalog.run_checks)
    without = {part.relative_to(tmp_path / "lake").as_posix()}
    assert ask_apart(str(tmp_path / "lake"), None, without, str(tmp_path), catalog.run_checks)["outcomes_doubled"] == 0


def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_is_said_to_be_one(tmp_path):
    with pytest.raises(ViewsLostError, match="exit code -9.*every call is published"):
        ask_apart(str(tmp_path / "lake"), None, (), str(tmp_path), killed)
