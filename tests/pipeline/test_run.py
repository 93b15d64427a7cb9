"""A night end to end, without Prefect: every recording in one outcome, reruns that change nothing, kills that lose nothing."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile as sf
from fastapi.testclient import TestClient

from ser_tasks import schemas
from ser_tasks.dashboard.app import create_app
from ser_tasks.maintenance.doctor import examine
from ser_tasks.monitoring.run_report import worst_calls
from ser_tasks.pipeline import listing_ahead
from ser_tasks.pipeline.run import Night
from ser_tasks.pipeline.worker_pool import WorkerPool
from ser_tasks.settings import Settings
from ser_tasks.storage import LocalStore, open_store
from tests.factories.audio import broken_files
from tests.factories.calls import RATE_HZ, TWO_SIDED, night_of, run_night, tiny_bundle, two_sided, write_call
from tests.factories.nights import NIGHT_SCRIPT, ask, rows, same, start_night, ten_calls


@pytest.fixture(scope="module")
def workers():
    with WorkerPool(2) as pool:
        pool.start()
        yield pool


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    return ten_calls(tmp_path_factory.mktemp("calls"))


OUTCOMES = {
    "both.wav": ("scored", None),
    "wide.flac": ("scored", None),
    "mono.wav": ("withheld", "role_mixed"),
    "nobody-says.wav": ("withheld", "role_unknown"),
    "untold.wav": ("withheld", "no_notice"),
    "dual-mono.wav": ("withheld", "role_mixed"),
    "quiet-customer.wav": ("no_speech", "no_speech"),
    "bad-sidecar.wav": ("quarantined", "bad_facts"),
    "empty.wav": ("quarantined", "empty"),
    "CUST_~_GUID_g1_AGENT_~_DT_2026-11-22T08-00-00.wav": ("scored", None),
}


@pytest.fixture(scope="module")
def night(calls, bundle, workers, tmp_path_factory):
    """An undisturbed night: its lake and its run's row."""
    lake = tmp_path_factory.mktemp("night") / "lake"
    return lake, run_night(calls, lake, bundle, workers)


def test_every_listed_recording_ends_in_the_outcome_it_should(night):
    lake, run = night
    found = {key.rpartition("/")[2]: (outcome, code) for key, outcome, code in ask(lake, "SELECT key, outcome, reason_code FROM outcomes")}
    assert found == OUTCOMES
    assert run["listed"] == run["planned"] == len(OUTCOMES)
    assert (run["scored"], run["withheld"], run["no_speech"], run["quarantined"], run["failed"]) == (3, 4, 1, 2, 0)
    assert all(reason for (reason,) in ask(lake, "SELECT reason FROM outcomes WHERE outcome <> 'scored'"))


def test_all_checks_are_silent(night):
    assert set(night[1]["checks"].values()) == {0}


def test_the_tables_have_the_schemas_columns(night):
    lake, _ = night
    for table, schema in schemas.TABLES.items():
        for path in (lake / table).rglob("*.parquet"):
            assert pq.ParquetFile(path).schema_arrow.equals(schema)
            assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"


def test_only_customers_have_emotions_and_every_segment_has_its_place(night):
    lake, _ = night
    assert ask(lake, "SELECT DISTINCT role FROM segments WHERE emotion IS NOT NULL") == [("customer",)]
    assert ask(lake, "SELECT count(*) > 0 FROM segments WHERE role = 'agent' AND loudness_dbfs IS NOT NULL") == [(True,)]
    assert ask(lake, "SELECT DISTINCT policy FROM segments") == [("customers_only",)]
    spans = ask(lake, "SELECT start_s, end_s FROM segments WHERE call_id = 'both' AND role = 'customer' ORDER BY start_s")
    assert all(1 <= end - start <= 6 for start, end in spans)
    assert spans[0][0] == pytest.approx(5, abs=0.4) and spans[-1][1] == pytest.approx(16, abs=0.4)


def test_a_call_s_row_tells_its_facts_and_their_sources(night):
    lake, _ = night
    [row] = ask(
        lake,
        """SELECT call_date::VARCHAR, queue, queue_source, started_at_source, agent_pseudonym, codec, container, sampling_rate_hz,
                  round(duration_s), round(customer_speech_s), round(agent_speech_s), roles_source, channel_roles
           FROM call_emotions WHERE call_id = 'both'""",
    )
    assert row[:9] == ("2026-11-20", "sales", "sidecar", "sidecar", None, "ULAW", "WAV", 8000, 20)
    assert row[9] == pytest.approx(10, abs=1) and row[10] == pytest.approx(6.5, abs=1)
    assert row[11:] == ("sidecar", "agent,customer")
    assert ask(lake, "SELECT started_at, started_at_source FROM call_emotions WHERE key LIKE '%wide.flac'") == [(None, None)]
    [(overlap_s, by_agent)] = ask(lake, "SELECT overlap_s, interruptions_by_agent FROM call_emotions WHERE call_id = 'both'")
    assert overlap_s == pytest.approx(1, abs=0.5) and by_agent == 1


