"""The catalogue: views over a lake wherever it lies, the file for BI tools, reading only, and answers in every format."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ser_tasks import schemas
from ser_tasks.lake import catalog, read_only, s3_access, sql_views
from ser_tasks.partitions import PARTITIONS
from ser_tasks.storage import open_store
from tests.factories.lakes import DAY, MODEL, NIGHT, POLICY, Call, angry, good_calls, segment, worse, write, write_calls, write_good_lake


def count(connection, sql):
    return read_only.query(connection, f"SELECT count(*) AS n FROM {sql}")["n"][0].as_py()


# Lakes


@pytest.mark.parametrize("made", [False, True], ids=["no lake", "empty lake"])
def test_an_empty_lake_has_empty_views(tmp_path, made):
    lake = tmp_path / "lake"
    if made:
        lake.mkdir()
    connection = catalog.connect(str(lake))
    for view in sql_views.all_views():
        assert count(connection, view.name) == 0
    assert set(catalog.run_checks(connection).values()) == {0}
    assert lake.exists() == made


def test_a_lake_with_some_tables_only(tmp_path):
    write(str(tmp_path), "recordings", [angry().recording])
    connection = catalog.connect(str(tmp_path))
    assert count(connection, "recordings") == 1
    assert count(connection, "call_emotions") == count(connection, "outcomes") == 0
    assert catalog.run_checks(connection)["recordings_without_outcome"] == 1


@pytest.mark.parametrize("name", ["two words", "it's", 'a "lake"', "a*b?[c]", "version=x/day=y", "ä{1,2}", "100%20"])
def test_any_folder_may_hold_a_lake(tmp_path, name):
    lake = str(tmp_path / name)
    write_good_lake(lake)
    write_good_lake(str(tmp_path / "ab"))
    connection = catalog.connect(lake)
    assert count(connection, "call_emotions") == len([call for call in good_calls() if call.facts])
    found = read_only.query(connection, "SELECT DISTINCT day, version FROM segments").to_pylist()
    assert found == [{"day": DAY, "version": f"{MODEL}.{POLICY}"}]


def test_a_lake_that_duckdb_cannot_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match="another folder"):
        catalog.connect(str(tmp_path / "back\\slash"))


def test_a_file_is_no_lake(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="give the folder"):
        catalog.connect(str(tmp_path / "file"))


def test_columns_have_the_types_of_the_schemas(tmp_path):
    write_good_lake(str(tmp_path / "lake"))
    for lake in ("lake", "no lake"):
        connection = catalog.connect(str(tmp_path / lake))
        for table, schema in schemas.TABLES.items():
            found = read_only.query(connection, f"FROM {table}").schema
            expected = [*schema, *(pa.field(key, {"day": pa.date32(), "version": pa.string()}[key]) for key in PARTITIONS[table])]
            expected += [pa.field("label", pa.string())] if table == "segments" else []
            assert [(field.name, field.type) for field in found] == [(field.name, field.type) for field in expected]


def test_a_part_that_comes_later_is_seen(tmp_path):
    lake = str(tmp_path)
    write_calls(lake, [angry()])
    connection = catalog.connect(lake)
    write_calls(lake, [worse(day=DAY + timedelta(days=1), chunk="c2")])
    assert count(connection, "call_emotions") == 2


def test_what_is_no_part_is_not_read(tmp_path):
    lake = str(tmp_path)
    write_calls(lake, [angry()])
    folder = next(Path(lake, "outcomes").glob("*/*"))
    (folder / ".c2.parquet.1234.tmp").write_bytes(b"half a part")
    assert count(catalog.connect(lake), "outcomes") == 1


@pytest.mark.parametrize("order", [("old", "new"), ("new", "old")])
def test_an_older_part_lacks_a_column_and_a_newer_one_has_more(tmp_path, order):
    lake = str(tmp_path)
    write_calls(lake, [angry(chunk=order[0]), worse(chunk=order[1])])
    for part in Path(lake, "call_emotions").rglob("*.parquet"):
        rows = pq.ParquetFile(part).read()
        if part.stem == "old":
            rows = rows.drop_columns(["overlap_s", "escalated"])
            rows = rows.select(rows.column_names[::-1])
        else:
            rows = rows.append_column("of_the_future", pa.array([1] * len(rows)))
        pq.write_table(rows, part)
    found = read_only.query(
        catalog.connect(lake), "SELECT call_id, escalated, duration_s FROM call_emotions ORDER BY duration_s"
    ).to_pylist()
    old, new = ("worse", "angry") if order[0] == "new" else ("angry", "worse")
    escalated = {old: None, new: new == "worse"}
    assert found == [{"call_id": name, "escalated": escalated[name], "duration_s": s} for name, s in (("worse", 20.0), ("angry", 40.0))]


@pytest.mark.parametrize("sql", ["FROM segments_all WHERE day = DATE '2026-11-22'", "FROM call_emotions_all WHERE version LIKE 'crnn%'"])
def test_a_filter_on_day_or_version_reads_only_those_parts(tmp_path, sql):
    lake = str(tmp_path)
    for n in range(4):
        write_calls(lake, [angry(day=DAY + timedelta(days=n), chunk=f"c{n}", model="crnn-1" if n == 2 else MODEL)])
    plan = read_only.query(catalog.connect(lake), f"EXPLAIN ANALYZE {sql}")["explain_value"][0].as_py()
    assert "Total Files Read: 1" in plan
    assert "Total Files Read: 4" in read_only.query(catalog.connect(lake), "EXPLAIN ANALYZE FROM segments_all")["explain_value"][0].as_py()


def test_since_reads_only_parts_of_later_days(tmp_path):
    lake = str(tmp_path)
    write_calls(lake, [angry(), worse(day=DAY + timedelta(days=1), chunk="c2")])
    connection = catalog.connect(lake, since=DAY + timedelta(days=1))
    assert read_only.query(connection, "SELECT DISTINCT call_id FROM segments")["call_id"].to_pylist() == ["worse"]
    plan = read_only.query(connection, "EXPLAIN ANALYZE FROM outcomes_all")["explain_value"][0].as_py()
    assert "Total Files Read: 1" in plan
    assert sum(catalog.run_checks(connection).values()) == 0


@pytest.mark.usefixtures("without_comments")
def test_cursors_and_readers_in_other_time_zones_see_the_same_dates(tmp_path):
    lake, asked = str(tmp_path / "lake"), "SELECT night, (SELECT min(started_at)::VARCHAR FROM call_emotions) AS start FROM nights"
    write_good_lake(lake)
    with catalog.connect(lake) as connection:
        cursor = connection.cursor()
        assert cursor.sql("SELECT value, scope FROM duckdb_settings() WHERE name = 'TimeZone'").fetchall() == [("UTC", "GLOBAL")]
        assert cursor.sql(asked).fetchall() == [(NIGHT.date(), "2026-11-20 09:00:00+00")]
    with duckdb.connect(catalog.write_catalog(lake, tmp_path / "w.duckdb"), read_only=True) as connection:
        connection.execute("SET TimeZone = 'America/New_York'")
        assert connection.sql(asked).fetchall() == [(NIGHT.date(), "2026-11-20 04:00:00-05")]


def test_a_moment_is_told_in_minutes_and_seconds(tmp_path):
    write_calls(
        str(tmp_path), [Call("late", [segment(110.8, 117, (0.8, 0.1, 0.1, 0)), segment(59.9, 62, (0, 0.8, 0.2, 0))], duration_s=120)]
    )
    with catalog.connect(str(tmp_path)) as connection:
        assert connection.sql("SELECT w.moment, b.moment FROM worst_calls AS w, best_calls AS b").fetchall() == [("01:50", "00:59")]


# pandas and Arrow


def test_pandas_and_arrow_get_frames_tables_and_batches(tmp_path):
    write_good_lake(str(tmp_path))
    goals = pd.DataFrame({"queue": ["sales"], "goal": [0.1]})
    with catalog.connect(str(tmp_path)) as connection:
        frame = connection.sql("SELECT call_id, share_anger, goal FROM call_emotions JOIN goals USING (queue) ORDER BY call_id").df()
        table = connection.sql("FROM segments").to_arrow_table()
        batches = list(connection.execute("FROM segments WHERE day = ?", [str(DAY)]).to_arrow_reader(2))
    assert frame.call_id.tolist() == ["angry", "silent", "worse"] and set(frame.goal) == {0.1} == set(goals.goal)
    assert table.schema.field("p_anger").type == pa.float32() and sum(map(len, batches)) == len(table) == 7 and len(batches) > 1
    with pytest.raises(duckdb.ConnectionException, match="closed"):
        connection.sql("FROM segments")


def test_threads_ask_on_cursors_of_their_own(tmp_path):
    write_good_lake(str(tmp_path))

    def ask(number):
        with connection.cursor() as cursor:
            cursor.execute(f"SET VARIABLE number = {number}")
            return cursor.execute("SELECT getvariable('number'), count(*) FROM call_emotions").fetchone()

    with catalog.connect(str(tmp_path)) as connection, ThreadPoolExecutor(4) as threads:
        assert list(threads.map(ask, range(12))) == [(number, 4) for number in range(12)]
        assert count(connection, "call_emotions") == 4  # a cursor's end is not the connection's


def test_nothing_can_be_written_through_the_views(tmp_path):
    write_good_lake(str(tmp_path))
    parts = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    with catalog.connect(str(tmp_path)) as connection:
        for sql in ("DELETE FROM outcomes", "UPDATE parts.outcomes SET outcome = 'scored'", "INSERT INTO runs SELECT * FROM runs"):
            with pytest.raises(duckdb.Error, match="not an table|base table"):
                connection.execute(sql)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")} == parts


# The file for BI tools


def read_catalog(path, barrier, results):
    with duckdb.connect(path, read_only=True) as connection:
        barrier.wait(timeout=30)  # both have it open now
        results.put(connection.sql("SELECT count(*) FROM call_emotions").fetchone()[0])


@pytest.mark.usefixtures("without_comments")
def test_the_catalogue_file_opens_in_several_processes_and_sees_later_parts(tmp_path):
    lake, out = str(tmp_path / "lake"), tmp_path / "new folder" / "lake.duckdb"
    write_calls(lake, [angry()])
    assert catalog.write_catalog(lake, out) == out
    write_calls(lake, [worse(chunk="c2")])
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    readers = [context.Process(target=read_catalog, args=(str(out), barrier, results)) for _ in range(2)]
    for reader in readers:
        reader.start()
    assert [results.get(timeout=60) for _ in readers] == [2, 2]
    for reader in readers:
        reader.join()


@pytest.mark.usefixtures("without_comments")
def test_the_catalogue_file_is_replaced_under_a_reader(tmp_path):
    lake, out = str(tmp_path / "lake"), tmp_path / "warehouse.duckdb"
    write_good_lake(lake)
    catalog.write_catalog(lake, out)
    with duckdb.connect(out, read_only=True) as reader:
        catalog.write_catalog(lake, out)
        assert reader.sql("SELECT count(*) FROM outcomes").fetchone() == (5,)
    with duckdb.connect(out, read_only=True) as reader:
        assert reader.sql("SELECT count(*) FROM outcomes").fetchone() == (5,)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["warehouse.duckdb"]


@pytest.mark.usefixtures("without_comments")
def test_the_catalogue_file_works_from_any_folder_and_under_any_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_good_lake("a lake/it's")
    catalog.write_catalog("a lake/it's", "ware house.duckdb")
    monkeypatch.chdir("/")
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{tmp_path / 'ware house.duckdb'}' AS attached (READ_ONLY)")
        assert connection.sql("SELECT count(*) FROM attached.worst_calls").fetchone() == (2,)


def test_the_catalogue_file_explains_itself(tmp_path):
    with duckdb.connect(catalog.write_catalog(str(tmp_path / "lake"), tmp_path / "w.duckdb")) as connection:
        comments = "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal AND schema_name = 'main'"
        assert dict(connection.sql(comments).fetchall()) == {view.name: view.question for view in sql_views.all_views()}
        of_columns = "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE schema_name = 'main' AND NOT internal"
        comments = {(view, column): comment for view, column, comment in connection.sql(of_columns).fetchall()}
        assert comments["segments", "snr_db"] == schemas.SEGMENTS.field("snr_db").metadata[b"meaning"].decode()
        assert comments["week_on_week", "week"] == "Monday of the week"
        assert comments.keys() >= {(view.name, "what") for view in sql_views.all_views() if view.folder == "checks"}
        assert all(comments.values())


def test_a_folder_is_no_catalogue_file(tmp_path):
    with pytest.raises(IsADirectoryError, match="warehouse.duckdb"):
        catalog.write_catalog(str(tmp_path / "lake"), tmp_path)


# Reading only


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """One for all tests that follow: nothing that is asked may change it."""
    lake = str(tmp_path_factory.mktemp("good") / "lake")
    write_good_lake(lake)
    return catalog.connect(lake)


@pytest.mark.parametrize(
    "sql",
    [
        "WITH a AS (SELECT 1 AS x) FROM a",
        "FROM call_emotions LIMIT 1;",
        "DESCRIBE call_emotions",
        "SUMMARIZE runs",
        "SHOW TABLES",
        "-- a comment\nEXPLAIN SELECT 1",
        "PIVOT outcomes ON outcome IN ('scored', 'failed') USING count(*) GROUP BY day",
    ],
)
def test_reading_is_allowed(good, sql):
    assert read_only.query(good, sql).num_rows > 0


@pytest.mark.parametrize(
    "sql",
    [
        "DROP VIEW outcomes",
        "CREATE TABLE x AS SELECT 1",
        "INSERT INTO outcomes SELECT 1",
        "COPY (SELECT 1) TO '{file}'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{file}'",
        "/* so */ EXPLAIN ANALYZE COPY (SELECT 1) TO '{file}'",
        "ATTACH '{file}'",
        "SET threads = 1",
        "EXPORT DATABASE '{file}'",
        "INSTALL excel",
        "LOAD json",
        "CALL enable_logging(storage_path = '{file}')",
        "FROM enable_logging(storage_path = '{file}')",
        "SELECT 'ä', (SELECT count(*) FROM system.main.\"Enable_Logging\" /* so */ -- and so\n (storage_path = '{file}'))",
        "SET VARIABLE x = (SELECT count(*) FROM enable_profiling(save_location = '{file}'))",
        "EXPLAIN ANALYZE FROM enable_profiling(save_location = '{file}')",
        "FROM query('FROM enable_' || 'logging(storage_path = ''{file}'')')",
        "PRAGMA enable_profiling",
        "PRAGMA copy_database('memory', '{file}')",
        "PREPARE x AS SELECT 1",
        "CREATE OR REPLACE VIEW outcomes AS SELECT 1",
        "CREATE SECRET (TYPE s3)",
        "USE memory.parts",
        "BEGIN",
        "UPDATE outcomes SET outcome = 'scored'",
        "DELETE FROM outcomes",
        "MERGE INTO outcomes USING runs ON true WHEN MATCHED THEN DELETE",
        "CHECKPOINT",
        "VACUUM",
    ],
)
def test_writing_is_not_allowed(good, tmp_path, sql):
    before = sorted(path for path in tmp_path.rglob("*"))
    with pytest.raises(PermissionError, match="only reading is"):
        read_only.query(good, sql.format(file=tmp_path / "written"))
    assert sorted(path for path in tmp_path.rglob("*")) == before
    assert count(good, "outcomes") == 5


@pytest.mark.parametrize(
    ("sql", "message"),
    [("", "no SQL statement"), ("SELECT 1; FROM runs", "one at a time"), ("PIVOT runs ON device", r"IN \(values\)")],
)
def test_exactly_one_statement(good, sql, message):
    with pytest.raises(ValueError, match=message):
        read_only.query(good, sql)


def test_faulty_sql_is_pointed_at(good):
    with pytest.raises(duckdb.Error, match=r'Did you mean "call_emotions"'):
        read_only.query(good, "FROM call_emotion")
    with pytest.raises(duckdb.Error, match=r"(?s)LINE 2: WHERE queu = 'sales'\n +\^"):
        read_only.query(good, "FROM call_emotions\nWHERE queu = 'sales'")


def test_views_are_listed_with_their_questions():
    listed = {view.name: view for view in sql_views.all_views()}
    assert listed["worst_calls"] == ("worst_calls", "marts", "Which calls sound worst, and where in the recording is it?")
    assert [view.folder for view in sql_views.all_views()] == sorted(
        (view.folder for view in sql_views.all_views()), key=sql_views.FOLDERS.index
    )


def test_a_faulty_file_is_named(tmp_path, monkeypatch):
    for folder in sql_views.FOLDERS:
        (tmp_path / folder).mkdir()
    (tmp_path / "marts" / "mine.sql").write_text("-- What?\nSELECT nothing FROM nowhere")
    monkeypatch.setattr(sql_views, "SQL_FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"(?s)sql/marts/mine.sql is no view:.*nowhere"):
        catalog.connect(str(tmp_path / "lake"))


# S3


@pytest.mark.parametrize("prefix", [pytest.param("", marks=pytest.mark.slow), "/a lake/it's [1]"])
def test_a_lake_on_s3_answers_as_a_folder_does(s3, tmp_path, prefix):
    lake = f"s3://{s3.bucket('lake')}{prefix}"
    write_good_lake(lake)
    write_good_lake(str(tmp_path / "lake"))
    there, here = catalog.connect(lake), catalog.connect(str(tmp_path / "lake"))
    for view in sql_views.all_views():
        sql = f"FROM {view.name} ORDER BY ALL"
        assert read_only.query(there, sql).equals(read_only.query(here, sql))
    write_calls(lake, [worse(day=date(2026, 11, 22), chunk="c9", etag="e2", planned_at=NIGHT + timedelta(days=2))])
    assert read_only.query(there, "SELECT day FROM call_emotions WHERE call_id = 'worse'")["day"].to_pylist() == [date(2026, 11, 22)]


def test_connecting_lists_each_table_once(faulty_s3, s3):
    lake = f"s3://{s3.bucket('lake')}/emotions"
    write_good_lake(lake)
    faulty_s3.choose(lambda request: None)  # forget the requests so far
    catalog.connect(lake).close()
    listed = [request.prefix for request in faulty_s3.requests if request.prefix is not None]

    assert sorted(prefix for prefix in listed if prefix != "emotions/") == sorted(f"emotions/{table}/day=" for table in schemas.TABLES)


def test_an_empty_bucket_has_empty_views(s3):
    connection = catalog.connect(f"s3://{s3.bucket('lake')}/not/yet")
    assert {count(connection, view.name) for view in sql_views.all_views()} == {0}


@pytest.mark.usefixtures("without_comments")
def test_no_credentials_reach_the_catalogue_file(s3, tmp_path):
    lake = f"s3://{s3.bucket('lake')}"
    write_good_lake(lake)
    out = catalog.write_catalog(lake, tmp_path / "w.duckdb")
    assert s3.secret_key.encode() not in out.read_bytes() and s3.access_key.encode() not in out.read_bytes()
    with duckdb.connect(out, read_only=True) as connection:
        assert connection.sql("SELECT name FROM duckdb_secrets()").fetchall() == []
        s3_access.open_s3(connection, lake)
        assert connection.sql("SELECT count(*) FROM outcomes").fetchone() == (5,)


def test_wrong_or_no_credentials_raise(s3, monkeypatch):
    lake = f"s3://{s3.bucket('lake')}"
    write_good_lake(lake)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    open_store.cache_clear()
    with pytest.raises(PermissionError, match="check AWS_SECRET_ACCESS_KEY"):
        catalog.connect(lake)
    open_store.cache_clear()
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(PermissionError, match="AWS_ACCESS_KEY_ID"):
        catalog.connect(lake)


FAILURES = [
    duckdb.HTTPException("ETag on reading file was initially x and now it returned y"),
    duckdb.InvalidInputException("No magic bytes found at end of file"),
    duckdb.Error("TProtocolException: Invalid data"),
    duckdb.IOException('IO Error: No files found that match the pattern "/lake/outcomes/day=2026-11-23/version=a/30.parquet"'),
    UnicodeDecodeError("utf-8", b"\xc0", 0, 1, "invalid start byte"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: str(failure)[:20])
def test_a_part_replaced_while_it_is_read_is_read_again(tmp_path, failure, monkeypatch):
    """A connection whose first reading fails as DuckDB's does when the bytes under it changed."""
    write_good_lake(str(tmp_path))
    monkeypatch.setattr(read_only, "RETRY_PAUSES_S", (0, 0))

    class Unlucky:
        def __init__(self, failures):
            self.connection, self.failures = catalog.connect(str(tmp_path)), failures

        def extract_statements(self, sql):
            return self.connection.extract_statements(sql)

        def execute(self, sql, *parameters):
            if parameters and self.failures:
                self.failures -= 1
                raise failure
            return self.connection.execute(sql, *parameters)

    assert read_only.query(Unlucky(2), "FROM outcomes").num_rows == 5
    with pytest.raises(type(failure)):
        read_only.query(Unlucky(3), "FROM outcomes")


