"""The access log: nothing granted is lost, nothing half-written stays, and erased calls leave it."""

import json
import stat
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta

import pytest

from ser_tasks.lake.sql_text import without_values
from ser_tasks.monitoring import access_log
from ser_tasks.monitoring.access_log import AccessLog
from ser_tasks.settings import Settings


@pytest.fixture
def log(tmp_path):
    return AccessLog(str(tmp_path / "lake"), Settings())


def test_an_entry_says_who_what_and_when_in_a_file_for_its_owner_alone(log, tmp_path):
    before = datetime.now(UTC)
    log.write("ann", "call_page", "id-1")
    log.write("bob", "calls_csv", detail="first=2026-11-01")
    assert log.folder == tmp_path / "lake.accesses", "beside the lake, not in it"
    [first, second] = access_log.read(log.folder)
    assert (first.who, first.kind, first.call, first.lake) == ("ann", "call_page", "id-1", str(tmp_path / "lake"))
    assert (second.who, second.kind, second.call, second.detail) == ("bob", "calls_csv", "", "first=2026-11-01")
    assert before - timedelta(seconds=1) <= datetime.fromisoformat(first.at) <= datetime.now(UTC)
    [path] = log.folder.glob("*.jsonl")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(log.folder.stat().st_mode) == 0o700


def test_the_place_is_the_setting_or_the_users_state_folder(tmp_path, monkeypatch):
    assert access_log.folder_of("s3://lake/x", Settings(access_log=str(tmp_path / "a"))) == tmp_path / "a"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert access_log.folder_of("s3://lake/x", Settings()) == tmp_path / "state/ser-nightly/accesses"


@pytest.mark.parametrize("text", ["\x1b[2J\x1b]0;x\x07", "a\nb\r\n", "\u202eevil", "\x7f\x9b31m", "\udc80", "x" * 10_000])
def test_no_control_character_is_written_or_read(log, text):
    log.write(text, "call_page", text, text)
    [path] = log.folder.glob("*.jsonl")
    assert path.read_bytes().count(b"\n") == 1
    [entry] = access_log.read(log.folder)
    for value in (entry.who, entry.call, entry.detail):
        assert value.isprintable() and 0 < len(value) <= access_log.MAX_CHARACTERS


def test_control_characters_that_others_wrote_are_not_read_either(log):
    log.check()
    entry = {"at": "2026-11-20T00:00:00Z", "who": "\x1b[2J", "kind": "call_page", "lake": "l", "call": "c", "detail": ""}
    (log.folder / "2026-11-20.jsonl").write_text(json.dumps(entry) + "\n")
    assert next(access_log.read(log.folder)).who == "\\x1b[2J"


WRITER = """
import sys
from ser_tasks.monitoring.access_log import AccessLog
from ser_tasks.settings import Settings
log = AccessLog(sys.argv[1], Settings())
for number in range(int(sys.argv[3])):
    log.write(sys.argv[2], "call_page", f"id-{number}")
    print(number, flush=True)
"""


def test_processes_write_side_by_side_while_calls_are_forgotten(log):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, log.lake, name, "15"], stdout=subprocess.PIPE) for name in ("ann", "bob")]
    while any(writer.poll() is None for writer in writers):
        access_log.forget(log.folder, {"id-7"})
        time.sleep(0.02)
    assert [writer.wait() for writer in writers] == [0, 0]
    access_log.forget(log.folder, {"id-7"})
    entries = list(access_log.read(log.folder))
    for name in ("ann", "bob"):
        calls = [entry.call for entry in entries if entry.who == name]
        assert calls == ["erased" if number == 7 else f"id-{number}" for number in range(15)]


def test_what_a_killed_process_was_granted_is_in_the_log(log):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, log.lake, "ann", "100000"], stdout=subprocess.PIPE, text=True)
    for _ in range(20):
        granted = int(writer.stdout.readline())
    writer.kill()
    writer.wait()
    assert [f"id-{number}" for number in range(granted + 1)] == [entry.call for entry in access_log.read(log.folder)][: granted + 1]


def test_a_line_that_was_cut_off_costs_no_other(log):
    log.write("ann", "call_page", "id-1")
    [path] = log.folder.glob("*.jsonl")
    with path.open("ab") as file:
        file.write(b'{"at": "2026-11-20T00:')
    log.write("bob", "call_page", "id-2")
    assert [entry and entry.call for entry in access_log.read(log.folder)] == ["id-1", None, "id-2"]


def test_a_write_that_the_disk_refuses_raises_and_leaves_nothing(log):
    """With a limit on the file's size, as a full disk would: a real write fails in the middle of a line."""
    code = (
        "import resource, signal, sys\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (450, 450))\n" + WRITER
    )
    answer = subprocess.run([sys.executable, "-c", code, log.lake, "ann", "9"], capture_output=True, text=True, check=False)
    assert answer.returncode == 1 and "OSError" in answer.stderr
    granted = answer.stdout.split()
    [path] = log.folder.glob("*.jsonl")
    assert 0 < len(granted) < 9 and path.read_bytes().endswith(b"\n")
    assert [entry.call for entry in access_log.read(log.folder)] == [f"id-{number}" for number in granted]


