"""Retention: what is past its time goes, what tells of no emotion stays, and nothing comes back; and the way back from a model."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from ser_tasks.lake import catalog, manifest
from ser_tasks.maintenance import doctor, holds, retention
from ser_tasks.monitoring.run_report import write_night_report
from ser_tasks.pipeline.worker_pool import WorkerPool
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from tests.factories.calls import TWO_SIDED, run_night, tiny_bundle, two_sided, write_call

TODAY = datetime.now(UTC).date()
OLD, NEW = TODAY - timedelta(days=40), TODAY - timedelta(days=10)
SETTINGS = Settings(keep_segments_days=30, keep_calls_days=90)


@pytest.fixture(scope="module")
def workers():
    with WorkerPool(1) as pool:
        pool.start()
        yield pool


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return tiny_bundle(folder), tiny_bundle(folder, name="other", seed=5)


@pytest.fixture
def calls(tmp_path):
    call = two_sided([("agent", 1, 4), ("customer", 5, 11)], 13)
    for day in (OLD, NEW):
        write_call(tmp_path / "calls", f"{day}/a.wav", call, TWO_SIDED | {"call_id": f"a-{day}"})
    return tmp_path / "calls"


@pytest.fixture
def lake(calls, bundles, workers, tmp_path):
    run_night(calls, tmp_path / "lake", bundles[0], workers)
    return tmp_path / "lake"


def ask(lake, sql: str) -> list[tuple]:
    with catalog.connect(str(lake)) as connection:
        return connection.execute(sql).fetchall()


def files(lake: Path) -> set[str]:
    return {path.relative_to(lake).as_posix() for path in lake.rglob("*") if path.is_file()}


def test_only_what_is_past_its_time_goes(lake):
    store, before = open_store(str(lake)), files(lake)
    found = retention.expired(store, SETTINGS)
    assert [(each.table, each.day, each.keep_days) for each in found] == [("segments", OLD, 30)]
    assert files(lake) == before  # looking deletes nothing
    assert retention.delete(store, found) == 1
    gone, come = before - files(lake), files(lake) - before
    assert gone == set(found[0].keys)
    assert [name.split("/")[:2] for name in come] == [["deletions", f"day={OLD}"]]
    assert ask(lake, "SELECT DISTINCT day FROM segments_all") == [(NEW,)]
    assert ask(lake, "SELECT day, table_name, parts, keep_days FROM deletions") == [(OLD, "segments", 1, 30)]
    with catalog.connect(str(lake)) as connection:  # the checks look at the whole lake and miss nothing that was to go
        assert set(catalog.run_checks(connection).values()) == {0}
    assert retention.expired(store, SETTINGS) == []


def test_segments_lost_by_anything_else_are_still_missed(lake):
    for part in (lake / "segments" / f"day={OLD}").rglob("*.parquet"):
        part.unlink()
    with catalog.connect(str(lake)) as connection:
        found = catalog.run_checks(connection)
    assert found["outcomes_without_rows"] == found["peak_anger_not_found"] == 1


def test_calls_and_reports_go_together_and_manifests_and_outcomes_stay(lake):
    write_night_report(str(lake))
    store = open_store(str(lake))
    found = retention.expired(store, Settings(keep_segments_days=5, keep_calls_days=5), TODAY + timedelta(days=30))
    assert {each.table for each in found} == {"segments", "call_emotions", "reports"}
    retention.delete(store, found)
    assert {name.split("/")[0] for name in files(lake)} == {"recordings", "outcomes", "runs", "deletions", "keys.json"}
    assert ask(lake, "SELECT count(*) FROM outcomes") == [(2,)]
    with catalog.connect(str(lake)) as connection:
        assert set(catalog.run_checks(connection).values()) == {0}


def test_the_last_day_that_is_kept_is_kept(lake):
    store = open_store(str(lake))
    assert retention.expired(store, Settings(keep_calls_days=10), NEW + timedelta(days=10))[0].day == OLD
    assert [each.day for each in retention.expired(store, Settings(keep_calls_days=10), NEW + timedelta(days=11))] == [OLD, NEW]


def test_unset_keeps_everything(lake):
    assert retention.expired(open_store(str(lake)), Settings(), date.max) == []


@pytest.mark.parametrize("settings", [SETTINGS, Settings()], ids=["the settings still say it", "the settings were lost"])
def test_a_recording_that_is_still_in_the_store_is_not_scored_again(lake, calls, bundles, workers, settings):
    store = open_store(str(lake))
    retention.delete(store, retention.expired(store, SETTINGS))
    late = two_sided([("customer", 1, 6)], 8)
    write_call(calls, f"{OLD}/late.wav", late, TWO_SIDED)
    write_call(calls, f"{OLD}/a.wav", late, TWO_SIDED)  # uploaded anew
    for bundle, scored in zip(bundles, (0, 1), strict=True):  # the other model scores the day that is open
        run = run_night(calls, lake, bundle, workers, settings=settings)
        assert (run["listed"], run["planned"], run["scored"], run["ignored_keys"]) == (1, 0, scored, 0)
        assert set(run["checks"].values()) == {0}
    assert ask(lake, "SELECT DISTINCT day FROM segments_all") == [(NEW,)]


def test_a_day_past_the_retention_is_never_begun(calls, bundles, workers, tmp_path):
    run = run_night(calls, tmp_path / "young", bundles[0], workers, settings=SETTINGS)
    assert (run["listed"], run["scored"]) == (1, 1)
    assert ask(tmp_path / "young", "SELECT DISTINCT day FROM recordings_all") == [(NEW,)]


def test_a_killed_deletion_is_completed_by_the_next(lake, monkeypatch):
    store = open_store(str(lake))
    settings = Settings(keep_segments_days=5, keep_calls_days=5)
    real = type(store).delete
    left = [2]

    def delete(self, key):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        real(self, key)

    monkeypatch.setattr(type(store), "delete", delete)
    with pytest.raises(KeyboardInterrupt):
        retention.delete(store, retention.expired(store, settings))
    monkeypatch.undo()
    with catalog.connect(str(lake)) as connection:
        assert set(catalog.run_checks(connection).values()) == {0}
    retention.delete(store, retention.expired(store, settings))
    assert ask(lake, "SELECT (SELECT count(*) FROM segments_all), (SELECT count(*) FROM call_emotions_all)") == [(0, 0)]


def test_retention_on_s3(s3, calls, bundles, workers):
    open_store.cache_clear()
    lake = f"s3://{s3.bucket('lake')}/deep"
    run_night(calls, lake, bundles[0], workers)
    store = open_store(lake)
    assert retention.delete(store, retention.expired(store, SETTINGS)) == 1
    assert ask(lake, "SELECT DISTINCT day FROM segments_all") == [(NEW,)]
    assert run_night(calls, lake, bundles[1], workers)["listed"] == 1


def test_the_command_looks_first_and_deletes_when_told(lake):
    before = files(lake)

    def retention_of(*options: str) -> str:
        answer = CliRunner().invoke(app, ["retention", "--lake", str(lake), *options], env={"SER_KEEP_SEGMENTS_DAYS": "30"})
        assert answer.exit_code == 0, answer.output
        return answer.output

    assert f"segments of {OLD}: 1 parts" in retention_of() and files(lake) == before
    assert "1 parts deleted" in retention_of("--delete") and len(files(lake)) == len(before)
    again = retention_of("--delete")
    assert "Nothing is past the retention" in again and "runs: kept for ever (SER_KEEP_RUNS_DAYS is not set)" in again


EVERYTHING = Settings(keep_outcomes_days=30, keep_runs_days=30)


def test_all_that_is_known_of_old_days_goes_and_nothing_is_planned_anew(lake, calls, bundles, workers):
    store = open_store(str(lake))
    found = retention.expired(store, EVERYTHING)
    assert [(each.table, each.day) for each in found] == [(name, OLD) for name in ("call_emotions", "outcomes", "recordings", "segments")]
    retention.delete(store, found)
    assert {name for name in files(lake) if f"day={OLD}" in name and not name.startswith("deletions/")} == set()
    with catalog.connect(str(lake)) as connection:
        assert set(catalog.run_checks(connection).values()) == {0}
    assert list(doctor.examine(str(lake), str(calls)).lines()) == []
    for settings in (EVERYTHING, Settings()):  # the audio is still there, even where the settings were lost
        run = run_night(calls, lake, bundles[0], workers, settings=settings)
        assert (run["listed"], run["planned"], run["scored"], set(run["checks"].values())) == (1, 0, 0, {0})
    assert ask(lake, "SELECT DISTINCT day FROM recordings_all") == [(NEW,)]


def test_a_killed_deletion_of_everything_reads_well_at_any_moment(lake):
    store = open_store(str(lake))
    for each in retention.expired(store, EVERYTHING):
        retention.delete(store, [each])
        with catalog.connect(str(lake)) as connection:
            assert set(catalog.run_checks(connection).values()) == {0}


def test_old_runs_go_and_close_no_day(lake, calls, bundles, workers):
    store, later = open_store(str(lake)), TODAY + timedelta(days=31)
    found = retention.expired(store, Settings(keep_runs_days=30), later)
    assert [(each.table, each.day) for each in found] == [("runs", TODAY)]
    assert retention.delete(store, found) == 1
    assert ask(lake, "SELECT count(*) FROM runs") == [(0,)]
    call = two_sided([("customer", 1, 6)], 8)
    write_call(calls, f"{TODAY}/b.wav", call, TWO_SIDED)
    assert run_night(calls, lake, bundles[0], workers)["scored"] == 1


def test_quarantine_goes_by_its_own_age_and_by_that_of_what_lies_in_it(lake, calls):
    store, moved = open_store(str(lake)), {}
    for number, (when, day) in enumerate([(TODAY, NEW), (TODAY, OLD), (TODAY - timedelta(days=91), NEW)]):
        part = next(iter(store.list(f"segments/day={day}/"))).key
        moved[number] = f"quarantine/{when:%Y%m%d}T01000{number}/{part}"
        store.write_bytes(moved[number], store.read_bytes(part))
    store.write_bytes(f"quarantine/{TODAY:%Y%m%d}T010009/stray", b"-")

    def gone(settings: Settings) -> set[str]:
        return {key for each in retention.expired(store, settings) if each.table == "quarantine" for key in each.keys}

    assert gone(Settings()) == {moved[2]}
    assert gone(Settings(keep_quarantine_days=None)) == set()
    assert gone(SETTINGS) == {moved[1], moved[2]}
    holds.place(store, holds.Subject("call", f"a-{NEW}"))
    assert gone(SETTINGS) == {moved[1]}
    retention.delete(store, [each for each in retention.expired(store, SETTINGS) if each.table == "quarantine"])
    assert moved[2] in files(lake) and moved[1] not in files(lake)
    assert manifest.deleted_days(store) == set()


def test_what_is_on_hold_stays_in_every_table(lake):
    store = open_store(str(lake))
    holds.place(store, holds.Subject("call", f"a-{OLD}"))
    assert retention.expired(store, EVERYTHING) == []
    holds.release(store, holds.Subject("call", f"a-{OLD}"))
    assert len(retention.expired(store, EVERYTHING)) == 4


def test_a_rollback_brings_the_former_scores_back(lake, calls, bundles, workers):
    call, outcome = "SELECT * FROM call_emotions ORDER BY ALL", "SELECT * FROM outcomes ORDER BY ALL"
    before = ask(lake, call), ask(lake, outcome)
    run_night(calls, lake, bundles[1], workers)
    assert (ask(lake, call), ask(lake, outcome)) != before
    [(version,)] = ask(lake, "SELECT DISTINCT version FROM call_emotions")
    arguments = ["rollback", "--lake", str(lake), "--version", version]
    kept = files(lake)
    assert "6 parts" in CliRunner().invoke(app, arguments).output and files(lake) == kept
    assert "6 parts" in CliRunner().invoke(app, [*arguments, "--delete"]).output
    assert (ask(lake, call), ask(lake, outcome)) == before
    with catalog.connect(str(lake)) as connection:
        assert set(catalog.run_checks(connection).values()) == {0}
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 2 and "tiny-1-" in answer.output


def test_no_emotion_lies_outside_the_deleted_folders(lake):
    """What stays for ever after the retention holds no column of emotion."""
    for table in ("recordings", "outcomes", "runs", "deletions"):
        columns = {name for name, *_ in ask(lake, f"DESCRIBE {table}")}
        assert not [name for name in columns if name.startswith(("p_", "share_", "mean_p_", "negativity", "peak_")) or name == "emotion"]
    assert json.dumps(ask(lake, "SELECT reason, note FROM outcomes")).count("anger") == 0
