"""Who opened a call, listened or exported is in the access log before they get it, and without the log nobody gets it."""

import base64
import io
import json
import shutil

import numpy as np
import pytest
import soundfile as sf
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from flows.cli import app as commands
from ser_tasks.calls.metadata import recording_id
from ser_tasks.dashboard.app import create_app
from ser_tasks.monitoring import access_log
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from tests.factories.lakes import angry, worse, write_calls

SECRET = "0123456789abcdef"
GROUPS = {"leads": {"queues": "all", "may_play": True}, "sales": {"queues": ["sales"]}}


@pytest.fixture
def recordings(tmp_path):
    store = open_store(str(tmp_path / "calls"))
    file = io.BytesIO()
    sf.write(file, np.zeros((8000, 2), np.float32), 8000, format="WAV", subtype="ULAW")
    store.write_bytes("2026-11-20/angry.wav", file.getvalue())
    return store


@pytest.fixture
def lake(tmp_path, recordings):
    """Two calls; the recording of the first is in the store."""
    folder, call = str(tmp_path / "lake"), angry()
    etag = next(recordings.list()).etag
    for row in [call.recording, call.outcome, call.facts, *call.segments]:
        row |= {"recording_id": recording_id("2026-11-20/angry.wav"), "etag": etag}
    write_calls(folder, [call, worse(queue="support")])
    return folder


CALL = recording_id("2026-11-20/angry.wav")


def dashboard(lake, recordings, **more):
    settings = Settings(dashboard_secret=SECRET, dashboard_groups=GROUPS, **more)
    return TestClient(create_app(lake, recordings.uri, settings), base_url="http://127.0.0.1", follow_redirects=False)


def signed_in(name, groups):
    proof = base64.b64encode(f"proxy:{SECRET}".encode()).decode()
    return {"headers": {"Authorization": f"Basic {proof}", "X-Forwarded-User": name, "X-Forwarded-Groups": groups}}


def entries(lake):
    return [(each.who, each.kind, each.call) for each in access_log.read(access_log.folder_of(lake, Settings()))]


def test_each_access_is_logged_with_who_and_what(lake, recordings):
    with dashboard(lake, recordings) as page:
        assert page.get(f"/calls/{CALL}", **signed_in("ann", "leads")).status_code == 200
        link = page.get(f"/calls/{CALL}/recording", **signed_in("ann", "leads"))
        assert link.status_code == 307
        assert page.get(link.headers["location"], **signed_in("ann", "leads")).status_code == 200
        assert page.get("/calls.csv?search=id-4711&queue=sales", **signed_in("bob", "sales")).status_code == 200
        assert page.get("/csv/totals", **signed_in("bob", "sales")).status_code == 200
        for path in ("/", "/calls", "/sql/totals", f"/calls/{CALL}/playable", "/health"):
            assert page.get(path, **signed_in("bob", "leads")).status_code == 200
    assert entries(lake) == [
        ("ann", "call_page", CALL),
        ("ann", "listening", CALL),
        ("bob", "calls_csv", ""),
        ("bob", "figures_csv", ""),
    ]
    details = [each.detail for each in access_log.read(access_log.folder_of(lake, Settings()))]
    assert "queue=sales" in details[2] and details[3].startswith("totals first=")
    assert "4711" not in "".join(details), "what somebody searched for may name a person"


def test_what_is_refused_anyway_is_not_logged_as_access(lake, recordings):
    with dashboard(lake, recordings) as page:
        assert page.get("/calls/id-worse", **signed_in("bob", "sales")).status_code == 404
        assert page.get(f"/calls/{CALL}/recording", **signed_in("bob", "sales")).status_code == 403
        assert page.get(f"/calls/{CALL}").status_code == 401
    assert entries(lake) == []


