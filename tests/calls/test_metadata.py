"""The metadata of a call: which source is trusted first, and which values are invalid."""

import contextlib
import json
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_tasks.calls.metadata import MetadataError, call_metadata, date_in_folders, day_of, masked_key, pseudonym, recording_id
from ser_tasks.settings import Settings

KEY = "2026-11-20/Auto0_CUST_12345_GUID_000_AGENT_ChrisL_DT_2026-11-20T06-01-22_Mono.wav"
S = Settings()


def test_the_shipped_pattern_reads_the_file_name():
    facts = call_metadata(KEY, None, {}, S)
    assert facts.values == {
        "call_id": "000",
        "customer_id": "12345",
        "agent_id": "ChrisL",
        "started_at": datetime(2026, 11, 20, 6, 1, 22, tzinfo=UTC),
        "call_date": date(2026, 11, 20),
    }
    assert set(facts.sources.values()) == {"file_name"}


def test_every_fact_comes_from_the_first_source_that_states_it():
    sidecar = json.dumps({"call_id": "c7", "queue": "sales", "agent_id": None, "language": ""}).encode()
    metadata = {"queue": "other", "language": "de", "notice-given": "true"}
    facts = call_metadata(KEY, sidecar, metadata, S)
    assert (facts.get("call_id"), facts.sources["call_id"]) == ("c7", "sidecar")
    assert (facts.get("queue"), facts.sources["queue"]) == ("sales", "sidecar")
    assert (facts.get("agent_id"), facts.sources["agent_id"]) == ("ChrisL", "file_name")
    assert (facts.get("language"), facts.sources["language"]) == ("de", "object")
    assert (facts.get("notice_given"), facts.sources["notice_given"]) == (True, "object")


def test_an_unknown_start_time_stays_unknown():
    facts = call_metadata("2026-11-21/katie.flac", None, {}, S)
    assert facts.get("started_at") is None
    assert (facts.get("call_date"), facts.sources["call_date"]) == (date(2026, 11, 21), "key")
    assert facts.get("call_id") == "2026-11-21/katie"
    assert call_metadata("katie.flac", None, {}, S).get("call_date") is None


def test_a_time_without_zone_is_in_the_settings_zone():
    settings = Settings(time_zone="Europe/Berlin")
    facts = call_metadata("x.wav", b'{"started_at": "2026-07-01T00:30:00"}', {}, settings)
    assert facts.get("started_at") == datetime(2026, 6, 30, 22, 30, tzinfo=UTC)
    assert facts.get("call_date") == date(2026, 7, 1)


@pytest.mark.parametrize(
    ("sidecar", "what"),
    [
        (b"", "JSON"),
        (b"[1, 2]", "object|dict"),
        (b'{"started_at": 1700000000}', "started_at"),
        (b'{"started_at": "yesterday"}', "started_at"),
        (b'{"notice_given": "yes"}', "notice_given"),
        (b'{"channels": ["agent"]}', "channels"),
        (b'{"channels": {"left": "agent"}}', "channels"),
        (b'{"queue": {"name": "x"}}', "queue"),
        (b'{"call_id": "' + b"x" * 600 + b'"}', "call_id"),
        (b"{" + b" " * (1 << 20) + b"}", "larger than"),
    ],
)
def test_a_sidecar_that_breaks_a_rule_is_not_believed(sidecar, what):
    with pytest.raises(MetadataError, match=what):
        call_metadata("x.wav", sidecar, {}, S)


@given(st.binary(max_size=200))
def test_any_sidecar_gives_facts_or_bad_facts(data):
    with contextlib.suppress(MetadataError):
        assert call_metadata("x.wav", data, {}, S).get("call_id")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_any_json_gives_facts_or_bad_facts(value):
    with contextlib.suppress(MetadataError):
        sidecar = json.dumps({"channels": value, "queue": value, "started_at": value}).encode()
        assert call_metadata("x.wav", sidecar, {}, S).get("call_id")


def test_numbers_are_good_ids_and_words_of_channels_stay_as_written():
    facts = call_metadata("x.wav", b'{"customer_id": 77, "channels": {"0": "Agent", "1": "supervisor"}, "sql": "1"}', {}, S)
    assert facts.get("customer_id") == "77"
    assert facts.get("channels") == {0: "Agent", 1: "supervisor"}


def test_an_empty_map_of_channels_states_nothing_and_maps_of_two_sources_are_not_merged():
    metadata = {"channels": '{"0": "agent", "1": "customer"}'}
    empty, partial = (call_metadata("x.wav", sidecar, metadata, S) for sidecar in (b'{"channels": {}}', b'{"channels": {"0": "customer"}}'))
    assert (empty.get("channels"), empty.sources["channels"]) == ({0: "agent", 1: "customer"}, "object")
    assert (partial.get("channels"), partial.sources["channels"]) == ({0: "customer"}, "sidecar")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("2026-11-20/a.wav", date(2026, 11, 20)),
        ("x/2026/11/20/a.wav", date(2026, 11, 20)),
        ("20261120/a.wav", date(2026, 11, 20)),
        ("day=2026-11-20/a.wav", date(2026, 11, 20)),
        ("year=2026/month=11/day=20/a.wav", date(2026, 11, 20)),
        ("2026-02-31/a.wav", None),
        ("2026-11-20.wav", None),
        ("120261120/a.wav", None),
    ],
)
def test_date_folders(key, expected):
    assert date_in_folders(key) == expected


def test_the_day_folder_comes_from_the_key_before_the_upload():
    uploaded = datetime(2026, 12, 1, 23, 30, tzinfo=UTC)
    assert day_of(KEY, uploaded, S) == (date(2026, 11, 20), "file_name")
    assert day_of("2026/11/19/a.wav", uploaded, S) == (date(2026, 11, 19), "key")
    assert day_of("a.wav", uploaded, S) == (date(2026, 12, 1), "object")
    assert day_of("a.wav", uploaded, Settings(time_zone="Asia/Tokyo")) == (date(2026, 12, 2), "object")


def test_ids_of_people_are_masked_in_the_key_and_hidden_in_the_recording_id():
    assert masked_key(KEY, S) == "2026-11-20/Auto0_CUST_~_GUID_000_AGENT_~_DT_2026-11-20T06-01-22_Mono.wav"
    assert masked_key("a/b.wav", S) == "a/b.wav"
    assert masked_key("a/\udcff.wav", S) == "a/\\udcff.wav"
    assert recording_id(KEY) != recording_id(KEY.replace("12345", "12346"))


def test_pseudonyms_are_keyed_and_tell_agents_from_customers():
    settings, other = Settings(pseudonym_key="k1"), Settings(pseudonym_key="k2")
    assert pseudonym("agent", "7", settings) == pseudonym("agent", "7", settings)
    assert len({pseudonym("agent", "7", settings), pseudonym("customer", "7", settings), pseudonym("agent", "7", other)}) == 3
    assert pseudonym("agent", None, settings) is None
    assert pseudonym("agent", "7", S) is None
    # Golden: printf 'agent:7' | openssl dgst -sha256 -hmac k1
    assert pseudonym("agent", "7", settings) == "db45ae204c4f9b468e2ad8545c64503a"
