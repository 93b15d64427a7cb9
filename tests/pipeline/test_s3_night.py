"""Nights over a real S3 server: recordings here and lake there, least rights, odd keys, trouble at the start and in the middle."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ser_tasks.lake.catalog import connect, write_catalog
from ser_tasks.pipeline.worker_pool import WorkerPool
from ser_tasks.settings import Settings
from ser_tasks.storage import StoreAccessError, open_store
from tests.factories.calls import TWO_SIDED, night_of, run_night, two_sided, write_call
from tests.support.faulty_s3 import FaultyS3
from tests.support.s3 import contents, night_policy, rows_of, upload

OPERATIONS = Path(__file__).parents[2] / "deploy" / "OPERATIONS.md"
CALL = two_sided([("agent", 0.5, 3), ("customer", 4, 9)], 10, seed=3)


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """Three calls of two days: one scored, one withheld, one that is no audio."""
    folder = tmp_path_factory.mktemp("calls")
    write_call(folder, "2026-11-20/a.wav", CALL, TWO_SIDED | {"call_id": "a", "queue": "sales"})
    write_call(folder, "2026-11-20/mono.wav", CALL.sum(axis=1))
    (folder / "2026-11-21").mkdir()
    (folder / "2026-11-21/junk.wav").write_bytes(b"junk" * 1000)
    return folder


OUTCOMES = [("2026-11-20/a.wav", "scored"), ("2026-11-20/mono.wav", "withheld"), ("2026-11-21/junk.wav", "quarantined")]


@pytest.fixture(scope="module")
def proxy(s3_server):
    with FaultyS3(s3_server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def faulty_s3(s3, proxy, monkeypatch):
    """The AWS variables point at the proxy, which breaks nothing yet."""
    proxy.choose(lambda request: None)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    return proxy


@pytest.fixture(scope="module")
def workers(s3_server, proxy):
    """Processes keep the environment that they began with: these go through the proxy, and may do everything."""
    with WorkerPool(1) as pool, pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.variables(proxy.url).items():
            patch.setenv(name, value)
        pool.start()
        patch.undo()
        yield pool


@pytest.fixture
def own_workers():
    """A pool that starts with the environment of its test."""
    with WorkerPool(1) as pool:
        yield pool


def take(monkeypatch, identity: dict[str, str]) -> None:
    for name, value in identity.items():
        monkeypatch.setenv(name, value)
    open_store.cache_clear()


def ask(lake: str, query: str) -> list[tuple]:
    with connect(lake) as connection:
        return connection.execute(query).fetchall()


def test_a_night_with_the_storage_policy_s_rights_writes_the_lake_and_nothing_else(
    faulty_s3, s3, calls, bundle, own_workers, monkeypatch, tmp_path
):
    """Real rights, checked by the server, and the requests themselves: every one is a read, or lies in the lake's prefix."""
    source, lakes = s3.bucket("calls"), s3.bucket("lake")
    upload(s3, calls, source)
    s3.client.put_object(Bucket=lakes, Key="others/secret", Body=b"x")
    before = contents(s3, source)
    take(monkeypatch, s3.identity(*night_policy(source, lakes, "night/emotions")))
    lake = f"s3://{lakes}/night/emotions"
    run = run_night(f"s3://{source}", lake, bundle, own_workers)
    assert set(run["checks"].values()) == {0} and run["listed"] == 3
    assert run_night(f"s3://{source}", lake, bundle, own_workers)["planned"] == 0
    assert ask(lake, "SELECT key, outcome FROM outcomes ORDER BY key") == OUTCOMES
    assert contents(s3, source) == before
    for request in faulty_s3.requests:
        if request.method not in ("GET", "HEAD"):
            assert request.bucket == lakes and request.key.startswith("night/emotions/")
    with pytest.raises(StoreAccessError, match="may not write"):
        open_store(f"s3://{source}").write_bytes("x", b"")
    for ask_for in (lambda: open_store(f"s3://{lakes}/others").read_bytes("secret"), lambda: list(open_store(f"s3://{lakes}").list())):
        with pytest.raises(StoreAccessError):
            ask_for()


