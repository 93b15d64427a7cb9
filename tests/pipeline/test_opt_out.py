"""Customers on the opt-out list: no row of theirs has emotion, under any model, before and after; and the list never reaches the lake."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from ser_tasks.calls.metadata import pseudonym
from ser_tasks.lake import catalog
from ser_tasks.maintenance import holds, withdrawal
from ser_tasks.maintenance.compaction import compact
from ser_tasks.pipeline.worker_pool import WorkerPool
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from tests.factories.calls import TWO_SIDED, run_night, tiny_bundle, two_sided, write_call
from tests.factories.nights import ask

KEYED = Settings(pseudonym_key="a key of the tests")
LISTED, OTHER = "c-4711", "c-0815"
DAY = "2026-11-20"
EMOTION = {
    "call_emotions_all": "outcome = 'scored' OR emotion_role IS NOT NULL OR share_anger IS NOT NULL OR peak_anger IS NOT NULL",
    "segments_all": "emotion IS NOT NULL OR confidence IS NOT NULL OR p_anger IS NOT NULL",
    "outcomes_all": "outcome = 'scored'",
}


@pytest.fixture(scope="module")
def workers():
    with WorkerPool(1) as pool:
        pool.start()
        yield pool


@pytest.fixture(scope="module")
def made(tmp_path_factory, workers):
    """Two customers' calls, one chunk, scored by two models; and the bundles."""
    folder = tmp_path_factory.mktemp("made")
    for who in (LISTED, OTHER):
        write_call(folder / "calls", f"{DAY}/{who[-2:]}.wav", call(), TWO_SIDED | {"call_id": f"of-{who[-2:]}", "customer_id": who})
    bundles = tiny_bundle(folder), tiny_bundle(folder, name="other", seed=5)
    for bundle in bundles:
        run_night(folder / "calls", folder / "lake", bundle, workers, settings=KEYED)
    return folder, bundles


@pytest.fixture
def place(made, tmp_path):
    for name in ("calls", "lake"):
        shutil.copytree(made[0] / name, tmp_path / name)
    return tmp_path


def call():
    return two_sided([("agent", 1, 3), ("customer", 3.5, 7)], 8)


def opting_out(folder: Path, *people: str, settings: Settings = KEYED) -> Settings:
    (folder / "opt-out.txt").write_text("\n".join(["# who opted out", *people]))
    return settings.model_copy(update={"opt_out": str(folder / "opt-out.txt")})


def emotion(lake: Path, call_id: str) -> int:
    """Rows of all versions with emotion of a call."""
    return sum(ask(lake, f"SELECT count(*) FROM {view} WHERE call_id = '{call_id}' AND ({has})")[0][0] for view, has in EMOTION.items())


def leaks(lake: Path) -> list[str]:
    return [path.name for path in lake.rglob("*") if path.is_file() and LISTED.encode() in path.read_bytes()]


@pytest.mark.parametrize("settings", [KEYED, pytest.param(Settings(), marks=pytest.mark.slow)], ids=["key", "no key"])
def test_new_calls_are_withheld_once_and_for_ever(made, workers, tmp_path, settings):
    folder, bundles = made
    lake, listed = tmp_path / "lake", opting_out(tmp_path, LISTED, settings=settings)
    run = run_night(folder / "calls", lake, bundles[0], workers, settings=listed)
    assert (run["scored"], run["withheld"], set(run["checks"].values())) == (1, 1, {0})
    rows = ask(
        lake, "SELECT call_id, o.outcome, reason_code, c.outcome FROM outcomes AS o JOIN call_emotions AS c USING (call_id) ORDER BY 1"
    )
    assert rows == [("of-11", "withheld", "opted_out", "withheld"), ("of-15", "scored", None, "scored")]
    assert ask(lake, "SELECT DISTINCT not_scored_reason FROM segments WHERE call_id = 'of-11' AND role = 'customer'") == [("opted_out",)]
    assert emotion(lake, "of-11") == 0 and emotion(lake, "of-15") >= 3 and leaks(lake) == []
    alone = run_night(folder / "calls", tmp_path / "alone", bundles[0], workers, settings=settings)
    assert alone["scored"] == 2  # and the other's scores are what they are without a list:
    same = "SELECT * EXCLUDE (scored_at, run_id) FROM segments WHERE call_id = 'of-15' ORDER BY ALL"
    for row, before in zip(ask(lake, same), ask(tmp_path / "alone", same), strict=True):  # in other batches: float32's last digits differ
        assert row == tuple(pytest.approx(value, abs=1e-6) if isinstance(value, float) else value for value in before)
    assert run_night(folder / "calls", lake, bundles[0], workers, settings=listed)["planned"] == 0  # not tried each night
    again = run_night(folder / "calls", lake, bundles[1], workers, settings=settings)  # off the list: the same call stays withheld
    assert (again["scored"], again["withheld"]) == (1, 1) and emotion(lake, "of-11") == 0