def test_a_link_plays_for_its_viewer_only(lake, recordings):
    """Else a second person would listen without an entry."""
    with dashboard(lake, recordings) as page:
        link = page.get(f"/calls/{CALL}/recording", **signed_in("ann", "leads")).headers["location"]
        assert page.get(link, **signed_in("bob", "leads")).status_code == 403
        assert page.get(link, **signed_in("ann", "leads")).status_code == 200


def test_without_a_log_nobody_sees_hears_or_exports(lake, recordings, tmp_path):
    (tmp_path / "file").write_text("")
    with dashboard(lake, recordings, access_log=str(tmp_path / "file/log")) as page:
        for path in (f"/calls/{CALL}", f"/calls/{CALL}/recording", "/calls.csv", "/csv/totals"):
            answer = page.get(path, **signed_in("ann", "leads"))
            assert answer.status_code == 503 and "SER_ACCESS_LOG" in answer.text and "<h1>Service Unavailable</h1>" in answer.text
            assert CALL not in answer.text and "location" not in answer.headers
        assert page.get("/", **signed_in("ann", "leads")).status_code == 200, "figures over many calls stay"
        assert "SER_ACCESS_LOG" in page.get(f"/calls/{CALL}/playable", **signed_in("ann", "leads")).json()["problem"]


def test_the_page_works_again_once_the_log_can_be_written(lake, recordings, tmp_path):
    (tmp_path / "log").write_text("")
    with dashboard(lake, recordings, access_log=str(tmp_path / "log")) as page:
        assert page.get(f"/calls/{CALL}", **signed_in("ann", "leads")).status_code == 503
        (tmp_path / "log").unlink()
        assert page.get(f"/calls/{CALL}", **signed_in("ann", "leads")).status_code == 200
        shutil.rmtree(tmp_path / "log")
        assert page.get(f"/calls/{CALL}", **signed_in("ann", "leads")).status_code == 200


def test_a_viewers_name_cannot_forge_an_entry(lake, recordings):
    with dashboard(lake, recordings) as page:
        name = 'ann"}\t{"who": "bob'
        assert page.get(f"/calls/{CALL}", **signed_in(name, "leads")).status_code == 200
    assert entries(lake) == [('ann"}\\t{"who": "bob', "call_page", CALL)]


def listing(*arguments):
    answer = CliRunner().invoke(commands, ["access", *arguments, "--format", "json"])
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.stdout)


def test_ser_access_lists_them_by_call_person_and_day(lake, recordings, tmp_path):
    with dashboard(lake, recordings) as page:
        page.get(f"/calls/{CALL}", **signed_in("ann", "leads"))
        page.get("/calls/id-worse", **signed_in("bob", "leads"))
        page.get("/csv/totals", **signed_in("bob", "leads"))
    assert [(row["who"], row["call"]) for row in listing("--lake", lake)] == [("ann", CALL), ("bob", "id-worse"), ("bob", "")]
    for call in ("angry", CALL):
        assert [row["who"] for row in listing("--lake", lake, "--call", call)] == ["ann"], "by call_id and by recording_id"
    assert [row["kind"] for row in listing("--lake", lake, "--who", "bob")] == ["call_page", "figures_csv"]
    assert listing("--lake", lake, "--since", "2100-01-01") == []
    assert CliRunner().invoke(commands, ["access", "--lake", lake, "--since", "soon"]).exit_code == 2


def test_an_export_by_ser_sql_is_logged_without_values(lake, tmp_path):
    query = "SELECT call_id FROM call_emotions WHERE call_id = 'angry'"
    answer = CliRunner().invoke(commands, ["sql", query, "--lake", lake, "--out", str(tmp_path / "a.csv")])
    assert answer.exit_code == 0, answer.output
    shown = CliRunner().invoke(commands, ["sql", query, "--lake", lake])
    assert shown.exit_code == 0
    [row] = listing("--lake", lake)
    assert row["kind"] == "sql_export" and row["detail"] == "SELECT call_id FROM call_emotions WHERE call_id = ?" and row["who"]
