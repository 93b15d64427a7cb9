"""Consent that is withdrawn after a call was scored: no view, page or part has its emotion, in any version."""

import json
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


@pytest.fixture
def lake(tmp_path):
    """Two calls, scored by two models; then the first one's sidecar says that the caller was not informed."""
    calls, lake = tmp_path / "calls", tmp_path / "lake"
    for name in KEYS:
        sound = two_sided([("agent", 1, 4), ("customer", 5, 11)], 12)
        write_call(calls, f"2026-11-20/{name}.wav", sound, TWO_SIDED | {"call_id": f"call-{name}", "notice_given": True})
    bundles = tiny_bundle(tmp_path), tiny_bundle(tmp_path, name="other", seed=5)
    with WorkerPool(1) as workers:
        workers.start()
        for bundle in bundles:
            run_night(calls, lake, bundle, workers)
            write_night_report(str(lake))
        assert len(ask(lake, "FROM call_emotions_all WHERE call_id = 'call-a' AND outcome = 'scored'")) == 2
        (calls / "2026-11-20/a.json").write_text(json.dumps(TWO_SIDED | {"call_id": "call-a", "notice_given": False}))
        run = run_night(calls, lake, bundles[0], workers)
        assert (run["planned"], run["withheld"], set(run["checks"].values())) == (1, 1, {0})
    return lake


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