def test_a_16_khz_recording_scores_as_its_8_khz_twin(night):
    lake, _ = night
    pairs = ask(
        lake,
        """SELECT a.p_anger, b.p_anger FROM segments a JOIN segments b
           ON a.role = b.role AND abs(a.start_s - b.start_s) < 0.2 AND abs(a.end_s - b.end_s) < 0.2
           WHERE a.call_id = 'both' AND b.call_id LIKE '%wide' AND a.emotion IS NOT NULL""",
    )
    assert pairs and all(abs(a - b) < 0.1 for a, b in pairs)


def test_no_id_of_a_person_is_anywhere_in_the_lake(night, calls):
    lake, _ = night
    for path in lake.rglob("*.parquet"):
        text = json.dumps(pq.ParquetFile(path).read().to_pylist(), default=str)
        for identifier in ("ann.b", "c-4711", "98765", "ZoeQ"):
            assert identifier not in text, path


def test_with_a_key_ids_are_pseudonymised(calls, bundle, workers, tmp_path):
    run = run_night(calls, tmp_path / "lake", bundle, workers, settings=Settings(pseudonym_key="a key of the tests"))
    found = ask(tmp_path / "lake", "SELECT agent_pseudonym, customer_pseudonym FROM call_emotions WHERE call_id = 'both'")
    assert all(len(value) == 32 for value in found[0])
    assert run["pseudonyms"] is True


def test_a_rerun_changes_nothing(night, calls, bundle, workers):
    lake, _ = night
    before = {path: path.read_bytes() for path in lake.rglob("*.parquet") if "runs" not in path.parts}
    run = run_night(calls, lake, bundle, workers)
    after = {path: path.read_bytes() for path in lake.rglob("*.parquet") if "runs" not in path.parts}
    assert before == after
    assert (run["planned"], run["scored"], run["listed"]) == (0, 0, len(OUTCOMES))


def test_the_rows_do_not_depend_on_how_the_night_is_cut_up(night, calls, bundle, workers, tmp_path):
    lake, _ = night
    settings = Settings(chunk_recordings=1, frames_per_batch=200)
    run_night(calls, tmp_path / "lake", bundle, workers, settings=settings)
    columns = "key, start_s, end_s, role, emotion, p_anger, p_happiness, loudness_dbfs, snr_db"
    query = f"SELECT {columns} FROM segments JOIN (SELECT key, recording_id FROM call_emotions) USING (recording_id) ORDER BY ALL"
    one, other = ask(lake, query), ask(tmp_path / "lake", query)
    assert len(one) == len(other) > 10
    for a, b in zip(one, other, strict=True):
        assert a[:5] == b[:5]
        assert a[5:] == pytest.approx(b[5:], abs=1e-5)


def test_a_large_night_plans_and_asks_in_other_processes_and_has_the_same_rows(night, calls, bundle, workers, tmp_path, monkeypatch):
    """Large is smaller here."""
    monkeypatch.setattr(listing_ahead, "MOST", 5)
    monkeypatch.setattr("ser_tasks.pipeline.run.ASKED_HERE", 5)
    with night_of(calls, tmp_path / "lake", bundle, workers) as large:
        for chunk in large.list_and_plan().chunks:
            large.publish(large.extract(*chunk))
        assert set(large.check().values()) == {0} and large.ask(process_of) != os.getpid()
        worst = large.ask(worst_calls, large.spec.run_id)
        with large.connect() as connection:
            assert worst == worst_calls(connection, large.spec.run_id) != []
        large.write_run({})
    same(night[0], tmp_path / "lake")


def process_of(connection) -> int:
    return os.getpid()


def test_another_model_is_a_version_beside_the_old_one(night, calls, workers, tmp_path):
    lake = tmp_path / "lake"
    shutil.copytree(night[0], lake)
    old = rows(lake, "segments")
    other = tiny_bundle(tmp_path, name="other", model="crnn", seed=5)
    run = run_night(calls, lake, other, workers)
    assert run["planned"] == 0 and run["scored"] == 3 and set(run["checks"].values()) == {0}
    assert [row for row in rows(lake, "segments") if "other-1" not in row["model"]] == old
    assert ask(lake, "SELECT count(DISTINCT model), count(*) FROM call_emotions") == [(1, 8)]
    assert ask(lake, "SELECT count(DISTINCT model), count(*) FROM call_emotions_all") == [(2, 16)]


