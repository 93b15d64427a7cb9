"""After an erasure, no byte of the access log names the call; who accessed something, and when, stays."""

import json

import pytest
from typer.testing import CliRunner

from flows.cli import app
from ser_tasks.maintenance import erasure, holds
from ser_tasks.monitoring import access_log
from ser_tasks.monitoring.access_log import AccessLog
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from tests.factories.lakes import write_good_lake

SETTINGS = Settings(pseudonym_key="a key of the tests, long enough")


@pytest.fixture
def lake(tmp_path):
    folder = str(tmp_path / "lake")
    write_good_lake(folder)
    return folder


def erase(lake, settings):
    store = open_store(lake)
    return erasure.erase(store, erasure.find(store, holds.Subject("call", "angry"), settings), settings, 0, 0)


def calls(folder):
    return [(entry.who, entry.call) for entry in access_log.read(folder)]


def test_an_erasure_takes_the_call_out_of_the_log_and_the_receipt_counts_it(lake):
    log = AccessLog(lake, SETTINGS)
    for call in ("id-angry", "id-worse", "id-angry"):
        log.write("ann", "listening", call)
    done = erase(lake, SETTINGS)
    assert calls(log.folder) == [("ann", "erased"), ("ann", "id-worse"), ("ann", "erased")]
    assert done.accesses == 2 and "access log: 2 entries no longer name the call" in done.lines()
    receipt = json.loads(open_store(lake).read_bytes(done.receipt))
    assert receipt["accesses"] == 2 and erasure.is_signed(receipt, SETTINGS.pseudonym_key)
    assert any("access log" in each for each in receipt["not_reached"])


def test_a_log_on_another_machine_is_cleaned_by_ser_access(lake, tmp_path, monkeypatch):
    elsewhere = SETTINGS.model_copy(update={"access_log": str(tmp_path / "elsewhere")})
    log = AccessLog(lake, elsewhere)
    log.write("ann", "call_page", "id-angry")
    log.write("ann", "call_page", "id-worse")
    erase(lake, SETTINGS)
    assert calls(log.folder) == [("ann", "id-angry"), ("ann", "id-worse")]
    monkeypatch.setenv("SER_ACCESS_LOG", str(tmp_path / "elsewhere"))
    refused = CliRunner().invoke(app, ["access", "--lake", lake, "--forget"])
    assert refused.exit_code == 2 and "SER_PSEUDONYM_KEY" in refused.output
    monkeypatch.setenv("SER_PSEUDONYM_KEY", SETTINGS.pseudonym_key.get_secret_value())
    answer = CliRunner().invoke(app, ["access", "--lake", lake, "--forget"])
    assert answer.exit_code == 0 and answer.output.startswith("1 entries")
    assert calls(log.folder) == [("ann", "erased"), ("ann", "id-worse")]


def test_retention_lists_and_deletes_days_of_the_log(lake, monkeypatch):
    folder = access_log.folder_of(lake, SETTINGS)
    AccessLog(lake, SETTINGS).check()
    (folder / "2020-01-01.jsonl").write_text("")
    assert "access log" not in CliRunner().invoke(app, ["retention", "--lake", lake]).output
    monkeypatch.setenv("SER_KEEP_ACCESS_DAYS", "180")
    assert "access log: 1 days, kept for 180 days" in CliRunner().invoke(app, ["retention", "--lake", lake]).output
    assert (folder / "2020-01-01.jsonl").exists()
    assert CliRunner().invoke(app, ["retention", "--lake", lake, "--delete"]).exit_code == 0
    assert not (folder / "2020-01-01.jsonl").exists()