@pytest.mark.parametrize("where", ["recordings", pytest.param("lake", marks=pytest.mark.slow)])
def test_one_side_on_s3_and_the_other_a_folder_gives_the_same_rows(where, s3, calls, bundle, workers, tmp_path):
    run_night(calls, tmp_path / "here", bundle, workers)
    bucket = s3.bucket(where)
    if where == "recordings":
        upload(s3, calls, bucket, "in/")
        recordings, lake = f"s3://{bucket}/in", str(tmp_path / "lake")
    else:
        recordings, lake = str(calls), f"s3://{bucket}"
    run = run_night(recordings, lake, bundle, workers)
    assert not {k: v for k, v in run["checks"].items() if v}
    query = "SELECT * EXCLUDE (recording_id, etag, chunk_id, run_id, scored_at) FROM segments ORDER BY call_id, start_s, channel"
    there, here = ask(lake, query), ask(str(tmp_path / "here"), query)
    assert here and len(there) == len(here)
    for one, other in zip(there, here, strict=True):
        assert one == pytest.approx(other, abs=1e-4, nan_ok=True)
    assert ask(lake, "SELECT key, outcome FROM outcomes ORDER BY key") == OUTCOMES


def test_odd_keys_each_end_in_one_outcome(s3, bundle, workers, tmp_path):
    """Names that SQL, URLs, shells or file systems trip over; twins that differ by case; a stem with several sidecars."""
    path = write_call(tmp_path, "call.wav", CALL)
    sound, source = path.read_bytes(), s3.bucket("odd")
    names = ["a b", "a+b", "100%25", 'it\'s "x" & <y>', "ключ-通話", "Case", "case", "a..b", "new\nline", "'; DROP TABLE x; --", "q?x=1#y"]
    names += ["long" * 55, "day=2020-01-01", "two"]
    for name in names:
        s3.client.put_object(Bucket=source, Key=f"2026-11-20/{name}.wav", Body=sound)
    told = TWO_SIDED | {"queue": "lower"}
    for suffix, queue in ((".json", "lower"), (".JSON", "upper"), (".Json", "mixed")):
        s3.client.put_object(Bucket=source, Key=f"2026-11-20/two{suffix}", Body=json.dumps(told | {"queue": queue}).encode())
    s3.client.put_object(Bucket=source, Key="2026-11-20/case.json", Body=json.dumps(told).encode())
    s3.client.put_object(Bucket=source, Key="2026-11-20/two.mp3", Body=b"another recording of this stem")
    lake = str(tmp_path / "lake")
    run = run_night(f"s3://{source}", lake, bundle, workers)
    assert not {k: v for k, v in run["checks"].items() if v}
    assert (run["listed"], run["ignored_keys"], run["failed"]) == (len(names) + 1, 2, 0)
    assert sorted(ask(lake, "SELECT key FROM outcomes_all")) == sorted(
        (f"2026-11-20/{name}",) for name in [f"{name}.wav" for name in names] + ["two.mp3"]
    )
    queues = dict(ask(lake, "SELECT key, queue FROM call_emotions WHERE queue IS NOT NULL"))
    assert queues == {"2026-11-20/two.wav": "lower", "2026-11-20/case.wav": "lower"}
    assert run_night(f"s3://{source}", lake, bundle, workers)["planned"] == 0


def test_a_long_call_uploaded_in_pieces_is_scored(s3, bundle, workers, tmp_path):
    from boto3.s3.transfer import TransferConfig

    long = two_sided([("customer", 1 + 20 * n, 4 + 20 * n) for n in range(18)] + [("agent", 350, 354)], 360)
    path = write_call(tmp_path / "in", "2026-11-20/long.wav", long, TWO_SIDED, subtype="PCM_16")
    assert path.stat().st_size > 2 * (5 << 20)
    source = s3.bucket("long")
    pieces = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    s3.client.upload_file(str(path), source, "2026-11-20/long.wav", Config=pieces)
    s3.client.upload_file(str(path.with_suffix(".json")), source, "2026-11-20/long.json")
    lake = f"s3://{s3.bucket('lake')}"
    run = run_night(f"s3://{source}", lake, bundle, workers)
    assert run["scored"] == 1
    assert ask(lake, "SELECT etag LIKE '%-3', audio_s FROM outcomes") == [(True, 360.0)]
    assert run_night(f"s3://{source}", lake, bundle, workers)["planned"] == 0


