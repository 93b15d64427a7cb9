"""The cached views: made once for each version of what they are made from, never stale, and not needed."""

import multiprocessing
import os
import re
import shutil
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from ser_tasks import schemas
from ser_tasks.lake import catalog, sql_views, view_cache
from tests.factories.lakes import write_good_lake

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The cache folder, which does not exist yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ser-nightly" / "views"


@pytest.fixture
def built(monkeypatch):
    """The number of times that the views were created from their SQL, as a list of one entry each."""
    calls, create = [], sql_views.create

    def counted(connection, definitions):
        calls.append(1)
        create(connection, definitions)

    monkeypatch.setattr(sql_views, "create", counted)
    return calls


def described(connection):
    """Everything that a reader can see of the views: names, columns, types, comments, macros."""
    found = [
        connection.execute(sql).fetchall()
        for sql in (
            "SELECT schema_name, view_name, comment, column_count FROM duckdb_views() WHERE NOT internal ORDER BY ALL",
            "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal ORDER BY ALL",
            "SELECT function_name, parameters, macro_definition FROM duckdb_functions() WHERE NOT internal ORDER BY ALL",
            "SELECT schema_name FROM duckdb_schemas() WHERE NOT internal ORDER BY ALL",
            "SELECT database_name FROM duckdb_databases() WHERE NOT internal",
        )
    ]
    found[2] = [
        (name, parameters, re.sub(r"EXCLUDE \(([^)]*)\)", _in_order, definition or "")) for name, parameters, definition in found[2]
    ]
    return found


def _in_order(excluded):
    """The names after EXCLUDE, which DuckDB writes in an order of its own each time."""
    return f"EXCLUDE ({', '.join(sorted(excluded[1].split(', ')))})"


@pytest.fixture(scope="module")
def expected():
    """The description of views that are created without a cache."""
    with duckdb.connect() as connection:
        sql_views.create(connection, sql_views.read_definitions())
        return described(connection)


def test_copied_views_are_the_created_ones(expected, cache, built):
    for _ in range(3):
        with view_cache.connect() as connection:
            assert described(connection) == expected
    assert len(built) == 1
    assert len(list(cache.iterdir())) == 1


@pytest.mark.usefixtures("without_comments")
def test_answers_of_a_lake_are_those_of_created_views(cache, tmp_path):
    write_good_lake(str(tmp_path / "lake"))
    warehouse = catalog.write_catalog(str(tmp_path / "lake"), tmp_path / "warehouse.duckdb")  # made without the cache
    with catalog.connect(str(tmp_path / "lake")) as cached, duckdb.connect(warehouse, read_only=True) as plain:
        plain.execute("SET TimeZone = 'UTC'")
        for view in sql_views.all_views():
            sql = f"FROM {view.name} ORDER BY ALL"
            assert cached.execute(sql).fetchall() == plain.execute(sql).fetchall(), view.name


def test_views_are_read_while_a_result_is_open(cache):
    """In every way that DuckDB's Python client has."""
    with view_cache.connect() as connection:
        for read in (
            lambda: connection.table("runs").fetchall(),
            connection.sql("FROM runs").fetchall,
            lambda: connection.view("runs").to_arrow_table(),
        ):
            assert connection.execute("SELECT 1").fetchone() == (1,)  # its transaction is open until the end of the result is read
            assert len(read()) == 0
        with connection.cursor() as cursor:
            assert cursor.execute("SELECT 1").fetchone() == (1,)
            assert cursor.table("runs").fetchall() == []


def test_only_the_user_may_read_the_files(cache):
    view_cache.connect().close()
    [file] = cache.iterdir()
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700 and stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_changed_sql_file_gives_changed_views(cache, built, tmp_path, monkeypatch):
    folder = shutil.copytree(sql_views.SQL_FOLDER, tmp_path / "sql")
    monkeypatch.setattr(sql_views, "SQL_FOLDER", folder)
    view_cache.connect().close()
    (folder / "marts" / "mine.sql").write_text("-- What?\nSELECT 1 AS x")
    for value in ("1", "2"):
        (folder / "marts" / "mine.sql").write_text(f"-- What?\nSELECT {value} AS x")
        assert view_cache.connect().sql("FROM mine").fetchall() == [(int(value),)]
    (folder / "macros" / "twice.sql").write_text("CREATE MACRO twice(x) AS 2 * x")
    assert view_cache.connect().sql("SELECT twice(4)").fetchall() == [(8,)]
    (folder / "marts" / "mine.sql").unlink()
    with pytest.raises(duckdb.CatalogException, match="mine"):
        view_cache.connect().sql("FROM mine")
    assert len(built) == 5


