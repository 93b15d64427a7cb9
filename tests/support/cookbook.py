"""The lake of sql/COOKBOOK.md, and the answers on that page.

    python -m tests.support.cookbook FOLDER    # makes FOLDER/lake, the made-up year of making_year.py, and FOLDER/csat.csv
    python -m tests.support.cookbook           # asks every question of the page anew and writes the answers into it

Beside the stories of the year, one quiet week was scored again by a second model, and customers rated some calls of December.
"""

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from typer.testing import CliRunner

from flows.cli import app
from ser_tasks import schemas
from ser_tasks.lake import catalog, parts, sql_views
from ser_tasks.lake.sql_text import literal
from ser_tasks.query.shell import Shell
from tests.factories.year import KNOWN, POLICY, UNSURE_BELOW, VERSION, _summarise, make_year

PAGE = sql_views.SQL_FOLDER / "COOKBOOK.md"
BLOCK = re.compile(r"```(sql|bash|python)\n((?:(?!```).)*)```\n\n```text\n(?:(?!```).)*```", re.DOTALL)
"""A question, and the answer below it."""
COLUMNS = 140
"""Width of the answers."""

RESCORED = [date(2025, 3, 10) + timedelta(days=n) for n in range(7)]
RESCORED_AT = datetime(2025, 4, 15, 6)
MODEL = "ge2e_tcn-1-bbbb"
LOUDER = 0.8
"""What the second model makes of anger: it hears less of it."""


def make_lake(folder: Path) -> str:
    """Makes the lake and the ratings in a folder, and returns the lake's."""
    lake = folder / "lake"
    make_year(lake)
    draw = np.random.default_rng(3)
    for day in RESCORED:
        _rescore(lake, day, draw)
    with catalog.connect(str(lake)) as connection:
        connection.execute(
            f"""
            COPY (
                SELECT call_id, greatest(1, least(5, round(4.3 - 4 * share_anger + 2 * luck)))::INT AS rating
                FROM (SELECT *, ('0x' || md5(call_id)[:4])::INT / 65536 - 0.5 AS luck FROM call_emotions)
                WHERE call_date >= '2025-12-01' AND outcome = 'scored' AND md5(call_id)[-1] IN ('0', '1')
                ORDER BY call_id
            ) TO {literal(str(folder / "csat.csv"))}
            """
        )
    return str(lake)


def _rescore(lake: Path, day: date, draw: np.random.Generator) -> None:
    """A day's parts once more, as the second model heard the calls: less anger, and less often sure."""
    rows, part = {}, {}
    for table in ("outcomes", "call_emotions", "segments"):
        [part[table]] = (lake / parts.folder(table, day=day, version=VERSION)).glob("*.parquet")
        made = pq.ParquetFile(part[table]).read()
        given = {"model": MODEL, "run_id": "rescore", "scored_at": RESCORED_AT}
        for name, value in given.items():
            made = _replaced(made, name, [value] * len(made))
        rows[table] = made
    scored = np.flatnonzero(rows["segments"]["emotion"].is_valid())
    heard = rows["segments"].take(scored)
    p = np.stack([heard[f"p_{emotion}"].to_numpy() for emotion in KNOWN])
    p = p * np.array([[LOUDER], [1], [1], [1]]) + 0.3 * draw.dirichlet([1, 1, 1, 1], len(scored)).T
    p = (np.floor(p / p.sum(axis=0) * 2**14) / 2**14).astype(np.float32)  # so that float32 holds them exactly
    p[p.argmax(axis=0), np.arange(len(scored))] += (1 - p.sum(axis=0)).astype(np.float32)
    of_call = {recording: place for place, recording in enumerate(rows["call_emotions"]["recording_id"].to_pylist())}
    spoken = {name: heard[name].to_numpy() for name in ("start_s", "end_s", "snr_db", "loudness_dbfs")} | {
        "call": np.array([of_call[recording] for recording in heard["recording_id"].to_pylist()]),
        "label": p.argmax(axis=0),
        "confidence": p.max(axis=0),
        "unsure": p.max(axis=0) < UNSURE_BELOW,
        **{f"p_{emotion}": p[place] for place, emotion in enumerate(KNOWN)},
    }
    calls = {"turns": rows["call_emotions"]["scored_segments"].to_numpy(), "duration_s": rows["call_emotions"]["duration_s"].to_numpy()}
    _summarise(calls, spoken)
    for name in set(calls) & set(schemas.CALL_EMOTIONS.names) - {"duration_s"}:
        rows["call_emotions"] = _replaced(rows["call_emotions"], name, calls[name])
    spoken["emotion"] = np.array(KNOWN, object)[spoken["label"]]
    for name in ("emotion", "confidence", "unsure", *(f"p_{emotion}" for emotion in KNOWN)):
        values = rows["segments"][name].to_pylist()
        for place, value in zip(scored, spoken[name].tolist(), strict=True):
            values[place] = value
        rows["segments"] = _replaced(rows["segments"], name, values)
    for table, made in rows.items():
        folder = lake / parts.folder(table, day=day, version=f"{MODEL}.{POLICY}")
        folder.mkdir(parents=True)
        pq.write_table(made, folder / part[table].name, compression="zstd")


def _replaced(rows: pa.Table, name: str, values: list | np.ndarray) -> pa.Table:
    field = rows.schema.field(name)
    return rows.set_column(rows.column_names.index(name), field, pa.array(values, field.type, from_pandas=True))


def answered(folder: Path, page: str) -> str:
    """The page with the answers that are given in the folder now."""
    with contextlib.chdir(folder), catalog.connect("lake") as connection:
        connection.execute("SET errors_as_json = true; SET parquet_metadata_cache = true")
        ways = {"sql": lambda sql: _by_shell(connection, sql), "bash": _by_command, "python": _by_python}
        return BLOCK.sub(lambda found: f"```{found[1]}\n{found[2]}```\n\n```text\n{ways[found[1]](found[2]).rstrip()}\n```", page)


def _by_shell(connection: catalog.duckdb.DuckDBPyConnection, sql: str) -> str:
    return _printed(lambda: Shell(connection.cursor()).answer(sql))  # a cursor: a variable ends with its question


def _by_command(command: str) -> str:
    answer = CliRunner().invoke(app, shlex.split(command.replace("\\\n", " "))[1:], env={"COLUMNS": str(COLUMNS)})
    assert answer.exit_code == 0, answer.output
    return answer.output


def _by_python(code: str) -> str:
    return _printed(lambda: exec(code, {}))


def _printed(work) -> str:
    written, columns = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(COLUMNS)
    try:
        with contextlib.redirect_stdout(written):
            work()
    finally:
        os.environ.pop("COLUMNS")
        if columns is not None:
            os.environ["COLUMNS"] = columns
    written.flush()
    return written.buffer.getvalue().decode()


if __name__ == "__main__":
    if sys.argv[1:]:
        print(make_lake(Path(sys.argv[1])))
    else:
        with tempfile.TemporaryDirectory() as folder:
            make_lake(Path(folder))
            PAGE.write_text(answered(Path(folder), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        print(PAGE)