def test_priors_are_another_version_and_in_every_row(night, calls, bundle, workers, tmp_path):
    lake = tmp_path / "lake"
    shutil.copytree(night[0], lake)
    shares = {"anger": 0.05, "happiness": 0.1, "neutral": 0.8, "sadness": 0.05}
    run = run_night(calls, lake, bundle, workers, settings=Settings(priors=shares))
    assert run["scored"] == 3 and set(run["checks"].values()) == {0}
    told = "anger=0.05,happiness=0.1,neutral=0.8,sadness=0.05"
    for table in ("segments", "call_emotions", "outcomes"):
        assert ask(lake, f"SELECT DISTINCT priors FROM {table}") == [(told,)], table
    columns = ", ".join(f"p_{label}" for label in shares)
    query = (
        f"SELECT recording_id, channel, start_s, {columns} FROM segments_all WHERE emotion IS NOT NULL AND priors IS {{}} NULL ORDER BY ALL"
    )
    plain, corrected = ask(lake, query.format("")), ask(lake, query.format("NOT"))
    assert len(plain) == len(corrected) > 5
    for before, after in zip(plain, corrected, strict=True):
        by_hand = np.array(before[3:]) * list(shares.values())
        assert before[:3] == after[:3] and after[3:] == pytest.approx(by_hand / by_hand.sum(), abs=1e-5)


def test_another_policy_is_a_version_too_and_scores_what_was_withheld(night, calls, bundle, workers, tmp_path):
    lake = tmp_path / "lake"
    shutil.copytree(night[0], lake)
    run = run_night(calls, lake, bundle, workers, policy="customers_and_mixed")
    assert (run["scored"], run["withheld"]) == (5, 2) and set(run["checks"].values()) == {0}
    assert ask(lake, "SELECT DISTINCT emotion_role FROM call_emotions WHERE key LIKE '%mono.wav'") == [("mixed",)]
    assert ask(lake, "SELECT DISTINCT policy FROM call_emotions") == [("customers_and_mixed",)]


def test_a_reuploaded_recording_is_a_new_version_of_its_call(bundle, workers, tmp_path):
    call = two_sided([("customer", 1, 6), ("agent", 6.5, 7.5)], 8)
    write_call(tmp_path / "calls", "2026-11-20/a.wav", call, TWO_SIDED)
    run_night(tmp_path / "calls", tmp_path / "lake", bundle, workers)
    write_call(tmp_path / "calls", "2026-11-20/a.wav", np.concatenate([call, call]), TWO_SIDED)
    run = run_night(tmp_path / "calls", tmp_path / "lake", bundle, workers)
    assert (run["planned"], run["scored"], set(run["checks"].values())) == (1, 1, {0})
    assert ask(tmp_path / "lake", "SELECT duration_s FROM call_emotions") == [(16.0,)]
    assert ask(tmp_path / "lake", "SELECT count(*) FROM call_emotions_all") == [(2,)]


