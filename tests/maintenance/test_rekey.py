"""Key rotation: a lake with new ids beside the old one; the same rows, nothing planned anew, people found, a kill completed."""

import hashlib
import json
import shutil

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from flows.cli import app
from ser_tasks.calls.metadata import pseudonym, recording_id
from ser_tasks.lake import catalog, key_chain, parts
from ser_tasks.maintenance import doctor, erasure, holds
from ser_tasks.maintenance import rekey as library
from ser_tasks.maintenance.compaction import compact
from ser_tasks.monitoring.run_report import write_night_report
from ser_tasks.pipeline.worker_pool import WorkerPool
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from tests.factories.calls import TWO_SIDED, night_of, run_night, tiny_bundle, two_sided, write_call
from tests.factories.lakes import row, write
from tests.factories.nights import ask

OLD, NEW, NEWEST = (f"the {which} key of the tests" for which in ("first", "second", "third"))
BEFORE = Settings(pseudonym_key=OLD, chunk_recordings=1)
AFTER = Settings(pseudonym_key=NEW, old_pseudonym_keys=(OLD,), chunk_recordings=1)
PHONE = "2026-11-20/+491701234711.wav"
PEOPLE = {PHONE: "c-1", "2026-11-20/held.wav": "c-2", "2026-11-21/erased.wav": "c-3", "2026-11-21/another.wav": "c-1"}
VIEWS = ("recordings_all", "outcomes_all", "call_emotions_all", "segments_all", "outcomes", "call_emotions", "segments", "runs")
IDS = "recording_id", "chunk_id", "call_id", "agent_pseudonym", "customer_pseudonym", "key_fingerprint"


@pytest.fixture(scope="module")
def workers():
    with WorkerPool(1) as pool:
        pool.start()
        yield pool


def fill(folder, lake, workers):
    """A lake of two versions, one day merged, with a hold, an erasure, quarantined parts, a report and an alert."""
    calls, bundles = folder / "calls", (tiny_bundle(folder), tiny_bundle(folder, name="other", seed=5))
    sound = two_sided([("agent", 1, 3), ("customer", 4, 8)], 9)
    for key, customer in PEOPLE.items():
        write_call(calls, key, sound, TWO_SIDED | {"customer_id": customer, "agent_id": "ann", "notice_given": True})
    (calls / "2026-11-20/bad.wav").write_bytes(b"no sound")
    store = open_store(str(lake))
    for bundle in bundles:
        run_night(calls, lake, bundle, workers, settings=BEFORE)
        write_night_report(str(lake))
    compact(store, BEFORE, -36_500, 0, 0)
    run_night(calls, lake, tiny_bundle(folder, name="third", seed=6), workers, settings=BEFORE)
    target = erasure.find(store, holds.subject(store, "customer", "c-3", BEFORE), BEFORE, open_store(str(calls)))
    assert erasure.erase(store, target, BEFORE, 0, 0).complete
    [(call_id, known_as, chunk)] = ask(lake, "SELECT call_id, recording_id, chunk_id FROM outcomes WHERE call_id LIKE '%~-%'")
    message = f"{call_id} ({known_as}) of {chunk} is angry."
    write(str(lake), "alerts", [row("alerts", rule="r", subject=call_id, message=message)], chunk="0123456789abcdef0123")
    store.write_bytes("reports/day=2026-11-21/x.html", f"<a href='/calls/{known_as}'>{call_id}</a> {chunk}".encode())
    for key in list(parts.keys(store, "call_emotions/"))[:2]:
        store.write_bytes(f"quarantine/20261122T010101/{key}", store.read_bytes(key))
    store.write_bytes("quarantine/20261122T010101/outcomes/day=2026-11-20/version=v.p/x.parquet", b"PAR1 broken")
    holds.place(store, holds.subject(store, "customer", "c-2", BEFORE), "file 12")
    holds.place(store, holds.Subject("call", call_id))
    return calls, bundles[0]


@pytest.fixture(scope="module", params=["unkeyed", pytest.param("keyed", marks=pytest.mark.slow)])
def made(request, tmp_path_factory, workers):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "unkeyed":
        key_chain.write(open_store(str(folder / "lake")), [])
    calls, bundle = fill(folder, folder / "lake", workers)
    if request.param == "unkeyed":
        (folder / "lake" / key_chain.FILE).unlink()
    before = tree(folder / "lake")
    done = rekey(folder / "lake", folder / "new", AFTER)
    assert tree(folder / "lake") == before, "the old lake stays as it is"
    assert done.left_out == ["quarantine/20261122T010101/outcomes/day=2026-11-20/version=v.p/x.parquet"]
    return calls, folder / "lake", folder / "new", bundle


