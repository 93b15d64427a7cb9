"""BI tools: processes of their own, with nothing but DuckDB, that read the catalogue file while others write, replace it and compact."""

import multiprocessing
import os
import time
from datetime import date
from pathlib import Path

import duckdb
import pytest

from ser_tasks.lake import catalog, s3_access
from ser_tasks.maintenance.compaction import compact
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from tests.factories.lakes import Call, segment, write_calls

LONG_AGO = date(2024, 5, 6)
LIMIT_S = 120
SPAWN = multiprocessing.get_context("spawn")
COUNTS = {
    "outcomes": "SELECT count(*), count(DISTINCT recording_id) FROM outcomes",
    "call_emotions": "SELECT count(*), count(DISTINCT recording_id) FROM call_emotions",
    "segments": "SELECT count(*), 2 * count(DISTINCT recording_id) FROM segments",
    "calls_by_day_and_queue": "SELECT coalesce(sum(calls), 0)::INT, coalesce(sum(scored), 0)::INT FROM calls_by_day_and_queue",
}
"""Two counts of each view that are the same where no row is doubled or torn from its call."""
ALL = {"outcomes": 24, "call_emotions": 24, "segments": 48, "calls_by_day_and_queue": 24}


def write_chunks(lake, first, last):
    for number in range(first, last):
        segments = [segment(0, 4, (0.1, 0.1, 0.7, 0.1)), segment(5, 9, (0.8, 0.1, 0.1, 0.0))]
        write_calls(lake, [Call(f"call-{number}", segments, chunk=f"c{number:03}", day=LONG_AGO)])


def opened(path):
    """The file as a BI tool opens it: read-only, with a secret of its own where the lake is on S3."""
    connection = duckdb.connect(path, read_only=True)
    if "AWS_ENDPOINT_URL" in os.environ:
        s3_access.load_httpfs(connection)
        host = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
        keys = f"KEY_ID '{os.environ['AWS_ACCESS_KEY_ID']}', SECRET '{os.environ['AWS_SECRET_ACCESS_KEY']}'"
        connection.execute(f"CREATE SECRET (TYPE s3, {keys}, ENDPOINT '{host}', URL_STYLE 'path', USE_SSL false, REGION 'us-east-1')")
    return connection


def keep_reading(path, stays_open, stop, results):
    """Asks every count again and again, on one connection or on a new one each time. Tells what it found wrong, the last counts, how
    many rounds it made, and how often a part was gone that it had just listed: then a person would ask again."""
    found, last, rounds, gone = [], dict.fromkeys(COUNTS, 0), 0, 0
    connection = opened(path)
    try:
        while True:
            ends = stop.is_set()  # one whole round after the end
            for view, sql in COUNTS.items():
                try:
                    rows, twin = connection.execute(sql).fetchone()
                except duckdb.IOException as error:
                    if "No such file" not in str(error) and "404" not in str(error):
                        raise
                    gone, ends = gone + 1, False
                    continue
                if rows != twin or rows < last[view]:
                    found.append(f"{view}: {rows} rows, {twin} that belong together, {last[view]} before")
                last[view] = rows
            rounds += 1
            if ends:
                break
            if not stays_open:
                connection.close()
                connection = opened(path)
    except Exception as error:
        found.append(f"{type(error).__name__}: {error}")
    results.put((found, last, rounds, gone))


def keep_replacing(lake, path, stop):
    while not stop.is_set():
        catalog.write_catalog(lake, path)
        time.sleep(0.05)


def compact_once(lake):
    compact(open_store(lake), Settings(), listing_s=5, reading_s=10)


def read_while(lake, path, *work):
    """What two readers tell that read while the work (functions with arguments) is done and the file replaced, each in a process."""
    stop, results = SPAWN.Event(), SPAWN.Queue()
    readers = [SPAWN.Process(target=keep_reading, args=(path, stays_open, stop, results), daemon=True) for stays_open in (True, False)]
    replacing = SPAWN.Process(target=keep_replacing, args=(lake, path, stop), daemon=True)
    workers = [SPAWN.Process(target=function, args=arguments, daemon=True) for function, *arguments in work]
    processes = [*readers, replacing, *workers]
    try:
        for process in processes:
            process.start()
        for process in workers:
            process.join(LIMIT_S)
            assert process.exitcode == 0
        stop.set()
        told = [results.get(timeout=LIMIT_S) for _ in readers]
        replacing.join(LIMIT_S)
        assert replacing.exitcode == 0
        return told
    finally:
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join()


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def lake(request, tmp_path):
    if request.param == "s3":
        return f"s3://{request.getfixturevalue('s3').bucket('lake')}/emotions"
    return str(tmp_path / "lake")


def test_readers_see_a_night_come_in_from_an_empty_lake(lake, tmp_path):
    path = str(catalog.write_catalog(lake, tmp_path / "warehouse.duckdb"))
    for wrong, last, rounds, gone in read_while(lake, path, (write_chunks, lake, 0, 12), (write_chunks, lake, 12, 24)):
        assert wrong == [] and gone == 0
        assert last == ALL
        assert rounds > 1  # one at least while the night wrote, on a machine however busy
    assert [file.name for file in Path(path).parent.iterdir() if file.is_file()] == ["warehouse.duckdb"]


@pytest.mark.slow
def test_readers_see_every_row_once_while_parts_are_merged(lake, tmp_path):
    """Who lists a merged part in the moment before it is deleted has to ask again, and never sees a wrong count."""
    write_chunks(lake, 0, 12)
    path = str(catalog.write_catalog(lake, tmp_path / "warehouse.duckdb"))
    for wrong, last, rounds, gone in read_while(lake, path, (compact_once, lake), (write_chunks, lake, 12, 24)):
        assert wrong == []
        assert last == ALL
        assert rounds > gone
    keys = [item.key for item in open_store(lake).list("outcomes/")]
    assert any("/merged-" in key for key in keys) and not any(key.endswith("/c000.parquet") for key in keys)
