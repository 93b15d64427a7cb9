"""Plain parts against Delta Lake and DuckLake: two concurrent writers of three tables. The figures are in deploy/docs/decisions.md.

    pip install deltalake duckdb-extension-ducklake duckdb-extension-sqlite-scanner   # in an environment of its own, with this package
    python -m tests.benchmarks.table_formats FOLDER 100                              # chunks each of the two writers publishes

Prints CPU-seconds, wall seconds and conflicts for new chunks, for the same chunks again, and where both writers have the same.
"""

import contextlib
import functools
import importlib
import io
import multiprocessing
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.queues import Queue
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import write_deltalake

from ser_tasks.storage import open_store

ROWS = {"segments": 3000, "call_emotions": 50, "outcomes": 50}
"""Rows that a chunk adds to each table, in the order of writing."""
ATTEMPTS = 40
DAY = "2026-11-20"


def rows(table: str, chunk: str) -> pa.Table:
    n, draw = ROWS[table], np.random.default_rng(len(chunk))
    scores = {f"p_{number}": draw.random(n).astype("float32") for number in range(8)}
    return pa.table({"chunk_id": [chunk] * n, "recording_id": [f"{chunk}-{row % 50}" for row in range(n)], "day": [DAY] * n, **scores})


def publish_parts(folder: str, chunk: str, again: bool) -> None:
    store = open_store(f"{folder}/parts")
    for table in ROWS:
        buffer = io.BytesIO()
        pq.write_table(rows(table, chunk).drop_columns(["day"]), buffer, compression="zstd")
        store.write_bytes(f"{table}/day={DAY}/{chunk}.parquet", buffer.getvalue())


def publish_delta(folder: str, chunk: str, again: bool) -> None:
    how = {"mode": "overwrite", "predicate": f"chunk_id = '{chunk}'"} if again else {"mode": "append"}
    for table in ROWS:
        write_deltalake(f"{folder}/delta/{table}", rows(table, chunk), partition_by=["day"], **how)


def publish_ducklake(folder: str, chunk: str, again: bool) -> None:
    connection = ducklake(folder)
    connection.begin()
    try:
        for table in ROWS:
            if again:
                connection.execute(f"DELETE FROM lake.{table} WHERE chunk_id = ?", [chunk])
            connection.register("new", rows(table, chunk)).execute(f"INSERT INTO lake.{table} FROM new")
        connection.commit()
    except duckdb.Error:
        with contextlib.suppress(duckdb.Error):  # a failed commit has ended the transaction
            connection.rollback()
        raise


@functools.cache
def ducklake(folder: str) -> duckdb.DuckDBPyConnection:
    """This process's connection to the DuckLake of a folder: its catalogue in SQLite, its rows in Parquet files."""
    connection = duckdb.connect()
    for name in ("ducklake", "sqlite_scanner"):
        package = Path(str(importlib.import_module(f"duckdb_extension_{name}").__file__)).parent
        connection.execute(f"LOAD '{next(package.rglob('*.duckdb_extension'))}'")
    connection.execute(f"ATTACH 'ducklake:sqlite:{folder}/lake.sqlite' AS lake (DATA_PATH '{folder}/ducklake/')")
    return connection


PUBLISH: dict[str, Callable[[str, str, bool], None]] = {"parts": publish_parts, "delta": publish_delta, "ducklake": publish_ducklake}


def write(form: str, folder: str, chunks: list[str], again: bool, answers: "Queue[tuple[float, Counter[str]]]") -> None:
    """Publishes the chunks, each until it succeeds, and puts the CPU-seconds and the conflicts into the queue."""
    conflicts: Counter[str] = Counter()
    before_s = cpu_s()
    for chunk in chunks:
        for _ in range(ATTEMPTS):
            try:
                PUBLISH[form](folder, chunk, again)
                break
            except Exception as error:  # each format has errors of its own
                conflicts[f"{type(error).__name__}: {str(error).splitlines()[-1][:100]}"] += 1
                time.sleep(random.uniform(0.02, 0.12))
        else:
            conflicts["given up"] += 1
    answers.put((cpu_s() - before_s, conflicts))


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def two_writers(form: str, folder: str, writers: list[list[str]], again: bool) -> str:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    started = time.perf_counter()
    processes = [context.Process(target=write, args=(form, folder, chunks, again, answers)) for chunks in writers]
    for process in processes:
        process.start()
    found = [answers.get() for _ in processes]
    for process in processes:
        process.join()
    conflicts = sum((conflicts for _, conflicts in found), Counter())
    return f"{sum(seconds for seconds, _ in found):.1f} CPU-seconds, {time.perf_counter() - started:.1f} s, conflicts: {dict(conflicts)}"


def main(folder: str, count: int) -> None:
    own = [[f"{writer}-{number:04}" for number in range(count)] for writer in "ab"]
    connection = ducklake(folder)
    for table in ROWS:
        connection.register("new", rows(table, "none").slice(0, 0)).execute(f"CREATE TABLE lake.{table} AS FROM new")
        connection.execute(f"ALTER TABLE lake.{table} SET PARTITIONED BY (day)")
    connection.close()
    for form in PUBLISH:
        print(form, "new chunks:", two_writers(form, folder, own, False), flush=True)
        print(form, "the same again:", two_writers(form, folder, own, True), flush=True)
        print(form, "both the same:", two_writers(form, folder, [own[0], own[0]], True), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