# For one viewer


@pytest.mark.usefixtures("without_comments")
def test_a_catalogue_of_some_queues_shows_their_calls_in_every_view(tmp_path):
    lake, speech = str(tmp_path / "lake"), [segment(0, 2, (0.9, 0.0, 0.1, 0.0))]
    moved = {"planned_at": NIGHT + timedelta(days=1), "scored_at": NIGHT + timedelta(days=1, minutes=5), "etag": "e2", "chunk": "c2"}
    write_calls(
        lake,
        [
            Call("of-billing", speech, queue="billing"),
            Call("of-sales", speech, queue="sales"),
            Call("of-none", speech, queue=None),
            Call("left", speech, queue="billing"),
            Call("came", speech, queue="sales"),
            Call("broken", [], outcome="quarantined", reason_code="empty"),
        ],
    )
    write_calls(lake, [Call("left", speech, queue="sales", **moved), Call("came", speech, queue="billing", **moved)])
    path = catalog.write_catalog(lake, tmp_path / "billing.duckdb", ["billing"])
    with duckdb.connect(path, read_only=True) as connection:
        for view in sql_views.all_views():
            for row in connection.execute(f"FROM {view.name}").to_arrow_table().to_pylist():
                assert {row.get("call_id"), row.get("recording_id")} & {None, "of-billing", "came", "id-of-billing", "id-came"}, view.name
                assert row.get("queue") in (None, "billing") or view.name.endswith("_all"), view.name
        names = "SELECT list(DISTINCT call_id ORDER BY call_id) FROM {}"
        for view in ("calls", "segments", "segments_all", "outcomes", "parts.outcomes", "parts.segments"):
            assert connection.execute(names.format(view)).fetchall() == [(["came", "of-billing"],)], view
        texts = connection.execute("SELECT sql FROM duckdb_views() WHERE NOT internal").fetchall()
        assert sum("read_parquet" in text for (text,) in texts) == len(schemas.TABLES)


def test_a_catalogue_of_a_queue_that_no_call_has_is_refused(tmp_path):
    write_calls(str(tmp_path / "lake"), [Call("one", [], outcome="no_speech", queue="billing")])
    with pytest.raises(ValueError, match="No call has the queue 'biling': did you mean 'billing'"):
        catalog.write_catalog(str(tmp_path / "lake"), tmp_path / "out.duckdb", ["biling"])
    assert not (tmp_path / "out.duckdb").exists()