def rekey(lake, new, settings) -> library.Rekeyed:
    store = open_store(str(lake))
    return library.rekey(store, open_store(str(new)), library.rotation(store, settings))


def tree(lake) -> dict[str, str]:
    files = (path for path in lake.rglob("*") if path.is_file())
    return {path.relative_to(lake).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def everything(lake) -> str:
    text = ""
    for path in (path for path in lake.rglob("*") if path.is_file()):
        text += f"{path.relative_to(lake)}\n{path.read_bytes().decode('latin-1')}\n"
        if path.suffix == ".parquet" and "outcomes/day=2026-11-20/version=v.p" not in path.as_posix():
            text += repr(pq.read_table(path).to_pylist())
    return text


def test_every_view_has_the_same_rows_with_new_ids(made):
    _, lake, new, _ = made
    for view in VIEWS:
        columns = [name for (name, *_) in ask(lake, f"DESCRIBE {view}") if name not in (*IDS, "part")]
        query = f"SELECT {', '.join(columns)} FROM {view} ORDER BY ALL"
        assert ask(new, query) == ask(lake, query), view
    one, other = (ask(each, "SELECT count(DISTINCT (recording_id, chunk_id)) FROM outcomes_all") for each in (lake, new))
    assert one == other
    with catalog.connect(str(new)) as connection:
        assert set(catalog.run_checks(connection).values()) == {0}


def test_no_byte_has_an_old_id(made):
    _, lake, new, _ = made
    text, old = everything(new), set()
    for column in ("recording_id", "chunk_id", "customer_pseudonym", "agent_pseudonym"):
        old |= {each for (each,) in ask(lake, f"SELECT DISTINCT {column} FROM parts.call_emotions") if each}
    old |= {each for (each,) in ask(lake, "SELECT DISTINCT recording_id FROM parts.recordings UNION SELECT chunk_id FROM parts.recordings")}
    [(call_id,)] = ask(lake, "SELECT call_id FROM outcomes WHERE call_id LIKE '%~-%'")
    old.add(call_id)
    unchanged = {pseudonym(kind, each, AFTER) for kind, each in (("customer", "c-1"), ("agent", "ann"))}
    assert len(old) > 8 and not old & unchanged
    assert {each for each in old if each in text} == set()
    [(new_id,)] = ask(new, "SELECT call_id FROM outcomes WHERE call_id LIKE '%~-%'")
    assert text.count(new_id) >= 5 and recording_id(PHONE, AFTER.pseudonym_keys())[1:9] == new_id[-8:]


def test_nothing_is_planned_anew_and_people_are_found(made, tmp_path, workers):
    calls, _, made_new, bundle = made
    new = shutil.copytree(made_new, tmp_path / "new")
    store = open_store(str(new))
    with night_of(calls, new, bundle, workers, settings=AFTER) as night:
        plan = night.list_and_plan()
        assert (plan.planned, plan.chunks) == (0, []), "c-3 was erased under the old key, and stays erased"
    report = doctor.examine(str(new), str(calls), AFTER)
    assert [each.kind for each in report.findings] == []
    assert report.notes == []
    for customer, key in (("c-1", PHONE), ("c-2", "2026-11-20/held.wav")):
        rows = ask(new, f"SELECT recording_id FROM call_emotions WHERE customer_pseudonym = '{pseudonym('customer', customer, AFTER)}'")
        assert (recording_id(key, AFTER.pseudonym_keys()),) in rows
    with pytest.raises(ValueError, match="on hold"):
        erasure.find(store, holds.subject(store, "customer", "c-2", AFTER), AFTER)
    assert len(holds.held_recordings(store)) == 2
    by_old_pseudonym = holds.subject(store, "customer", pseudonym("customer", "c-1", BEFORE), AFTER)
    assert by_old_pseudonym == holds.subject(store, "customer", "c-1", AFTER)
    target = erasure.find(store, by_old_pseudonym, AFTER)
    assert (len(target.recordings), target.held) == (1, 1), "the call of the masked number is on hold"
    assert erasure.erase(store, target, AFTER, 0, 0).complete
    assert all("signature good" in line for line in erasure.receipt_lines(store, AFTER))
    for settings in (BEFORE, Settings(pseudonym_key=NEW)):
        with pytest.raises(ValueError, match="SER_OLD_PSEUDONYM_KEYS|settings lack"):
            night_of(calls, new, bundle, workers, settings=settings)


def test_people_who_opted_out_stay_so_by_raw_id_and_by_an_older_pseudonym(made, tmp_path, workers):
    calls, _, made_new, bundle = made
    new = shutil.copytree(made_new, tmp_path / "new")
    for number, listed in enumerate(("c-1", pseudonym("customer", "c-1", BEFORE))):
        (tmp_path / f"{number}.txt").write_text(listed)
        settings = AFTER.model_copy(update={"opt_out": str(tmp_path / f"{number}.txt")})
        with night_of(calls, shutil.copytree(new, tmp_path / f"{number}"), bundle, workers, settings=settings) as night:
            night.list_and_plan()
            assert night.withheld == 1, "the call that is not on hold"


def test_a_second_rotation(made, tmp_path):
    calls, _, new, bundle = made
    settings = Settings(pseudonym_key=NEWEST, old_pseudonym_keys=(OLD, NEW))
    rekey(new, tmp_path / "newest", settings)
    with night_of(calls, tmp_path / "newest", bundle, settings=settings) as night:
        assert night.list_and_plan().chunks == []
    found = ask(tmp_path / "newest", "SELECT DISTINCT customer_pseudonym FROM call_emotions")
    assert {(pseudonym("customer", each, settings),) for each in ("c-1", "c-2")} == set(found)
    assert len(holds.held_recordings(open_store(str(tmp_path / "newest")))) == 2


class Killed(BaseException):
    """Ends a run at a write."""


@pytest.mark.faults
def test_a_killed_run_is_done_by_the_next(made, tmp_path, monkeypatch):
    calls, lake, new, bundle = made
    store_class = type(open_store(str(lake)))
    plain = store_class.write_bytes
    writes = len(tree(new))
    for kill_at in (0, 1, writes // 2, writes - 2):
        target, count = tmp_path / str(kill_at), iter(range(1000))

        def write_bytes(self, key, data, count=count, kill_at=kill_at):
            if next(count) == kill_at:
                raise Killed
            return plain(self, key, data)

        with monkeypatch.context() as patch:
            patch.setattr(store_class, "write_bytes", write_bytes)
            with pytest.raises(Killed):
                rekey(lake, target, AFTER)
        with pytest.raises(ValueError, match="has not finished"):
            night_of(calls, target, bundle, settings=AFTER)
        (target / "outcomes/day=2026-11-20/version=v.p").mkdir(parents=True)
        (target / "outcomes/day=2026-11-20/version=v.p/gone.parquet").write_bytes(b"of a chunk that was compacted since")
        rekey(lake, target, AFTER)
        assert tree(target) == tree(new)


def test_what_it_refuses(made, tmp_path):
    _, lake, new, _ = made
    with pytest.raises(ValueError, match="already"):
        library.rotation(open_store(str(new)), AFTER)
    with pytest.raises(ValueError, match="not set"):
        library.rotation(open_store(str(lake)), Settings())
    with pytest.raises(ValueError, match="needs 16"):
        library.rotation(open_store(str(lake)), Settings(pseudonym_key="k", old_pseudonym_keys=(OLD,)))
    with pytest.raises(ValueError, match="SER_OLD_PSEUDONYM_KEYS"):
        library.rotation(open_store(str(lake)), Settings(pseudonym_key=NEW))
    for place in (lake, lake / "within", lake.parent):
        with pytest.raises(ValueError, match="a place of its own"):
            rekey(lake, place, AFTER)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("-")
    with pytest.raises(ValueError, match="not empty"):
        rekey(lake, tmp_path / "full", AFTER)


def test_the_command_says_first_and_writes_then(made, tmp_path, monkeypatch):
    _, lake, new, _ = made
    monkeypatch.setenv("SER_PSEUDONYM_KEY", NEW)
    monkeypatch.setenv("SER_OLD_PSEUDONYM_KEYS", json.dumps([OLD]))
    command = ["rekey", "--lake", str(lake), "--to", str(tmp_path / "new")]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0 and "Nothing was written" in first.output and not (tmp_path / "new").exists()
    then = CliRunner().invoke(app, [*command, "--write"])
    assert then.exit_code == 0 and "then delete" in then.output and tree(tmp_path / "new") == tree(new)
    assert OLD not in first.output + then.output and NEW not in first.output + then.output
    shown = CliRunner().invoke(app, ["pseudonym", "--customer", "c-1", "--lake", str(tmp_path / "new")])
    assert shown.output.strip() == pseudonym("customer", "c-1", AFTER)
