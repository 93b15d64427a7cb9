"""Consent that is withdrawn after a call was scored: no view, page or part has its emotion, in any version."""

import json
import shutil
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from ser_tasks.dashboard.app import create_app
from ser_tasks.lake import catalog
from ser_tasks.maintenance import holds, retention, withdrawal
from ser_tasks.monitoring.run_report import write_night_report
from ser_tasks.pipeline.worker_pool import WorkerPool
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from tests.factories.calls import TWO_SIDED, run_night, tiny_bundle, two_sided, write_call
from tests.factories.nights import ask

KEYS = ("a", "b")
EMOTION = "emotion_role IS NOT NULL OR outcome = 'scored' OR share_anger IS NOT NULL OR peak_anger IS NOT NULL OR onset_s IS NOT NULL"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two calls, scored by two models; then the first one's sidecar says that the caller was not informed. And the lake before that."""
    folder = tmp_path_factory.mktemp("made")
    calls, lake = folder / "calls", folder / "lake"
    for name in KEYS:
        sound = two_sided([("agent", 1, 4), ("customer", 5, 11)], 12)
        write_call(calls, f"2026-11-20/{name}.wav", sound, TWO_SIDED | {"call_id": f"call-{name}", "notice_given": True})
    bundles = tiny_bundle(folder), tiny_bundle(folder, name="other", seed=5)
    with WorkerPool(1) as workers:
        workers.start()
        for bundle in bundles:
            run_night(calls, lake, bundle, workers)
            write_night_report(str(lake))
        assert len(ask(lake, "FROM call_emotions_all WHERE call_id = 'call-a' AND outcome = 'scored'")) == 2
        shutil.copytree(lake, folder / "before")
        (calls / "2026-11-20/a.json").write_text(json.dumps(TWO_SIDED | {"call_id": "call-a", "notice_given": False}))
        run = run_night(calls, lake, bundles[0], workers)
        assert (run["planned"], run["withheld"], set(run["checks"].values())) == (1, 1, {0})
        yield folder, bundles, workers


@pytest.fixture
def lake(made, tmp_path):
    shutil.copytree(made[0] / "lake", tmp_path / "lake")
    return tmp_path / "lake"


def shown(lake) -> int:
    """Rows of the views with the emotion of the call."""
    of_calls = f"SELECT count(*) FROM call_emotions_all WHERE call_id = 'call-a' AND ({EMOTION})"
    of_segments = "SELECT count(*) FROM segments_all WHERE call_id = 'call-a' AND (emotion IS NOT NULL OR p_anger IS NOT NULL)"
    return ask(lake, of_calls)[0][0] + ask(lake, of_segments)[0][0]


def stored(lake, call_id: str) -> list[str]:
    """Parts with the emotion of a call."""
    found = []
    for path in lake.rglob("*.parquet"):
        for row in pq.ParquetFile(path).read().to_pylist():
            has = [row.get(name) is not None for name in ("emotion", "emotion_role", "share_anger", "p_anger", "peak_anger", "confidence")]
            if row.get("call_id") == call_id and (any(has) or row.get("outcome") == "scored"):
                found.append(path.relative_to(lake).as_posix())
    return found


def test_no_view_and_no_page_shows_it_from_the_night_on(lake):
    assert shown(lake) == 0
    assert len(ask(lake, "FROM call_emotions_all WHERE call_id = 'call-b' AND outcome = 'scored'")) == 2
    assert len(ask(lake, "FROM segments_all WHERE call_id = 'call-b' AND emotion IS NOT NULL")) >= 2
    [(recording,)] = ask(lake, "SELECT recording_id FROM outcomes WHERE call_id = 'call-a'")
    app = create_app(str(lake), settings=Settings())
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        page = client.get(f"/calls/{recording}").text
    versions = page[page.index("All versions of this call") :]
    assert "%" not in versions[: versions.index("</table>")]


