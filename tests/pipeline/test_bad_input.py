"""Sidecars, metadata, names and whole folders that nobody should send: facts or a reason, text stays text, and each has one outcome."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ser_tasks.calls.metadata import MetadataError, call_metadata, day_of, masked_key
from ser_tasks.calls.roles import roles_of
from ser_tasks.calls.times import FIRST_YEAR, LAST_YEAR
from ser_tasks.lake.catalog import connect
from ser_tasks.lake.read_only import query
from ser_tasks.pipeline.extract import error_text
from ser_tasks.pipeline.listing import Recording
from ser_tasks.pipeline.worker_pool import WorkerPool
from ser_tasks.query.formats import render
from ser_tasks.schemas import ROLES
from ser_tasks.settings import Settings
from ser_tasks.storage import LocalStore, ObjectUnusableError
from tests.factories.broken_audio import (
    HOSTILE_TEXTS,
    bad_sidecars,
    case_bytes,
    cases,
    good_files,
    nasty_folder,
    sidecars_with_an_unreadable_fact,
)
from tests.factories.calls import TWO_SIDED, run_night, two_sided, write_call

SEED = int(os.environ.get("SER_FAULT_SEED", "4"))
S = Settings()
FACTS = ("call_id", "started_at", "agent_id", "customer_id", "queue", "language", "notice_given", "channels")


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    return good_files(tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module")
def workers():
    with WorkerPool(1) as pool:
        yield pool


# -- Facts of one recording


def check_facts(key: str, sidecar: bytes | None, metadata: dict[str, str]) -> dict | None:
    """Facts of the right types and lengths, or MetadataError that says what to do; None for the latter."""
    try:
        found = call_metadata(key, sidecar, metadata, S)
        facts = found.values
    except MetadataError as error:
        message = str(error)
    else:
        message = None
    if message is not None:
        assert message.startswith(("The sidecar", "The object's metadata")) and message.endswith(".")
        assert len(message) < 400 and message.isprintable()
        return None
    assert all(note.isprintable() and len(note) < 400 for note in found.notes)
    for name in ("agent_id", "customer_id", "queue", "language"):
        assert name not in facts or isinstance(facts[name], str) and 0 < len(facts[name]) <= 500
    assert isinstance(facts["call_id"], str) and len(facts["call_id"]) <= max(500, len(masked_key(key, S)))
    assert isinstance(facts.get("notice_given"), bool | None)
    if "started_at" in facts:
        assert facts["started_at"].tzinfo and FIRST_YEAR <= facts["started_at"].year <= LAST_YEAR
    for channel, role in roles_of(facts.get("channels", {})).items():
        assert type(channel) is int and 0 <= channel < 1000 and role in ROLES
    return facts


json_value = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.text() | st.sampled_from(ROLES) | st.dates().map(str),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(-3, 99).map(str), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(st.sampled_from(FACTS) | st.text(max_size=9), json_value, max_size=9), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])
)
def test_any_sidecar_is_facts_of_the_right_types_or_bad_facts(value, encoding):
    check_facts("x.wav", json.dumps(value).encode(encoding), {})


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(FACTS) | st.sampled_from(["Notice-Given", "call-id"]), st.text(max_size=700), max_size=6))
def test_any_metadata_is_facts_of_the_right_types_or_bad_facts(metadata):
    check_facts("x.wav", None, metadata)


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=200).filter(lambda name: not {0, 47} & {*name}), st.text("CUSTG 9-\n", min_size=1, max_size=60))
def test_any_name_is_facts_and_a_masked_key(name, more):
    key = f"{os.fsdecode(name)}_CUST_4711secret_GUID_{more}_AGENT_x_DT_2026-11-20T06-01-22.wav"
    check_facts(key, None, {})
    assert "4711secret" not in masked_key(key, S)
    masked_key(key, S).encode()  # no surrogate is left
    assert day_of(key, datetime.now(UTC), S)[0].year >= FIRST_YEAR


@pytest.mark.parametrize("name", bad_sidecars())
def test_a_bad_sidecar_is_not_believed(name):
    assert check_facts("x.wav", bad_sidecars()[name], {}) is None
    with pytest.raises(MetadataError) as caught:
        call_metadata("x.wav", bad_sidecars()[name], {}, S)
    assert "4711" not in str(caught.value)


@pytest.mark.parametrize("name", sidecars_with_an_unreadable_fact())
def test_an_unreadable_fact_costs_that_fact_alone(name):
    found = call_metadata("x.wav", sidecars_with_an_unreadable_fact()[name][:-1] + b', "notice_given": true, "language": "de"}', {}, S)
    assert set(found.values) == {"call_id", "notice_given", "language"} and not found.notice_unclear
    assert len(found.notes) == 1 and "is ignored" in found.notes[0] and not re.search("1700|2026112|x{99}|4711", found.notes[0])


@pytest.mark.parametrize("text", HOSTILE_TEXTS.values(), ids=HOSTILE_TEXTS)
def test_hostile_text_is_text(text):
    facts = check_facts("x.wav", json.dumps({"queue": text}).encode(), {"language": text})
    assert facts["queue"] == facts["language"] == text


def test_numbers_stay_as_they_are_written():
    facts = check_facts("x.wav", b'\xef\xbb\xbf{"customer_id": 12345678901234567890.50, "agent_id": 1e3, "queue": 7}', {})
    assert (facts["customer_id"], facts["agent_id"], facts["queue"]) == ("12345678901234567890.50", "1e3", "7")


def test_metadata_that_says_two_things_is_not_believed():
    assert check_facts("x.wav", None, {"notice-given": "true", "notice_given": "false"}) is None
    assert check_facts("x.wav", None, {"channels": "[" * 1_990}) is None
    assert check_facts("x.wav", None, {"channels": '{"0": "agent", "0": "customer"}'}) is None


def test_a_failure_tells_neither_ids_nor_paths():
    key = "2026/CUST_4711 ü_GUID_1_AGENT_Zoe\n_DT_2026-11-20T06-01-22.wav"
    recording = Recording("id", "etag", key, masked_key(key, S), key.replace(".wav", ".json"), "chunk", 1.0)
    quoted = "2026/CUST_4711%20%C3%BC_GUID_1_AGENT_Zoe%0A_DT_2026-11-20T06-01-22"
    told = [
        error_text(PermissionError(13, "Permission denied", f"/private/folder/{key}"), recording),
        error_text(ValueError(f"no {key!r}"), recording),
        error_text(ConnectionError(f"http://server/{quoted}.wav and http://server/{quoted}.json"), recording),
    ]
    assert told[0] == "Permission denied"
    assert not any(word in text for text in told for word in ("4711", "Zoe", "/private"))


def test_what_is_no_file_is_refused_at_once(tmp_path):
    store = LocalStore(tmp_path / "calls")
    nasty = tmp_path / "calls"
    nasty.mkdir()
    os.mkfifo(nasty / "pipe.json")
    (nasty / "circle.json").symlink_to("circle.json")
    (nasty / "out.json").symlink_to("/etc/hosts")
    for key in ("pipe.json", "circle.json", "out.json"):
        with pytest.raises(ObjectUnusableError, match="put (a|the) file"):
            store.read_bytes(key, 100)
    assert [item.key for item in store.list()] == ["circle.json", "out.json", "pipe.json"]


def test_hostile_text_does_nothing_in_an_artifact():
    from ser_tasks.html_page import markdown_text

    assert markdown_text("](http://x) <b>|\n# a") == r"\](http://x) \<b\>\| # a"


# -- A whole night


def test_a_night_of_nasty_files_gives_each_one_outcome_and_scores_the_good_ones(bundle, bases, workers, tmp_path):
    folder, lake = tmp_path / "calls", tmp_path / "lake"
    expected = nasty_folder(folder, bases)
    call = two_sided([("agent", 0.5, 3), ("customer", 3, 8)], 9, seed=3)
    for number in range(3):
        write_call(folder, f"2026-11-20/good {number}.wav", call, TWO_SIDED | {"call_id": f"good {number}"})
        expected[f"2026-11-20/good {number}.wav"] = ("scored", None)
    assert len(expected) > 75
    before = listing(tmp_path)

    run = run_night(folder, lake, bundle, workers, settings=Settings(scratch=str(tmp_path / "scratch"), pseudonym_key="a key of the tests"))

    assert listing(tmp_path, "lake", "scratch") == before and not list((tmp_path / "scratch").iterdir())
    with connect(str(lake)) as connection:
        found = connection.execute("SELECT key, outcome, reason_code, reason FROM outcomes_all").fetchall()
        assert {key: (outcome, code) for key, outcome, code, _ in found} == expected
        assert len(found) == len(expected) == run["listed"]
        assert set(run["checks"].values()) == {0} and run["failed"] == run["failed_chunks"] == 0
        quarantined = Counter(code for _, outcome, code, _ in found if outcome == "quarantined")
        assert quarantined == Counter(code for outcome, code in expected.values() if outcome == "quarantined")
        for _, outcome, _, reason in found:
            assert (reason is None) == (outcome == "scored")
            assert reason is None or (reason.endswith(".") and reason.isprintable() and str(tmp_path) not in reason)

        # What the sidecars say is text in the rows, and in every way out of them
        answer = query(
            connection, "SELECT key, call_id, queue, language FROM call_emotions WHERE key LIKE '%/says!_%' ESCAPE '!' ORDER BY key"
        )
        rows = {row["key"].removeprefix("2026-11-20/says_").removesuffix(".wav"): row for row in answer.to_pylist()}
        assert {name: {row["call_id"], row["queue"], row["language"]} for name, row in rows.items()} == {
            name: {text} for name, text in HOSTILE_TEXTS.items()
        }
        assert json.loads(render(answer, "json")) == answer.to_pylist()
        assert list(csv.DictReader(io.StringIO(render(answer, "csv"), newline=""))) == answer.to_pylist()
        table = render(answer, "table", width=400)
        assert table.replace("\n", "").isprintable() and "'; DROP TABLE outcomes; --" in table
        assert query(connection, "SELECT count(*) AS n FROM outcomes")["n"][0].as_py() == len(expected)


def listing(folder: Path, *without: str) -> set[str]:
    return {str(path) for path in folder.rglob("*") if path.relative_to(folder).parts[0] not in without}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_fails_and_is_tried_again(bundle, workers, tmp_path):
    path = write_call(tmp_path / "calls", "2026-11-20/CUST_4711_GUID_1_AGENT_x_DT_2026-11-20T06-01-22.wav", two_sided([], 2))
    path.chmod(0)
    run_night(tmp_path / "calls", tmp_path / "lake", bundle, workers)
    with connect(str(tmp_path / "lake")) as connection:
        found = connection.execute("SELECT outcome, reason_code, reason FROM outcomes").fetchall()
    assert found == [("failed", "unreadable", "PermissionError: Permission denied It is tried again next night.")]


@pytest.mark.faults
def test_hundreds_of_broken_files_go_through_a_whole_night(bundle, bases, workers, tmp_path):
    folder, lake, count = tmp_path / "calls", tmp_path / "lake", 500
    folder.mkdir()
    call = two_sided([("agent", 0.5, 3), ("customer", 3, 8)], 9, seed=3)
    write_call(folder, "good.wav", call, TWO_SIDED)
    for number, case in enumerate(cases(bases, count, SEED)):
        name, data = case_bytes(bases, case)
        (folder / f"{number:04}_{Path(name).stem}{Path(name).suffix if Path(name).suffix in S.recording_suffixes else '.wav'}").write_bytes(
            data
        )
    run = run_night(folder, lake, bundle, workers, settings=Settings(scratch=str(tmp_path / "scratch")))
    with connect(str(lake)) as connection:
        found = connection.execute("SELECT key, outcome, reason_code FROM outcomes_all").fetchall()
    assert len({key for key, *_ in found}) == len(found) == count + 1 == run["listed"]
    assert ("good.wav", "scored", None) in found
    assert run["failed"] == 0 and set(run["checks"].values()) == {0}
    assert not [key for key, _, code in found if code in ("decoder_crash", "internal_error")]
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.slow
def test_the_command_ends_well_on_a_nasty_folder(bundle, bases, tmp_path):
    nasty_folder(tmp_path / "calls", bases)
    command = [sys.executable, "-m", "flows.cli", "nightly", "--recordings", str(tmp_path / "calls"), "--lake", str(tmp_path / "lake")]
    environment = os.environ | {
        "SER_MODEL": str(bundle),
        "SER_SCRATCH": str(tmp_path / "scratch"),
        "PREFECT_HOME": str(tmp_path / "prefect"),
    }
    done = subprocess.run(
        [*command, "--workers", "1", "--device", "cpu"], cwd=Path(__file__).parents[2], env=environment, timeout=600, check=False
    )
    assert done.returncode == 0