def test_a_changed_schema_gives_changed_views(cache, tmp_path, monkeypatch):
    view_cache.connect().close()
    changed = tmp_path / "schemas.py"
    changed.write_bytes(sql_views.SCHEMAS.read_bytes() + b"# a column more")
    monkeypatch.setattr(sql_views, "SCHEMAS", changed)
    field = pa.field("of_the_future", pa.int32(), metadata={"meaning": "a new column"})
    monkeypatch.setitem(schemas.TABLES, "runs", schemas.TABLES["runs"].append(field))
    assert "of_the_future" in view_cache.connect().table("runs").columns


def test_another_version_of_duckdb_has_a_file_of_its_own(monkeypatch):
    before = sql_views.version()
    monkeypatch.setattr(duckdb, "__version__", "99.0")
    assert sql_views.version() != before


def test_a_faulty_sql_file_is_named_and_leaves_no_file(cache, tmp_path, monkeypatch):
    folder = shutil.copytree(sql_views.SQL_FOLDER, tmp_path / "sql")
    monkeypatch.setattr(sql_views, "SQL_FOLDER", folder)
    (folder / "marts" / "mine.sql").write_text("-- What?\nSELECT nothing FROM nowhere")
    with pytest.raises(ValueError, match=r"(?s)sql/marts/mine.sql is no view:.*nowhere"):
        view_cache.connect()
    assert list(cache.iterdir()) == []


def foreign_database(file):
    file.unlink()
    with duckdb.connect(file) as connection:
        connection.execute("CREATE VIEW outcomes AS SELECT 'foreign' AS outcome")


DAMAGES = {
    "empty": lambda file: file.write_bytes(b""),
    "cut off": lambda file: file.write_bytes(file.read_bytes()[:10_000]),
    "one bit": lambda file: file.write_bytes(bytes([*file.read_bytes()[:9000], 1 ^ file.read_bytes()[9000], *file.read_bytes()[9001:]])),
    "no DuckDB file": lambda file: file.write_bytes(b"SQLite format 3\0" * 1000),
    "foreign": foreign_database,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_foreign_file_is_replaced(expected, cache, built, damage):
    view_cache.connect().close()
    [file] = cache.iterdir()
    DAMAGES[damage](file)
    with view_cache.connect() as connection:
        assert described(connection) == expected
    built.clear()
    view_cache.connect().close()
    assert built == []  # there is a sound file again


def test_a_file_that_duckdb_refuses_is_not_needed(expected, cache, monkeypatch):
    def refuse(file):
        raise duckdb.IOException("Could not set lock on file")

    monkeypatch.setattr(view_cache, "copy_of", refuse)
    with view_cache.connect() as connection:
        assert described(connection) == expected


def test_a_folder_that_cannot_be_made_is_not_needed(expected, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with view_cache.connect() as connection:
        assert described(connection) == expected


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only_is_not_needed(expected, cache):
    cache.mkdir(parents=True, mode=0o500)
    with view_cache.connect() as connection:
        assert described(connection) == expected
    assert list(cache.iterdir()) == []


def test_a_user_without_a_home_gets_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(view_cache, "cache_folder", lambda: Path("~/.cache/ser-nightly/views"))
    view_cache.connect().close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_others_may_write_to_is_not_used(cache):
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    view_cache.connect().close()
    assert list(cache.iterdir()) == []


def connect_at(barrier, results):
    barrier.wait(timeout=60)
    with view_cache.connect() as connection:
        results.put(described(connection))


def test_processes_that_build_at_once_do_not_disturb_each_other(expected, cache):
    barrier, results = SPAWN.Barrier(2), SPAWN.Queue()
    processes = [SPAWN.Process(target=connect_at, args=(barrier, results)) for _ in range(2)]
    for process in processes:
        process.start()
    answers = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert answers == [expected] * 2
    assert {file.suffix for file in cache.iterdir()} == {".duckdb"}


def test_threads_connect_at_once(cache, expected):
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: described(view_cache.connect()), range(8))) == [expected] * 8


def test_old_files_go(cache):
    view_cache.connect().close()
    [own] = cache.iterdir()
    for number in range(view_cache.KEPT_FILES + 3):
        old = cache / f"{number:032}-{number:032}.duckdb"
        old.write_bytes(b"")
        os.utime(old, (number, number))
    abandoned, at_work = cache / "unfinished-abandoned", cache / "unfinished-at-work"
    abandoned.mkdir()
    at_work.mkdir()
    os.utime(abandoned, (0, time.time() - 2 * view_cache.ABANDONED_AFTER_S))
    own.unlink()
    view_cache.connect().close()
    left = {file.name for file in cache.iterdir()}
    assert own.name.split("-")[0] in {name.split("-")[0] for name in left}
    assert {name for name in left if name.startswith("unfinished")} == {"unfinished-at-work"}
    assert len([name for name in left if name.startswith("0" * 20)]) == view_cache.KEPT_FILES
    assert f"{0:032}-{0:032}.duckdb" not in left
