"""Nothing that tells voices apart is left of a night: not in the lake, the scratch folder, or the logs."""

import logging
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ser_tasks.models.campplus import STATES
from ser_tasks.pipeline.extract import extract_batch
from ser_tasks.pipeline.worker_pool import WorkerPool
from ser_tasks.settings import Settings
from ser_tasks.voices import encoder, mono
from tests.factories.calls import run_night, tiny_bundle, write_call
from tests.factories.mono import mixed


@pytest.fixture
def kept(monkeypatch) -> list[np.ndarray]:
    """Every vector that the encoder made, raw and in its space: what must not be found anywhere."""
    vectors: list[np.ndarray] = []
    original = encoder.raw_vectors

    def watched(*arguments):
        raw = original(*arguments)
        vectors.extend([raw.copy(), encoder.in_space(raw)])
        return raw

    monkeypatch.setattr(encoder, "raw_vectors", watched)
    return vectors


class InProcess(WorkerPool):
    """A pool that does all in this process, where what it computes can be watched."""

    def __init__(self) -> None:
        self.count = 1

    def extract(self, recordings, spec, folder, progress):
        batch = extract_batch(recordings, spec, folder / "frames")
        progress(batch)
        return [batch]

    def map(self, function, tasks, *_):
        return [function(*task) for task in tasks]


def _traces(vectors: list[np.ndarray]) -> list[bytes]:
    """Runs of four values of each vector, as stored in four formats of numbers."""
    runs = [row[start : start + 4] for rows in vectors for row in rows for start in (0, 64, 128)]
    return [np.ascontiguousarray(run.astype(kind)).tobytes() for run in runs for kind in ("<f4", "<f8", "<f2", ">f4")]


def _night(folder: Path, name: str = "calls") -> None:
    write_call(folder / name, "2026-11-20/mix.wav", mixed(), {"direction": "inbound"})
    write_call(folder / name, "2026-11-20/second.wav", mixed(seed=5), {"direction": "inbound"})
    (folder / "scratch").mkdir(exist_ok=True)
    settings = Settings(scratch=str(folder / "scratch"))
    run_night(folder / name, folder / "lake", tiny_bundle(folder), InProcess(), policy="customers_mono", settings=settings)


def test_no_vector_is_left_anywhere(tmp_path, kept, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    _night(tmp_path)
    assert len(kept) >= 4 and all(rows.shape[1] == STATES for rows in kept)
    assert [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()] == []
    traces = set(_traces(kept))
    files = [path for path in (tmp_path / "lake").rglob("*") if path.is_file()]
    assert any(path.suffix == ".parquet" for path in files)
    for path in files:
        content = path.read_bytes()
        assert not any(trace in content for trace in traces), path
        if path.suffix == ".parquet":
            _no_vectors(pq.read_table(path), kept)
    written = "".join(capfd.readouterr()) + caplog.text
    assert not re.search(r"(-?\d*\.\d+[\s,]+){6}", written), "six numbers in a row"
    for value in {f"{number:.4g}" for rows in kept for number in rows[0][:16]}:
        assert f" {value} " not in written and f"[{value}" not in written


def _no_vectors(table, kept: list[np.ndarray]) -> None:
    """No column holds lists of numbers, and no column of numbers the values of a vector one after the other."""
    values = {float(np.float32(value)) for rows in kept for value in rows[:, :4].ravel() if abs(value) > 1e-6}
    for column in table.columns:
        assert not str(column.type).startswith(("list", "fixed_size", "binary", "large")), column.type
        if str(column.type) in ("float", "double"):
            assert not {float(np.float32(value)) for value in column.to_pylist() if value is not None} & values


def test_traces_would_be_found(kept, tmp_path):
    """The search finds a vector that is written."""
    row = np.arange(STATES, dtype=np.float32)
    content = b"x" + row.astype("<f4").tobytes()
    assert any(trace in content for trace in _traces([row[None]]))


def test_an_error_shows_no_vector(tmp_path, kept, monkeypatch, caplog):
    monkeypatch.setattr(mono, "split", lambda *_: 1 / 0)
    _night(tmp_path)
    assert "ZeroDivisionError" in caplog.text
    assert not re.search(r"(-?\d*\.\d+[\s,]+){6}", caplog.text)
    assert [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()] == []


def test_modules_hold_no_vector_after_a_call(tmp_path, kept):
    """Nothing module-level grows with calls: caches hold weights and tables alone."""
    _night(tmp_path)
    for module in (encoder, mono):
        for name, value in vars(module).items():
            assert not (isinstance(value, np.ndarray) and value.shape[-1:] == (STATES,)), name