def test_a_folder_that_cannot_be_made_raises(tmp_path):
    (tmp_path / "closed").write_text("a file")
    with pytest.raises(OSError, match="closed"):
        AccessLog(str(tmp_path / "lake"), Settings(access_log=str(tmp_path / "closed/log"))).write("ann", "call_page", "id-1")


def test_forget_keeps_who_and_when_and_leaves_no_byte_of_the_call(log):
    for call in ("id-gone", "id-stays", "id-gone-2"):
        log.write("ann", "listening", call)
    [path] = log.folder.glob("*.jsonl")
    with path.open("ab") as file:
        file.write(b'{"call": "id-gone')
    (log.folder / ".2026-11-19.jsonl.1a2b.tmp").write_text("id-gone")
    assert access_log.forget(log.folder, {"id-gone"}) == 1
    assert [(entry.who, entry.call) for entry in access_log.read(log.folder)] == [
        ("ann", "erased"),
        ("ann", "id-stays"),
        ("ann", "id-gone-2"),
    ]
    left = b"".join(each.read_bytes() for each in log.folder.rglob("*") if each.is_file())
    assert b"id-gone" not in left.replace(b"id-gone-2", b"")
    assert access_log.forget(log.folder, {"id-gone"}) == 0 and access_log.forget(log.folder / "none", {"x"}) == 0


def test_the_first_entry_of_a_day_deletes_what_is_past_its_retention(tmp_path):
    log = AccessLog(str(tmp_path / "lake"), Settings(keep_access_days=30))
    log.check()
    today = datetime.now(UTC).date()
    for age in (29, 30, 31, 400):
        (log.folder / f"{today - timedelta(days=age)}.jsonl").write_text("")
    log.write("ann", "call_page", "id-1")
    assert sorted(path.stem for path in log.folder.glob("*.jsonl")) == sorted(str(today - timedelta(days=age)) for age in (0, 29, 30))
    assert access_log.expired(log.folder, None) == []
    assert len(access_log.expired(log.folder, 10, date(2100, 1, 1))) == 3


def test_an_unknown_kind_is_refused(log):
    with pytest.raises(ValueError, match="call_page"):
        log.write("ann", "glance", "id-1")


@pytest.mark.parametrize(
    ("sql", "kept"),
    [
        ("SELECT * FROM call_emotions WHERE call_id = 'c-4711'", "SELECT * FROM call_emotions WHERE call_id = ?"),
        ("FROM t -- of Ann Example\nLIMIT 5 /* c-4711 */", "FROM t LIMIT ?"),
        ("SELECT 'it''s', $$4711$$, E'\\x41', 491701234567, 1.5e3", "SELECT ? , ? , ? , ? , ?"),
        ("SELECT 'ü', \"a 'b'\" FROM t", "SELECT ? , \"a 'b'\" FROM t"),
    ],
)
def test_a_query_is_logged_without_its_values(sql, kept):
    assert without_values(sql) == kept


def test_entries_of_older_versions_are_read_and_the_table_of_listening_answers_in_sql(tmp_path):
    from typer.testing import CliRunner

    from flows.cli import app
    from ser_tasks.monitoring.access_log import Played

    lake = tmp_path / "lake"
    lake.mkdir()
    log = AccessLog(str(lake), Settings())
    log.check()
    old = {"at": "2026-11-20T09:00:00.000Z", "who": "sue", "kind": "listening", "lake": str(lake), "call": "k1", "detail": ""}
    (log.folder / "2026-11-20.jsonl").write_text(json.dumps(old) + "\n")
    log.write("ann", "listening", "k2")
    log.write("ann", "listened", "k2", played=Played(3.0, 12.5, 10.0))
    log.write("ann", "call_page", "k2")
    assert [each.kind for each in access_log.read(log.folder)] == ["listening", "listening", "listened", "call_page"]
    query = "SELECT who, call, from_s, to_s, round(epoch(ended - began)) AS seconds FROM listening ORDER BY who"
    answer = CliRunner().invoke(app, ["access", "--lake", str(lake), "--empty-ok", "--format", "csv", "--sql", query])
    assert answer.exit_code == 0, answer.output
    assert answer.output.splitlines() == ["who,call,from_s,to_s,seconds", "ann,k2,3.0,12.5,10.0", "sue,k1,,,"]
    refused = CliRunner().invoke(app, ["access", "--lake", str(lake), "--empty-ok", "--sql", "COPY accesses TO 'x.csv'"])
    assert refused.exit_code == 2
    assert access_log.forget(log.folder, {"k2"}) == 3
    assert [each.from_s for each in access_log.read(log.folder) if each.kind == "listened"] == ["3.0"]