def test_a_call_recorded_after_the_customer_left_the_list_is_scored(place, made, workers):
    lake, bundle = place / "lake", made[1][0]
    run_night(place / "calls", lake, bundle, workers, settings=opting_out(place, LISTED))
    write_call(place / "calls", "2026-11-22/late.wav", call(), TWO_SIDED | {"call_id": "later", "customer_id": LISTED})
    assert run_night(place / "calls", lake, bundle, workers, settings=opting_out(place))["scored"] == 1
    assert emotion(lake, "later") >= 3 and emotion(lake, "of-11") == 0


@pytest.mark.parametrize(("compacted", "as_pseudonym"), [(False, True), (True, False)])
def test_scored_calls_lose_their_emotion_in_every_version_and_part(place, made, workers, compacted, as_pseudonym):
    lake, store = place / "lake", open_store(str(place / "lake"))
    if compacted:
        write_call(place / "calls", f"{DAY}/third.wav", call(), TWO_SIDED | {"call_id": "third", "customer_id": OTHER})
        for bundle in made[1]:
            run_night(place / "calls", lake, bundle, workers, settings=KEYED)
        compact(store, KEYED, -36_500, 0, 0)
    other = ask(lake, "FROM call_emotions_all WHERE call_id = 'of-15' ORDER BY ALL")
    shutil.rmtree(place / "calls")  # the recordings are gone: it needs none of them
    (place / "calls").mkdir()
    listed = opting_out(place, pseudonym("customer", LISTED, KEYED) if as_pseudonym else LISTED)
    assert set(run_night(place / "calls", lake, made[1][0], workers, settings=listed)["checks"].values()) == {0}
    assert emotion(lake, "of-11") == 0
    assert ask(lake, "SELECT outcome, reason_code FROM outcomes WHERE call_id = 'of-11'") == [("withheld", "opted_out")]
    assert sorted(map(repr, ask(lake, "FROM call_emotions_all WHERE call_id = 'of-15'"))) == sorted(map(repr, other))
    withdrawal.withdraw(store, withdrawal.find(store), 0, 0)
    assert emotion(lake, "of-11") == 0 and withdrawal.find(store).codes == {}
    assert ask(lake, "SELECT count(*) FROM parts.segments WHERE call_id = 'of-11' AND emotion IS NOT NULL") == [(0,)]
    with catalog.connect(str(lake)) as connection:
        assert set(catalog.run_checks(connection).values()) == {0}


def test_a_call_on_hold_stays_until_it_is_released(place, made, workers):
    lake, store, listed = place / "lake", open_store(str(place / "lake")), opting_out(place, LISTED)
    subject = holds.subject(store, "customer", LISTED, KEYED)
    holds.place(store, subject)
    before = emotion(lake, "of-11")
    run_night(place / "calls", lake, made[1][0], workers, settings=listed)
    assert emotion(lake, "of-11") == before > 0
    holds.release(store, subject)
    run_night(place / "calls", lake, made[1][0], workers, settings=listed)
    assert emotion(lake, "of-11") == 0


def test_a_list_that_cannot_be_read_stops_the_night_before_anything_is_written(place, made, monkeypatch):
    monkeypatch.setenv("SER_OPT_OUT", str(place / "none.txt"))
    shutil.rmtree(place / "lake")
    arguments = ["nightly", "--recordings", str(place / "calls"), "--lake", str(place / "lake"), "--model", str(made[1][0])]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 2 and len(answer.output.strip().splitlines()) == 1 and "SER_OPT_OUT" in answer.output
    assert not (place / "lake").exists()


def test_a_part_that_cannot_be_read_delays_the_withdrawal_and_stops_no_night(place, made, workers):
    lake, listed = place / "lake", opting_out(place, LISTED)
    broken = next((lake / "call_emotions").rglob("*.parquet"))
    whole = broken.read_bytes()
    broken.write_bytes(whole[:300])
    run = run_night(place / "calls", lake, made[1][0], workers, settings=listed)
    assert run["listed"] == 2
    broken.write_bytes(whole)
    run_night(place / "calls", lake, made[1][0], workers, settings=listed)
    assert emotion(lake, "of-11") == 0