@pytest.mark.parametrize(
    ("what", "becomes"),
    [("recording", "gone"), ("sidecar", "another")]
    + [pytest.param(*both, marks=pytest.mark.slow) for both in (("recording", "another"), ("sidecar", "gone"))],
)
def test_what_vanishes_or_changes_after_the_listing_is_decided_by_the_next(what, becomes, s3, calls, bundle, workers, tmp_path):
    source, lake = s3.bucket("calls"), str(tmp_path / "lake")
    upload(s3, calls, source)
    key = "2026-11-20/a.wav" if what == "recording" else "2026-11-20/a.json"
    with night_of(f"s3://{source}", lake, bundle, workers) as night:
        chunks = night.list_and_plan().chunks
        if becomes == "gone":
            s3.client.delete_object(Bucket=source, Key=key)
        elif what == "recording":
            s3.client.upload_file(str(calls / "2026-11-20/mono.wav"), source, key)
        else:
            s3.client.put_object(Bucket=source, Key=key, Body=json.dumps(TWO_SIDED | {"queue": "other"}).encode())
        for chunk in chunks:
            night.publish(night.extract(*chunk))
        assert set(night.check().values()) == {0}
    assert ask(lake, "SELECT outcome, reason_code FROM outcomes WHERE key LIKE '%/a.wav'") == [("failed", "changed")]
    run = run_night(f"s3://{source}", lake, bundle, workers)
    assert not {k: v for k, v in run["checks"].items() if v}
    if (what, becomes) == ("recording", "gone"):
        assert ask(lake, "SELECT outcome FROM outcomes WHERE key LIKE '%/a.wav'") == [("failed",)]
    else:
        expected = {"recording": "quarantined", "sidecar": "withheld" if becomes == "gone" else "scored"}[what]  # mono: not two roles
        assert ask(lake, "SELECT outcome FROM outcomes WHERE key LIKE '%/a.wav'") == [(expected,)]
    assert run_night(f"s3://{source}", lake, bundle, workers)["planned"] == 0