def test_a_copied_folder_is_the_same_recordings_to_nights_doctor_and_players(bundle, workers, tmp_path):
    """Another root, other times, as ``cp -r`` makes them; then another model scores the copy."""
    lake, folder, copy = (tmp_path / name for name in ("lake", "calls", "copy"))
    write_call(folder, "2026-11-20/a.wav", two_sided([("customer", 1, 6), ("agent", 6.5, 7.5)], 8), TWO_SIDED)
    run_night(folder, lake, bundle, workers)
    shutil.copytree(folder, copy)
    for path in copy.rglob("*.*"):
        os.utime(path, (2e9, 2e9))
    run = run_night(copy, lake, bundle, workers)
    assert (run["listed"], run["planned"], run["scored"], set(run["checks"].values())) == (1, 0, 0, {0})
    assert examine(str(lake), str(copy)).findings == []
    [(recording_id,)] = ask(lake, "SELECT recording_id FROM call_emotions")
    with TestClient(create_app(str(lake), str(copy)), base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as browser:
        played = browser.get(f"/calls/{recording_id}/recording", follow_redirects=True)
        assert played.status_code == 200 and played.content == (copy / "2026-11-20/a.wav").read_bytes()
    run = run_night(copy, lake, str(tiny_bundle(tmp_path, name="other", seed=5)), workers)
    assert (run["planned"], run["scored"], set(run["checks"].values())) == (0, 1, {0})
    assert ask(lake, "SELECT count(*), count(DISTINCT etag) FROM call_emotions_all") == [(2, 1)]
    (copy / "2026-11-20/a.wav").write_bytes((folder / "2026-11-20/a.wav").read_bytes()[:-1] + b"x")
    assert [finding.kind for finding in examine(str(lake), str(copy)).findings] == ["not_planned"]


def test_a_folder_of_broken_files_stops_nothing(bundle, workers, tmp_path):
    folder = tmp_path / "calls"
    folder.mkdir()
    expected = broken_files(folder)
    write_call(folder, "2026-11-20/good.wav", two_sided([("customer", 1, 6)], 8), TWO_SIDED)
    run = run_night(folder, tmp_path / "lake", bundle, workers)
    found = {key: rest for key, *rest in ask(tmp_path / "lake", "SELECT key, outcome, reason_code, note FROM outcomes")}
    assert found.pop("2026-11-20/good.wav")[0] == "scored"
    for name, code in expected.items():
        if Path(name).suffix.lower() not in Settings().recording_suffixes:
            continue
        outcome, reason_code, note = found[name]
        if code == "truncated":
            assert outcome != "quarantined" and note, name
        else:
            assert (outcome, reason_code) == ("quarantined", code), name
    assert run["failed"] == 0 and run["listed"] == len(found) + 1


def test_a_recording_that_changes_after_it_was_listed_fails_and_is_done_next_night(bundle, workers, tmp_path, monkeypatch):
    folder, lake = tmp_path / "calls", tmp_path / "lake"
    for name in ("a.wav", "b.wav", "c.wav"):
        write_call(folder, f"2026-11-20/{name}", two_sided([("customer", 1, 6)], 8), TWO_SIDED)
    real = Night.list_and_plan

    def meddle(self):
        plan = real(self)
        write_call(folder, "2026-11-20/a.wav", two_sided([("customer", 1, 9)], 10), TWO_SIDED)
        (folder / "2026-11-20/b.wav").unlink()
        return plan

    monkeypatch.setattr(Night, "list_and_plan", meddle)
    run = run_night(folder, lake, bundle, workers)
    assert (run["failed"], run["scored"]) == (2, 1)
    assert ask(lake, "SELECT DISTINCT reason_code FROM outcomes WHERE outcome = 'failed'") == [("changed",)]
    monkeypatch.undo()
    run = run_night(folder, lake, bundle, workers)
    assert (run["planned"], run["scored"], run["failed"]) == (1, 1, 0)
    assert ask(lake, "SELECT key, outcome FROM outcomes ORDER BY key") == [
        ("2026-11-20/a.wav", "scored"),
        ("2026-11-20/b.wav", "failed"),
        ("2026-11-20/c.wav", "scored"),
    ]


def test_a_broken_machine_fails_the_chunk_which_is_retried_and_leaves_one_row(bundle, workers, tmp_path):
    folder, lake = tmp_path / "calls", tmp_path / "lake"
    for name in ("a.wav", "b.wav"):
        write_call(folder, f"2026-11-20/{name}", two_sided([("customer", 1, 6)], 8), TWO_SIDED)
    with night_of(folder, lake, bundle, workers) as night:
        for day, chunk_id in night.list_and_plan().chunks:
            night.give_up(day, chunk_id, OSError(28, "No space left on device"))
        run = night.write_run(night.check())
    assert (run["failed"], run["failed_chunks"], run["checks_failed"]) == (2, 1, 0)
    assert ask(lake, "SELECT DISTINCT outcome, reason_code FROM outcomes") == [("failed", "chunk_failed")]
    run = run_night(folder, lake, bundle, workers)
    assert (run["planned"], run["failed"], run["scored"], set(run["checks"].values())) == (0, 0, 2, {0})
    assert ask(lake, "SELECT count(*), min(attempts), max(attempts) FROM outcomes_all") == [(2, 1, 1)]  # the machine's fault is no attempt


@pytest.mark.faults
def test_a_crash_before_any_write_loses_and_doubles_nothing(night, calls, bundle, workers, tmp_path, monkeypatch):
    """The night is stopped at its first write, its second, and so on, and run again: the lake is the undisturbed one."""

    class Crash(BaseException):
        pass

    def stopping(real, left: list[int]):
        def write(*arguments):
            if left[0] == 0:
                raise Crash
            left[0] -= 1
            return real(*arguments)

        return write

    for stop_at in range(14):
        lake, left = tmp_path / f"lake-{stop_at}", [stop_at]
        with monkeypatch.context() as patch:
            patch.setattr(LocalStore, "write_bytes", stopping(LocalStore.write_bytes, left))
            patch.setattr(LocalStore, "create_bytes", stopping(LocalStore.create_bytes, left))
            with contextlib.suppress(Crash):
                run_night(calls, lake, bundle, workers)
        run = run_night(calls, lake, bundle, workers)
        assert set(run["checks"].values()) == {0}
        same(night[0], lake)


@pytest.mark.faults
def test_two_runs_at_once_double_nothing(calls, bundle, workers, tmp_path):
    lake = tmp_path / "lake"
    processes = [start_night(tmp_path, calls, lake, bundle) for _ in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0], (tmp_path / "stderr").read_text()
    run_night(calls, tmp_path / "whole", bundle, workers, settings=Settings(chunk_recordings=2))
    same(tmp_path / "whole", lake)


def test_what_another_run_was_quicker_with_stays_as_it_is(calls, bundle, workers, tmp_path):
    lake = tmp_path / "lake"
    with night_of(calls, lake, bundle, workers) as slow:
        extracted = [slow.extract(*chunk) for chunk in slow.list_and_plan().chunks]
        quick = run_night(calls, lake, bundle, workers)
        written = {path: path.stat().st_mtime_ns for path in lake.rglob("*.parquet")}
        for chunk in extracted:
            slow.publish(chunk)
        assert {path: path.stat().st_mtime_ns for path in lake.rglob("*.parquet")} == written
        row = slow.write_run(slow.check())
    assert quick["scored"] > 0
    assert [row[outcome] for outcome in ("scored", "no_speech", "withheld", "quarantined", "failed")] == [0] * 5


def test_a_chunk_that_its_run_published_before_counts_as_it_did_then(calls, bundle, workers, tmp_path):
    """A machine may be lost after it published and before it could say so: the chunk is handled again, and changes nothing."""
    with night_of(calls, tmp_path / "lake", bundle, workers) as night:
        [chunk, *_] = night.list_and_plan().chunks
        first, second = (night.publish(night.extract(*chunk)) for _ in range(2))
    assert second.outcomes == first.outcomes and first.outcomes["scored"] > 0


def test_a_night_over_s3_gives_the_rows_of_a_local_one(s3, night, calls, bundle, tmp_path):
    open_store.cache_clear()
    source, lake = s3.bucket("calls"), s3.bucket("lake")
    for path in calls.rglob("*.*"):
        s3.client.upload_file(str(path), source, path.relative_to(calls).as_posix())
    run = run_night(f"s3://{source}", f"s3://{lake}/deep/er", bundle)
    assert set(run["checks"].values()) == {0} and run["listed"] == len(OUTCOMES)
    query = "SELECT key, outcome, reason_code FROM outcomes ORDER BY key"
    assert ask(f"s3://{lake}/deep/er", query) == ask(night[0], query)
    columns = "call_id, start_s, end_s, role, emotion, p_anger"
    local = ask(night[0], f"SELECT {columns} FROM segments ORDER BY ALL")
    remote = ask(f"s3://{lake}/deep/er", f"SELECT {columns} FROM segments ORDER BY ALL")
    assert [row[:5] for row in local] == [row[:5] for row in remote]
    assert [row[5] for row in local] == pytest.approx([row[5] for row in remote], abs=1e-5, nan_ok=True)
    assert run_night(f"s3://{source}", f"s3://{lake}/deep/er", bundle)["scored"] == 0


@pytest.mark.slow
def test_a_4_hour_stereo_call_stays_under_500_mb(bundle, tmp_path):
    """Peak memory of the worker that extracts it, and of the process that scores it."""
    minute = two_sided([("agent", 1, 25), ("customer", 27, 58)], 60)
    path = tmp_path / "calls" / "2026-11-20" / "long.wav"
    path.parent.mkdir(parents=True)
    with sf.SoundFile(path, "w", RATE_HZ, 2, subtype="ULAW") as file:
        for _ in range(240):
            file.write(minute)
    path.with_suffix(".json").write_text(json.dumps(TWO_SIDED))
    script = tmp_path / "night.py"
    script.write_text(
        NIGHT_SCRIPT + " import resource\n"
        " print(*(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))\n"
    )
    arguments = [Path(__file__).parents[2], tmp_path / "calls", tmp_path / "lake", bundle, tmp_path / "scratch"]
    answer = subprocess.run([sys.executable, script, *map(str, arguments)], capture_output=True, text=True, check=True)
    main_kb, worker_kb = map(int, answer.stdout.split())
    assert worker_kb < 500_000, worker_kb
    assert ask(tmp_path / "lake", "SELECT outcome, audio_s FROM outcomes") == [("scored", 14_400.0)]