def test_no_part_has_it_after_the_retention(lake):
    store = open_store(str(lake))
    assert stored(lake, "call-a")
    before = (
        ask(lake, "FROM segments_all WHERE call_id = 'call-b' ORDER BY ALL"),
        ask(lake, "FROM call_emotions_all WHERE call_id = 'call-b'"),
    )
    done = withdrawal.withdraw(store, withdrawal.find(store), 0, 0)
    assert done.complete and done.rows["call_emotions"] == 2 and done.rows["outcomes"] == 2
    assert stored(lake, "call-a") == [] and shown(lake) == 0
    after = (
        ask(lake, "FROM segments_all WHERE call_id = 'call-b' ORDER BY ALL"),
        ask(lake, "FROM call_emotions_all WHERE call_id = 'call-b'"),
    )
    assert sorted(map(repr, after[1])) == sorted(map(repr, before[1])) and after[0] == before[0]
    assert ask(lake, "SELECT DISTINCT outcome, reason_code FROM outcomes_all WHERE call_id = 'call-a'") == [("withheld", "no_notice")]
    assert not [path for path in (lake / "reports").rglob("*") if path.is_file() and b"call-a" in path.read_bytes()]
    with catalog.connect(str(lake)) as connection:
        assert set(catalog.run_checks(connection).values()) == {0}
    assert withdrawal.find(store).recordings == frozenset()


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"notice_given": True, "consentWithdrawn": True}, "notice_unclear"),
        ({"notice_given": "no"}, "bad_facts"),
    ],
)
def test_every_refusal_takes_the_emotion_of_all_versions(made, tmp_path, facts, code):
    folder, bundles, workers = made
    lake, calls = tmp_path / "lake", tmp_path / "calls"
    shutil.copytree(folder / "before", lake)
    shutil.copytree(folder / "calls", calls)
    (calls / "2026-11-20/a.json").write_text(json.dumps(TWO_SIDED | {"call_id": "call-a"} | facts))
    assert set(run_night(calls, lake, bundles[0], workers)["checks"].values()) == {0}
    assert ask(lake, "SELECT reason_code FROM outcomes WHERE key LIKE '%a.wav'") == [(code,)]
    assert shown(lake) == 0 and stored(lake, "call-a")
    withdrawal.withdraw(open_store(str(lake)), withdrawal.find(open_store(str(lake))), 0, 0)
    assert stored(lake, "call-a") == [] and len(stored(lake, "call-b")) >= 4
    with catalog.connect(str(lake)) as connection:
        assert set(catalog.run_checks(connection).values()) == {0}


@pytest.mark.parametrize("held", [False, True])
def test_a_rollback_does_not_bring_withdrawn_emotion_back(made, lake, held):
    store = open_store(str(lake))
    if held:
        holds.place(store, holds.Subject("call", "call-a"))
        holds.place(store, holds.Subject("call", "call-b"))
    [(version,)] = ask(lake, "SELECT version FROM newest WHERE reason_code = 'no_notice'")
    before = ask(lake, f"SELECT count(*) FROM parts.segments WHERE emotion IS NOT NULL AND version = '{version}' AND call_id = 'call-b'")
    assert retention.roll_back(store, version, Settings()) == (9 if held else 0)
    assert ask(lake, "SELECT DISTINCT outcome, reason_code FROM outcomes_all WHERE call_id = 'call-a'") == [("withheld", "no_notice")]
    assert shown(lake) == 0
    assert ask(lake, "SELECT count(*) FROM call_emotions WHERE call_id = 'call-b' AND outcome = 'scored'") == [(1,)]
    kept = [row for path in lake.glob("quarantine/*/segments/**/*.parquet") for row in pq.ParquetFile(path).read().to_pylist()]
    assert len([row for row in kept if row["call_id"] == "call-b" and row["emotion"]]) == (before[0][0] if held else 0)
    assert (len([row for row in kept if row["call_id"] == "call-a" and row["emotion"]]) > 0) == held
    with catalog.connect(str(lake)) as connection:
        offending = {name for name, count in catalog.run_checks(connection).items() if count}
    assert offending == {"recordings_without_outcome"}  # only the dropped version had handled the new sidecar: the next night does
    folder, bundles, workers = made
    run = run_night(folder / "calls", lake, bundles[1], workers)
    assert (run["withheld"], run["scored"], set(run["checks"].values())) == (1, 0, {0}) and shown(lake) == 0


def test_retention_keeps_what_is_on_hold(lake):
    store, settings = open_store(str(lake)), Settings(keep_segments_days=1, keep_calls_days=1)
    holds.place(store, holds.Subject("call", "call-b"))
    today = datetime.now(UTC).date().replace(year=2031)
    retention.delete(store, retention.expired(store, settings, today))
    assert {row[0] for row in ask(lake, "SELECT call_id FROM call_emotions_all UNION SELECT call_id FROM segments_all")} == {"call-b"}
    assert len(ask(lake, "FROM segments_all WHERE emotion IS NOT NULL")) >= 2
    assert retention.expired(store, settings, today) == []
    holds.release(store, holds.Subject("call", "call-b"))
    retention.delete(store, retention.expired(store, settings, today))
    assert ask(lake, "SELECT count(*) FROM call_emotions_all") == [(0,)]