@pytest.mark.faults
def test_an_endpoint_that_goes_down_in_the_middle_loses_nothing(faulty_s3, s3, calls, bundle, own_workers, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    source, lakes = s3.bucket("calls"), s3.bucket("lake")
    upload(s3, calls, source)
    run_night(f"s3://{source}", f"s3://{lakes}/whole", bundle, own_workers)
    length = len(faulty_s3.requests)
    for number, part in enumerate((0.15, 0.4, 0.6, 0.9)):
        lake = f"s3://{lakes}/lake-{number}"
        faulty_s3.choose(lambda request, first=int(length * part): "reset_before" if request.index >= first else None)
        with pytest.raises(Exception, match=re.escape(faulty_s3.url.removeprefix("http://"))) as stopped:
            run_night(f"s3://{source}", lake, bundle, own_workers)
        assert s3.secret_key not in str(stopped.value)
        faulty_s3.choose(lambda request: None)
        run = run_night(f"s3://{source}", lake, bundle, own_workers)
        assert not {k: v for k, v in run["checks"].items() if v}
        assert rows_of(lake) == rows_of(f"s3://{lakes}/whole")


# The command line


def ser(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """`ser` in a process of its own, with all that its loggers have to say."""
    environment = {**os.environ, "PREFECT_LOGGING_LEVEL": "DEBUG", **variables}
    call = [sys.executable, "-c", "from flows.cli import app; app(prog_name='ser')", *arguments]
    return subprocess.run(call, check=False, capture_output=True, text=True, env=environment, timeout=300)


@pytest.mark.slow
def test_a_night_that_can_not_start_says_why_and_writes_nothing(faulty_s3, s3, calls, bundle, tmp_path):
    """Exit code 2 and one line. Neither the lake nor the message, nor any log, holds the secret."""
    source, lakes = s3.bucket("calls"), s3.bucket("lake")
    upload(s3, calls, source)
    nightly = ["nightly", "--recordings", f"s3://{source}", "--lake", f"s3://{lakes}/e", "--model", bundle, "--workers", "1"]
    only_lake = s3.identity({"Effect": "Allow", "Action": "s3:*", "Resource": [f"arn:aws:s3:::{lakes}", f"arn:aws:s3:::{lakes}/*"]})
    only_calls = s3.identity({"Effect": "Allow", "Action": "s3:*", "Resource": [f"arn:aws:s3:::{source}", f"arn:aws:s3:::{source}/*"]})
    cases = [
        (only_lake, f"s3://{source} at {faulty_s3.url}: these credentials may not list there"),
        (only_calls, f"s3://{lakes}/e at {faulty_s3.url}: these credentials may not list there"),
        ({"AWS_SECRET_ACCESS_KEY": "a-wrong-secret"}, "check AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "2"}, "http://127.0.0.1:9 does not answer"),
    ]
    for variables, text in cases:
        answer = ser(*nightly, **variables)
        told = answer.stdout + answer.stderr
        assert answer.returncode == 2 and text in told and "Traceback" not in told, told
        for secret in (s3.secret_key, variables.get("AWS_SECRET_ACCESS_KEY", s3.secret_key)):
            assert secret not in told
    assert contents(s3, lakes) == {}


@pytest.mark.faults
def test_a_night_that_is_refused_on_the_way_fails_and_is_completed_by_the_next(faulty_s3, s3, calls, bundle, monkeypatch, tmp_path):
    """List but not read; then read but not write; then all. Logs at their loudest, Prefect's database and the lake are
    searched for the secrets."""
    source, lakes = s3.bucket("calls"), s3.bucket("lake")
    upload(s3, calls, source)
    statements = night_policy(source, lakes, "e")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    nightly = ["nightly", "--recordings", f"s3://{source}", "--lake", f"s3://{lakes}/e", "--model", bundle, "--workers", "1"]
    no_write = [{**statement, "Action": ["s3:GetObject"]} if statement["Sid"] == "KeepLake" else statement for statement in statements]
    no_read = [statement for statement in statements if statement["Sid"] != "ReadRecordings"]
    nights = [(s3.identity(*rights), code) for rights, code in ((no_write, 1), (no_read, 1), (statements, 0))]
    told = ""
    for identity, code in nights:
        answer = ser(*nightly, **identity)
        told += answer.stdout + answer.stderr
        assert answer.returncode == code, answer.stdout + answer.stderr
        if code == 1 and identity is nights[0][0]:
            assert "may not write there" in answer.stderr and contents(s3, lakes) == {}
        elif code == 1:
            assert "all 3 recordings failed" in answer.stderr
    lake = f"s3://{lakes}/e"
    assert ask(lake, "SELECT key, outcome FROM outcomes ORDER BY key") == OUTCOMES
    kept = [path.read_bytes() for path in (tmp_path / "prefect").rglob("*") if path.is_file()]
    kept += [s3.client.get_object(Bucket=lakes, Key=key)["Body"].read() for key in contents(s3, lakes)]
    rows = json.dumps([list(map(str, row)) for table in ("outcomes_all", "runs") for row in ask(lake, f"FROM {table}")])
    assert len(kept) > 8 and "2026-11-20/a.wav" in rows
    for identity, _ in nights:
        secret = identity["AWS_SECRET_ACCESS_KEY"]
        assert secret not in told and secret not in rows
        assert not any(secret.encode() in content for content in kept)


BI_TOOL = "import sys, duckdb\nprint(duckdb.sql(sys.stdin.read()).fetchall())"


def documented_sql_for_bi_tools(**values: str) -> str:
    """The SQL of OPERATIONS.md for BI tools, with its placeholders filled in, for a server that is not Amazon's."""
    sql = re.search(r"```sql\n(LOAD httpfs;.*?)```", OPERATIONS.read_text(), re.S)[1]
    sql = re.sub(r"\s*--.*", "", sql).replace("REGION 'eu-central-1'", "ENDPOINT 'endpoint', URL_STYLE 'path', USE_SSL false")
    for name, value in values.items():
        assert f"'{name}'" in sql or name in ("httpfs", "query"), name
        sql = sql.replace(f"'{name}'", f"'{value}'")
    return sql.replace("LOAD httpfs", f"LOAD '{values['httpfs']}'").replace("FROM call_emotions LIMIT 10", values["query"])


@pytest.mark.slow
def test_a_lake_on_s3_is_read_by_ser_sql_and_by_plain_duckdb_from_the_catalogue_file(s3, calls, bundle, workers, tmp_path):
    import duckdb
    import duckdb_extension_httpfs

    source, lakes = s3.bucket("calls"), s3.bucket("lake")
    upload(s3, calls, source)
    lake = f"s3://{lakes}/e"
    run_night(f"s3://{source}", lake, bundle, workers)
    query = "SELECT key, outcome FROM outcomes ORDER BY key"
    answer = ser("sql", "--lake", lake, query, "--format", "json")
    assert answer.returncode == 0, answer.stderr
    assert [tuple(row.values()) for row in json.loads(answer.stdout)] == OUTCOMES
    warehouse = write_catalog(lake, tmp_path / "warehouse.duckdb")
    statements = night_policy(source, lakes, "e")
    reader = s3.identity(statements[2], {**statements[3], "Action": "s3:GetObject"})
    httpfs = Path(duckdb_extension_httpfs.__file__).parent / f"extensions/v{duckdb.__version__}/httpfs.duckdb_extension"
    values = {"key": reader["AWS_ACCESS_KEY_ID"], "secret": reader["AWS_SECRET_ACCESS_KEY"], "warehouse.duckdb": str(warehouse)}
    sql = documented_sql_for_bi_tools(**values, endpoint=s3.endpoint_url.removeprefix("http://"), httpfs=str(httpfs), query=query)
    plain = subprocess.run([sys.executable, "-c", BI_TOOL], check=False, input=sql, capture_output=True, text=True, cwd=tmp_path)
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout.strip() == str(OUTCOMES)
    shown = ser("sql", "--lake", lake, "FROM duckdb_secrets()", "--format", "json")
    assert shown.returncode == 0 and s3.secret_key not in shown.stdout + shown.stderr and "redacted" in shown.stdout


def test_ser_sql_names_what_is_wrong_with_s3(s3):
    answer = ser("sql", "--lake", "s3://no-such-bucket-here/e", "FROM outcomes")
    assert answer.returncode == 2 and "there is no such bucket" in answer.stderr and "Traceback" not in answer.stderr
    answer = ser("sql", "--lake", f"s3://{s3.bucket('lake')}", "FROM outcomes", AWS_SECRET_ACCESS_KEY="wrong")
    assert answer.returncode == 2 and "check AWS_SECRET_ACCESS_KEY" in answer.stderr


@pytest.mark.slow
def test_one_slow_down_in_every_kind_of_request_costs_nothing(faulty_s3, s3, calls, bundle, workers, tmp_path):
    """Each request of a night is told once to slow down."""
    source, lakes = s3.bucket("calls"), s3.bucket("lake")
    upload(s3, calls, source)
    run_night(f"s3://{source}", f"s3://{lakes}/whole", bundle, workers)
    told: set[tuple[str, str]] = set()

    def once_for_each(request):
        kind = (request.method, request.bucket + request.key.partition("/")[0] + str(request.prefix)[:12])
        if kind in told:
            return None
        told.add(kind)
        return "slow_down"

    faulty_s3.choose(once_for_each)
    run = run_night(f"s3://{source}", f"s3://{lakes}/throttled", bundle, workers)
    assert set(run["checks"].values()) == {0} and run["failed"] == 0 and len(faulty_s3.broken) > 8
    assert rows_of(f"s3://{lakes}/throttled") == rows_of(f"s3://{lakes}/whole")


def test_a_slow_recording_is_scored_and_a_cut_one_is_read_again(faulty_s3, s3, calls, bundle, workers, tmp_path):
    source, lake = s3.bucket("calls"), str(tmp_path / "lake")
    upload(s3, calls, source)
    seen: list[str] = []

    def break_sounds(request):
        if request.key.endswith((".wav", ".json")):
            seen.append(request.key)
            return "cut_body" if seen.count(request.key) == 1 else "slow_body"
        return None

    faulty_s3.choose(break_sounds)
    run = run_night(f"s3://{source}", lake, bundle, workers)
    assert run["failed"] == 0 and ask(lake, "SELECT key, outcome FROM outcomes ORDER BY key") == OUTCOMES
    assert {seen.count(key) for key in seen} == {2}


def test_archived_and_denied_objects_wait_for_a_person_and_fail_no_night(faulty_s3, s3, bundle, workers, tmp_path):
    recordings, lake = s3.bucket("recordings"), f"s3://{s3.bucket('lake')}/emotions"
    for name in ("glacier", "side", "kms"):
        write_call(tmp_path, f"2026-11-20/{name}.wav", CALL, TWO_SIDED | {"call_id": name})
    upload(s3, tmp_path, recordings)
    locked = {"2026-11-20/glacier.wav": "archived", "2026-11-20/side.json": "archived", "2026-11-20/kms.wav": "kms"}
    faulty_s3.choose(lambda request: locked.get(request.key) if request.method == "GET" else None)
    run = run_night(f"s3://{recordings}", lake, bundle, workers)
    assert (run["quarantined"], run["failed"]) == (3, 0) and set(run["checks"].values()) == {0}
    found = {key: (code, reason) for key, code, reason in ask(lake, "SELECT key, reason_code, reason FROM outcomes")}
    assert {key: code for key, (code, _) in found.items()} == {
        "2026-11-20/glacier.wav": "archived",
        "2026-11-20/side.wav": "archived",
        "2026-11-20/kms.wav": "key_denied",
    }
    assert found["2026-11-20/side.wav"][1].startswith("Its sidecar: It is archived")
    again = run_night(f"s3://{recordings}", lake, bundle, workers)
    assert again["quarantined"] == again["failed"] == 0
    faulty_s3.choose(lambda request: None)  # restored, and allowed
    retried = run_night(f"s3://{recordings}", lake, bundle, workers, settings=Settings(retry_given_up=True))
    assert retried["scored"] == 3
    assert ask(lake, "SELECT DISTINCT outcome FROM outcomes") == [("scored",)]
