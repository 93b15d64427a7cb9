"""Erasure: no byte of the lake names the person, everything else stays, nothing comes back, and a kill at any point is completed."""

import json
import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from flows.cli import app
from ser_tasks import schemas
from ser_tasks.calls.metadata import pseudonym, recording_id
from ser_tasks.lake import catalog, erased, parts
from ser_tasks.maintenance import doctor, erasure, holds
from ser_tasks.maintenance.compaction import compact
from ser_tasks.monitoring.run_report import write_night_report
from ser_tasks.pipeline.worker_pool import WorkerPool
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from tests.factories.calls import TWO_SIDED, run_night, tiny_bundle, two_sided, write_call
from tests.factories.lakes import row, write
from tests.factories.nights import ask

SETTINGS = Settings(pseudonym_key="a key of the tests")
PERSON, OTHER = "c-4711", "c-0815"
DAYS = (date(2026, 11, 20), date(2026, 11, 21))
HERS = {f"{day}/{name}.wav": f"hers-{day}-{name}" for day in DAYS for name in ("first", "third")}
ANY_DAY = -36_500


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Recordings of two people over two days, and a lake: two model versions, compacted, with quarantine, a report and an alert."""
    folder = tmp_path_factory.mktemp("made")
    calls, lake = folder / "calls", folder / "lake"
    sound = two_sided([("agent", 1, 4), ("customer", 5, 15)], 16)
    for number, (key, call_id) in enumerate(HERS.items()):
        facts = TWO_SIDED | {"call_id": call_id, "customer_id": PERSON, "agent_id": "ann", "queue": "sales", "notice_given": True}
        write_call(calls, key, sound, facts)
        other = {"call_id": f"other-{number}", "customer_id": OTHER}
        write_call(calls, f"{DAYS[number % 2]}/{number}-second.wav", sound, facts | other)
    (calls / f"{DAYS[0]}/bad.wav").write_bytes(b"no sound")
    (calls / f"{DAYS[0]}/bad.json").write_text(json.dumps({"call_id": "hers-bad", "customer_id": PERSON}))
    bundles = tiny_bundle(folder), tiny_bundle(folder, name="other", seed=5)
    settings = SETTINGS.model_copy(update={"chunk_recordings": 3})
    with WorkerPool(1) as workers:
        workers.start()
        for bundle in bundles:
            run_night(calls, lake, bundle, workers, settings=settings)
            write_night_report(str(lake))
        broken = next((lake / "segments").rglob("*.parquet"))
        broken.write_bytes(broken.read_bytes()[:300])
        doctor.repair(doctor.examine(str(lake)))
        run_night(calls, lake, bundles[1], workers, settings=settings)
        run_night(calls, lake, bundles[0], workers, settings=settings)
        compact(open_store(str(lake)), settings, ANY_DAY, 0, 0)
        store = open_store(str(lake))
        [first, *_] = parts.keys(store, "runs/")
        [run] = parts.read(store, first, "runs").to_pylist()
        listed = f"{DAYS[0]}/first.json, {DAYS[0]}/other.json"  # her sidecar came a night before the recording
        store.write_bytes(first, parts.encode("runs", schemas.table("runs", [run | {"lone_sidecar_keys": listed}])))
        message = f"The call hers-{DAYS[0]}-first is angry."
        write(str(lake), "alerts", [row("alerts", rule="r", subject="sales", message=message, found_at=datetime.now(UTC))])
        assert list((lake / "quarantine").rglob("*.parquet"))
        assert len(ask(lake, "SELECT DISTINCT version FROM outcomes_all")) == 2
        yield calls, lake, bundles, workers


@pytest.fixture
def lake(made, tmp_path):
    shutil.copytree(made[1], tmp_path / "lake")
    return tmp_path / "lake"


def words() -> list[str]:
    """What would name the person."""
    ids = [recording_id(key, SETTINGS.pseudonym_keys()) for key in [*HERS, f"{DAYS[0]}/bad.wav"]]
    sidecars = [key.replace(".wav", ".json") for key in HERS]
    return [PERSON, pseudonym("customer", PERSON, SETTINGS), *HERS.values(), *HERS, *sidecars, *ids, "hers-"]


def naming(lake: Path, gone: list[str] | None = None) -> set[str]:
    """Files of the lake with one of the words in their bytes, values or statistics. Hidden ones, too."""
    found = set()
    for path in (path for path in lake.rglob("*") if path.is_file()):
        data = path.read_bytes()
        text = data.decode("latin-1")
        if data[:4] == b"PAR1" and data[-4:] == b"PAR1":
            file = pq.ParquetFile(path)
            groups = [file.metadata.row_group(number).to_dict() for number in range(file.metadata.num_row_groups)]
            text += repr(file.read().to_pylist()) + repr(groups)
        if any(word in text for word in gone or words()):
            found.add(path.relative_to(lake).as_posix())
    return found


def others(lake: Path) -> list[tuple]:
    """Everything that the lake says of the others."""
    hers = ", ".join(f"'{each}'" for each in words())
    views = ("recordings_all", "outcomes_all", "call_emotions_all", "segments_all", "outcomes", "call_emotions", "segments")
    return [row for view in views for row in sorted(ask(lake, f"FROM {view} WHERE recording_id NOT IN ({hers})"), key=repr)]


def erase(lake: Path, kind: str = "customer", text: str = PERSON, recordings: Path | None = None) -> erasure.Erasure:
    store = open_store(str(lake))
    subject = holds.subject(store, kind, text, SETTINGS)
    target = erasure.find(store, subject, SETTINGS, open_store(str(recordings)) if recordings else None)
    return erasure.erase(store, target, SETTINGS, 0, 0)


def test_no_byte_of_a_compacted_lake_with_quarantine_and_two_versions_names_her(made, lake):
    folders = {name.split("/")[0] for name in naming(lake)}
    assert folders >= {"recordings", "outcomes", "call_emotions", "segments", "quarantine", "reports", "alerts"}
    before = others(lake)
    done = erase(lake, recordings=made[0])
    assert done.complete
    assert naming(lake) == set()
    assert others(lake) == before
    with catalog.connect(str(lake)) as connection:
        assert set(catalog.run_checks(connection).values()) == {0}
    assert list(doctor.examine(str(lake)).lines()) == []


@pytest.mark.parametrize("by", ["customer's pseudonym", "agent", "agent's pseudonym", "call", "recording"])
def test_no_byte_names_what_was_erased_by_any_id(made, lake, by):
    kind = by.split("'")[0] if by != "recording" else "call"
    call_id, key = f"hers-{DAYS[0]}-first", next(iter(HERS))
    person = {"customer": PERSON, "agent": "ann"}.get(kind)
    known_as = recording_id(key, SETTINGS.pseudonym_keys())
    text = {"call": call_id, "recording": known_as}.get(by) or (pseudonym(kind, person, SETTINGS) if "'" in by else person)
    gone = [call_id, key, key.replace(".wav", ".json"), known_as] if kind == "call" else words()
    if kind == "agent":  # the recording that is no sound has none
        sidecars = [each.replace(".wav", ".json") for each in HERS]
        gone = [pseudonym("agent", person, SETTINGS), *HERS, *HERS.values(), *sidecars, *map(recording_id, HERS)]
    before = naming(lake, gone)
    assert {name.split("/")[0] for name in before} >= {"recordings", "outcomes", "call_emotions", "segments", "reports", "alerts", "runs"}
    assert erase(lake, kind, text, made[0]).complete
    assert naming(lake, gone) == set()
    assert (ask(lake, "SELECT count(*) FROM call_emotions WHERE call_id LIKE 'hers-%'") == [(3,)]) == (kind == "call")


def test_nothing_comes_back_and_the_doctor_misses_nothing(made, lake, monkeypatch):
    calls, _, bundles, workers = made
    monkeypatch.setenv("SER_PSEUDONYM_KEY", SETTINGS.pseudonym_key.get_secret_value())
    erase(lake, recordings=calls)
    before = others(lake)
    for bundle in bundles:
        run = run_night(calls, lake, bundle, workers, settings=SETTINGS)
        assert (run["listed"], run["planned"], run["scored"], run["ignored_keys"]) == (4, 0, 0, 0)
        assert set(run["checks"].values()) == {0}
    assert others(lake) == before
    assert naming(lake) == set()
    assert list(doctor.examine(str(lake), str(calls)).lines()) == []
    compact(open_store(str(lake)), SETTINGS, ANY_DAY, 0, 0)
    assert others(lake) == before
    monkeypatch.delenv("SER_PSEUDONYM_KEY")
    with pytest.raises(ValueError, match="SER_PSEUDONYM_KEY"):
        run_night(calls, lake, bundles[0], workers, settings=Settings())


def test_a_night_that_had_planned_her_call_does_not_write_it(made, lake, tmp_path):
    from tests.factories.calls import night_of

    calls, _, bundles, workers = made
    shutil.copytree(calls, tmp_path / "calls")
    late = f"{DAYS[1]}/late.wav"
    shutil.copy(calls / next(iter(HERS)), tmp_path / "calls" / late)
    (tmp_path / "calls" / late).with_suffix(".json").write_text(json.dumps(TWO_SIDED | {"call_id": "hers-late", "customer_id": PERSON}))
    with night_of(tmp_path / "calls", lake, bundles[0], workers, settings=SETTINGS) as night:
        [(day, chunk)] = night.list_and_plan().chunks
        extracted = night.extract(day, chunk)
        assert erase(lake, recordings=tmp_path / "calls").complete
        night.publish(extracted)
    assert naming(lake) == set()


def test_the_receipt_is_signed_and_names_nobody(made, lake):
    done = erase(lake, recordings=made[0])
    store = open_store(str(lake))
    [(key, receipt)] = erased.receipts(store)
    assert key == done.receipt and receipt["state"] == "done" and len(receipt["recordings"]) == 5
    assert receipt["rows"]["call_emotions"] >= 8 and receipt["rows"]["recordings"] == 5
    assert erasure.is_signed(receipt, SETTINGS.pseudonym_key)
    assert not erasure.is_signed(receipt | {"ended_at": "2020-01-01"}, SETTINGS.pseudonym_key)
    assert not erasure.is_signed(receipt, Settings(pseudonym_key="another").pseudonym_key)
    assert "signature good" in erasure.receipt_lines(store, SETTINGS)[0]


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.mark.parametrize("after", [12, 36, *(pytest.param(n, marks=pytest.mark.faults) for n in (0, 6, 18, 24, 30, 42, 48, 54))])
def test_a_kill_at_any_write_or_deletion_is_completed_by_the_next(made, lake, monkeypatch, after):
    store, before = open_store(str(lake)), others(lake)
    left = [after]
    real = {name: getattr(type(store), name) for name in ("write_bytes", "delete")}

    def dying(name):
        def call(self, *arguments):
            if not left[0]:
                raise Killed
            left[0] -= 1
            real[name](self, *arguments)

        return call

    for name in real:
        monkeypatch.setattr(type(store), name, dying(name))
    try:
        erase(lake, recordings=made[0])
        assert after > 20
    except Killed:
        pass
    monkeypatch.undo()
    assert others(lake) == before
    with catalog.connect(str(lake)) as connection:
        offending = {name for name, count in catalog.run_checks(connection).items() if count}
        halfway = connection.sql("SELECT detail FROM outcomes_without_rows").fetchall()
    assert offending <= {"outcomes_without_rows"}
    assert all(any(key in detail for key in HERS) for (detail,) in halfway), halfway  # her own rows alone, until the next run
    assert erase(lake, recordings=made[0]).complete
    with catalog.connect(str(lake)) as connection:
        assert set(catalog.run_checks(connection).values()) == {0}
    assert naming(lake) == set()
    assert others(lake) == before
    assert {receipt["state"] for _, receipt in erased.receipts(store)} == {"done"}


def test_one_call_goes_alone(made, lake):
    [gone] = [recording_id(key, SETTINGS.pseudonym_keys()) for key, call_id in HERS.items() if call_id == f"hers-{DAYS[0]}-first"]
    erase(lake, "call", f"hers-{DAYS[0]}-first")
    assert ask(lake, f"SELECT count(*) FROM outcomes_all WHERE recording_id = '{gone}'") == [(0,)]
    assert ask(lake, "SELECT count(*) FROM call_emotions WHERE call_id LIKE 'hers-%'") == [(3,)]


def test_a_hold_keeps_her_calls_until_it_is_released(lake):
    store = open_store(str(lake))
    subject = holds.subject(store, "customer", PERSON, SETTINGS)
    holds.place(store, subject, "file 12")
    assert PERSON.encode() not in b"".join(path.read_bytes() for path in (lake / "holds").iterdir())
    with pytest.raises(ValueError, match="on hold"):
        erase(lake)
    holds.release(store, holds.subject(store, "customer", subject.id, SETTINGS))  # by her pseudonym
    holds.place(store, holds.Subject("call", f"hers-{DAYS[0]}-first"))
    erase(lake)
    assert ask(lake, "SELECT DISTINCT call_id FROM call_emotions_all WHERE call_id LIKE 'hers-%'") == [(f"hers-{DAYS[0]}-first",)]


def test_the_commands(made, lake, monkeypatch):
    monkeypatch.setenv("SER_PSEUDONYM_KEY", SETTINGS.pseudonym_key.get_secret_value())
    monkeypatch.setattr("ser_tasks.maintenance.erasure.erase.__defaults__", (0.0, 0.0))

    def call(*arguments: str):
        return CliRunner().invoke(app, [arguments[0], "--lake", str(lake), *arguments[1:]])

    made_up = CliRunner().invoke(app, ["pseudonym", "--customer", PERSON])
    assert made_up.output.strip() == pseudonym("customer", PERSON, SETTINGS)
    before = naming(lake)
    dry = call("erase", "--customer", PERSON, "--recordings", str(made[0]))
    assert dry.exit_code == 0 and "5 recordings" in dry.output and "--delete" in dry.output and "Not reached:" in dry.output
    assert naming(lake) == before and not (lake / "erasures").exists()
    assert call("hold", "--customer", PERSON).exit_code == 0
    assert call("erase", "--customer", PERSON, "--delete").exit_code == 2
    assert "held since" in call("hold").output
    assert call("hold", "--customer", PERSON, "--release").exit_code == 0
    assert call("erase", "--customer", made_up.output.strip(), "--recordings", str(made[0]), "--delete").exit_code == 0
    assert naming(lake) == set()
    assert "signature good" in call("erase").output
    assert call("erase", "--customer", PERSON, "--call", "x").exit_code == 2
    assert list(parts.keys(open_store(str(lake)), "recordings/"))
