"""Masked ids cannot be recovered from a keyed lake, and a lake with unkeyed ids goes on without anything done twice."""

import hashlib
import json
import shutil

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from flows.cli import app
from ser_tasks.calls.metadata import recording_id
from ser_tasks.lake import key_chain
from ser_tasks.maintenance import doctor
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from tests.factories.calls import TWO_SIDED, night_of, run_night, tiny_bundle, two_sided, write_call
from tests.factories.nights import ask

KEYED = Settings(pseudonym_key="a key of the tests")
UNKEYED = Settings()
NUMBER = "2026-11-20/+49170123{:04}.wav"
KEY = NUMBER.format(4711)


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """A call whose key has a phone number, and a bundle."""
    folder = tmp_path_factory.mktemp("calls")
    sound = two_sided([("agent", 1, 3), ("customer", 4, 8)], 9)
    write_call(folder / "calls", KEY, sound, {"channels": TWO_SIDED["channels"], "customer_id": "c-1"})
    return folder / "calls", tiny_bundle(folder)


def everything(lake) -> str:
    """The names, bytes and values of a lake."""
    text = ""
    for path in (path for path in lake.rglob("*") if path.is_file()):
        text += f"{path.relative_to(lake)}\n{path.read_bytes().decode('latin-1')}\n"
        if path.suffix == ".parquet":
            text += repr(pq.read_table(path).to_pylist())
    return text


def recovered(lake) -> set[str]:
    """The attack, by someone who has the lake and no key: numbers of which a hash, as the code makes or made it, is anywhere in it."""
    text, found = everything(lake), set()
    rows = ask(lake, "SELECT etag, sidecar_etag FROM recordings")
    for number in range(10_000):
        key = NUMBER.format(number)
        guess = recording_id(key)
        chunks = [hashlib.sha256(f"{guess} {etag} {sidecar}".encode()).hexdigest()[:20] for etag, sidecar in rows]
        digests = [hashlib.md5(f"{guess} {etag} {sidecar}".encode()).hexdigest() for etag, sidecar in rows]
        plain = [hash(key.encode()).hexdigest()[:16] for hash in (hashlib.sha256, hashlib.sha1, hashlib.md5)]
        if any(each in text for each in [guess, f"~-{guess[:8]}", *chunks, *digests, *plain]):
            found.add(key)
    return found


def test_the_attack_finds_the_number_without_a_key_and_not_with_one(calls, tmp_path):
    folder, bundle = calls
    for name, settings in (("open", UNKEYED), ("keyed", KEYED)):
        run_night(folder, tmp_path / name, bundle, settings=settings)
    assert recovered(tmp_path / "open") == {KEY}
    assert recovered(tmp_path / "keyed") == set()
    [(key, known_as, call_id)] = ask(tmp_path / "keyed", "SELECT key, recording_id, call_id FROM outcomes")
    assert (key, known_as) == ("2026-11-20/~.wav", recording_id(KEY, KEYED.pseudonym_keys()))
    assert call_id == f"2026-11-20/~-{known_as[1:9]}"


def test_a_lake_with_unkeyed_ids_goes_on_and_says_so(calls, tmp_path):
    folder, bundle = shutil.copytree(calls[0], tmp_path / "calls"), calls[1]
    lake = tmp_path / "lake"
    key_chain.write(open_store(str(lake)), [])
    settings = KEYED.model_copy(update={"chunk_recordings": 1})
    run_night(folder, lake, bundle, settings=settings)
    (lake / key_chain.FILE).unlink()  # as versions before keyed ids wrote it
    before = ask(lake, "SELECT recording_id, chunk_id, customer_pseudonym FROM call_emotions")
    assert before[0][0] == recording_id(KEY)
    with night_of(folder, lake, bundle, settings=settings) as night:
        plan = night.list_and_plan()
        assert (plan.planned, plan.chunks) == (0, [])
        assert any("unkeyed" in line and "ser rekey" in line for line in night.remarks())
    write_call(folder, NUMBER.format(12), two_sided([("customer", 1, 5)], 6), {"channels": TWO_SIDED["channels"], "customer_id": "c-1"})
    run = run_night(folder, lake, bundle, settings=settings)
    assert (run["planned"], run["scored"]) == (1, 1)
    after = ask(lake, "SELECT recording_id, chunk_id, customer_pseudonym FROM call_emotions_all")
    assert set(before) < set(after) and len(after) == 2 and len({each[2] for each in after}) == 1
    report = doctor.examine(str(lake), str(folder), settings)
    assert list(report.lines()) == []
    assert any("2 of 2 recordings" in note and "ser rekey" in note for note in report.notes)


def test_a_keyed_lake_is_healthy_and_planned_once(calls, tmp_path):
    folder, bundle = calls
    run_night(folder, tmp_path / "lake", bundle, settings=KEYED)
    assert run_night(folder, tmp_path / "lake", bundle, settings=KEYED)["planned"] == 0
    report = doctor.examine(str(tmp_path / "lake"), str(folder), KEYED)
    assert (list(report.lines()), report.notes) == ([], [])
    (tmp_path / "lake" / key_chain.FILE).unlink()
    assert [each.kind for each in doctor.examine(str(tmp_path / "lake")).findings] == ["keys_missing"]


def test_the_doctor_names_ignored_suffixes(calls, tmp_path):
    folder, bundle = shutil.copytree(calls[0], tmp_path / "calls"), calls[1]
    for name in ("a.mkv", "b.mkv", "c.txt"):
        (folder / name).write_bytes(b"-")
    run_night(folder, tmp_path / "lake", bundle, settings=KEYED)
    for recordings in (str(folder), None):
        notes = doctor.examine(str(tmp_path / "lake"), recordings, KEYED).notes
        assert len(notes) == 1 and ".mkv 2, .txt 1" in notes[0]


def test_the_doctor_says_that_pseudonyms_are_of_two_keys(calls, tmp_path):
    folder, bundle = calls
    key_chain.write(open_store(str(tmp_path / "lake")), [])
    for key in ("a key of the tests", "another key of the tests"):
        run_night(folder, tmp_path / "lake", bundle, settings=Settings(pseudonym_key=key))
    assert any("made with 2 keys" in note for note in doctor.examine(str(tmp_path / "lake")).notes)


@pytest.mark.parametrize(
    ("key", "said"),
    [("k", "`ser key` makes a good one"), ("", "Set SER_PSEUDONYM_KEY as it was"), ("another key of the tests", "ser rekey")],
)
def test_a_night_with_a_wrong_key_ends_with_exit_code_2_and_writes_nothing(calls, tmp_path, monkeypatch, key, said):
    folder, bundle = calls
    lake = tmp_path / "lake"
    lake.mkdir()
    (lake / key_chain.FILE).write_bytes(json.dumps({"keys": ["0123456789abcdef"]}).encode())
    monkeypatch.setenv("SER_PSEUDONYM_KEY", key)
    result = CliRunner().invoke(app, ["nightly", "--recordings", str(folder), "--lake", str(lake), "--model", str(bundle)])
    assert (result.exit_code, said in result.output) == (2, True), result.output
    assert [path.name for path in lake.rglob("*")] == [key_chain.FILE]


def test_a_key_is_made(monkeypatch):
    made = {CliRunner().invoke(app, ["key"]).output.strip() for _ in range(2)}
    assert len(made) == 2 and all(len(bytes.fromhex(each)) == 32 for each in made)
