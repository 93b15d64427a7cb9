"""Whole nights over ten made-up calls, in this process or in one of their own, and the comparison of two lakes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ser_tasks.lake.catalog import connect
from tests.factories.calls import TWO_SIDED, two_sided, write_call

VOLATILE = ("run_id", "scored_at", "planned_at", "spent_s", "attempts")
"""Columns that tell of a run, not of a call."""


def ten_calls(folder: Path) -> Path:
    """Ten recordings over three days whose outcomes are known."""
    call = two_sided([("agent", 0.5, 4), ("customer", 5, 11), ("customer", 12, 16), ("agent", 15, 18)], 20, seed=3)
    facts = {"call_id": "both", "started_at": "2026-11-20T10:00:00Z", "agent_id": "ann.b", "customer_id": "c-4711", "queue": "sales"}
    write_call(folder, "2026-11-20/both.wav", call, facts | TWO_SIDED)
    write_call(folder, "2026-11-20/wide.flac", np.repeat(call, 2, axis=0), TWO_SIDED, rate_hz=16_000)
    write_call(folder, "2026-11-20/mono.wav", call.sum(axis=1))
    write_call(folder, "2026-11-20/nobody-says.wav", call)
    write_call(folder, "2026-11-20/untold.wav", call, TWO_SIDED | {"notice_given": False})
    write_call(folder, "2026-11-21/dual-mono.wav", np.repeat(call[:, 1:], 2, axis=1), TWO_SIDED)
    write_call(folder, "2026-11-21/quiet-customer.wav", call * [1, 0], TWO_SIDED)
    write_call(folder, "2026-11-21/bad-sidecar.wav", call, {"channels": "both"})
    (folder / "2026-11-21/empty.wav").write_bytes(b"")
    write_call(folder, "calls/CUST_98765_GUID_g1_AGENT_ZoeQ_DT_2026-11-22T08-00-00.wav", call, TWO_SIDED)
    return folder


def ask(lake, sql: str) -> list[tuple]:
    with connect(str(lake)) as connection:
        return connection.execute(sql).fetchall()


def rows(lake: Path, table: str) -> list[dict]:
    """Rows of every part as they lie there, volatile columns left out."""
    found = []
    for path in sorted((lake / table).rglob("*.parquet")):
        part = pq.ParquetFile(path).read().to_pylist()
        found += [{"part": path.relative_to(lake).as_posix()} | {k: v for k, v in row.items() if k not in VOLATILE} for row in part]
    return sorted(found, key=repr)


def same(one: Path, other: Path, without: tuple[str, ...] = ()) -> None:
    """Both lakes hold the same rows in parts of the same names, but for the columns ``without``; probabilities within 1e-5."""
    for table in ("outcomes", "call_emotions", "segments", "recordings"):
        assert len(rows(one, table)) == len(rows(other, table))
        for a, b in zip(rows(one, table), rows(other, table), strict=True):
            assert a.keys() == b.keys()
            for column, value in a.items():
                if column in without:
                    continue
                assert value == (pytest.approx(b[column], abs=1e-5) if isinstance(value, float) else b[column]), column


NIGHT_SCRIPT = (
    "import sys; sys.path.insert(0, sys.argv[1])\n"
    "from tests.factories.calls import run_night\n"
    "from ser_tasks.settings import Settings\n"
    "if __name__ == '__main__':\n"
    " run_night(*sys.argv[2:5], settings=Settings(chunk_recordings=2, scratch=sys.argv[5]))\n"
)


def start_night(tmp_path: Path, calls: Path, lake: Path, bundle: Path) -> subprocess.Popen:
    script = tmp_path / "night.py"
    script.write_text(NIGHT_SCRIPT)
    scratch = tmp_path / "scratch"
    arguments = [str(Path(__file__).parents[2]), str(calls), str(lake), str(bundle), str(scratch)]
    with (tmp_path / "stderr").open("ab") as stderr:
        return subprocess.Popen([sys.executable, str(script), *arguments], start_new_session=True, stderr=stderr)


def workers_of(tmp_path: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(tmp_path).encode() in (process / "cmdline").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return found
