"""The checks in a process of their own: the same answers and errors as here, and a clear one where that process is lost."""

import os
import signal

import duckdb
import pytest

from ser_tasks.lake import catalog, checks_apart
from tests.factories.lakes import write_good_lake


def test_they_find_what_the_checks_here_find(tmp_path):
    write_good_lake(tmp_path / "lake")
    (part,) = (tmp_path / "lake" / "outcomes").rglob("*.parquet")
    part.with_name("again.parquet").write_bytes(part.read_bytes())  # every outcome twice
    found = checks_apart.run_checks(str(tmp_path / "lake"), None, (), str(tmp_path))
    with catalog.connect(str(tmp_path / "lake")) as connection:
        assert found == catalog.run_checks(connection)
    assert any(found.values())


def test_a_part_that_cannot_be_read_is_an_error_of_duckdb_unless_it_is_left_out(tmp_path):
    write_good_lake(tmp_path / "lake")
    (part,) = (tmp_path / "lake" / "outcomes").rglob("*.parquet")
    part.write_bytes(b"not Parquet")
    with pytest.raises(duckdb.Error):
        checks_apart.run_checks(str(tmp_path / "lake"), None, (), str(tmp_path))
    without = {part.relative_to(tmp_path / "lake").as_posix()}
    assert checks_apart.run_checks(str(tmp_path / "lake"), None, without, str(tmp_path))["outcomes_doubled"] == 0


def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_is_said_to_be_one(tmp_path, monkeypatch):
    monkeypatch.setattr(checks_apart, "_run_checks", killed)
    with pytest.raises(checks_apart.ChecksLostError, match="exit code -9.*every call is published"):
        checks_apart.run_checks(str(tmp_path), None, (), str(tmp_path))
