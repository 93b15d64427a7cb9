"""A large store is listed and planned in a process of its own, with what this process would have made of it."""

import os
import signal
import sys
from dataclasses import replace
from datetime import date

import pytest
from pydantic import SecretStr

from ser_tasks.apart import run_apart
from ser_tasks.lake.key_chain import LakeKeys
from ser_tasks.pipeline import ingest, listing_ahead, planning
from ser_tasks.pipeline.listing import Listing
from ser_tasks.settings import Settings

DAY = date(2026, 11, 20)


@pytest.fixture
def wanted(tmp_path):
    for name in ("a.wav", "a.json", "b.opus", "lonely.json", "notes.txt"):
        path = tmp_path / "recordings" / "2026-11-20" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 16_000)
    key = (SecretStr("0123456789abcdef"),)
    return planning.Planning(
        recordings_uri=str(tmp_path / "recordings"),
        lake_uri=str(tmp_path / "lake"),
        settings=Settings(chunk_recordings=1),
        keys=LakeKeys(key, key),
        day=None,
        version="m-1.customers_only",
        run_id="run-1",
        plan_new=True,
        database=tmp_path / "here.duckdb",
    )


def handled(listing: Listing, plan: ingest.Plan) -> list:
    return [replace(recording, planned_at=None) for chunk in plan.chunks for recording in ingest.load_chunk(listing, *chunk).recordings]


@pytest.mark.parametrize("most", [2, 20])
def test_a_large_store_is_planned_by_another_process_and_alike(most, wanted, tmp_path, monkeypatch):
    listing, plan = planning.list_and_plan(wanted)
    monkeypatch.setattr(listing_ahead, "MOST", most)
    monkeypatch.setattr(planning, "_list_and_plan", planning._list_and_plan if most == 20 else None)  # another process has its own
    elsewhere, again = planning.list_and_plan(replace(wanted, lake_uri=str(tmp_path / "other"), database=tmp_path / "there.duckdb"))
    assert again.chunks == plan.chunks and len(plan.chunks) == 2
    assert (again.listed, again.planned, again.ignored_keys, again.ignored_suffixes) == (2, 2, 2, ".txt 1, .json 1")
    assert handled(elsewhere, again) == handled(listing, plan)
    assert elsewhere.sizes() == listing.sizes() and elsewhere.days() == [DAY]


def test_errors_of_the_other_process_are_raised_here(wanted, monkeypatch):
    monkeypatch.setattr(listing_ahead, "MOST", 2)
    with pytest.raises(Exception, match="no-such-folder"):
        planning.list_and_plan(replace(wanted, database=wanted.database.parent / "no-such-folder" / "listing.duckdb"))


def test_uploads_without_a_hash_are_said(wanted, monkeypatch, caplog):
    planning.list_and_plan(wanted)
    assert not caplog.records
    monkeypatch.setattr(planning, "_list_and_plan", lambda _: (None, ingest.Plan(without_hash=2)))
    planning.list_and_plan(wanted)
    assert [record.message.partition(" have")[0] for record in caplog.records] == ["2 recordings"]


def killed(_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_is_said_to_be_one(wanted, monkeypatch):
    monkeypatch.setattr(listing_ahead, "MOST", 2)
    monkeypatch.setattr(planning, "_listing_to_send", killed)
    with pytest.raises(planning.PlanningLostError, match="exit code -9.*nothing is lost"):
        planning.list_and_plan(wanted)


def test_another_process_loads_no_model(wanted):
    """It would take hundreds of megabytes."""
    assert run_apart(loaded, wanted) == []


def loaded(_) -> list[str]:
    return [name for name in ("torch", "librosa", "prefect") if name in sys.modules]
