"""The metadata of a call: which source is trusted first, and which values are invalid."""

import base64
import contextlib
import json
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_tasks.calls.metadata import MetadataError, call_metadata, day_of, masked_key, pseudonym, recording_id
from ser_tasks.calls.policy import POLICIES
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
        (b"[1, 2]", "object"),
        (b'{"noticeGiven": "no"}', "notice_given"),
        (b'{"notice_given": true, "Notice-Given": false}', "notice_given twice"),
        (b'{"notice_given": "yes"}', "notice_given"),
        (b'{"channels": ["agent"]}', "channels"),
        (b'{"channels": {"left": "agent"}}', "channels"),
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
    nobody = call_metadata("x.wav", b'{"channels": {"0": null, "1": "customer"}}', {}, S)
    assert nobody.get("channels") == {0: "", 1: "customer"}
    metadata = {"channels": '{"0": "agent", "1": "customer"}'}
    empty, partial = (call_metadata("x.wav", sidecar, metadata, S) for sidecar in (b'{"channels": {}}', b'{"channels": {"0": "customer"}}'))
    assert (empty.get("channels"), empty.sources["channels"]) == ({0: "agent", 1: "customer"}, "object")
    assert (partial.get("channels"), partial.sources["channels"]) == ({0: "customer"}, "sidecar")


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


@pytest.mark.parametrize(
    "name", ["notice_given", "noticeGiven", "Notice_Given", "notice-given", "noticegiven", "NOTICE GIVEN", "Notice.Given"]
)
@pytest.mark.parametrize("source", ["sidecar", "object", "file_name"])
def test_a_refusal_is_read_in_any_spelling(name, source):
    settings, key, sidecar, metadata = S, "x.wav", None, {}
    if source == "sidecar":
        sidecar = json.dumps({name: False, "callId": "c7"}).encode()
    elif source == "object":
        metadata = {name: "False", "callid": "c7"}
    elif name.replace("_", "a").isalnum():
        key, settings = "no_c7.wav", Settings(file_name_pattern=rf"(?P<{name}>no|yes)_(?P<CallID>\w+)")
    else:
        pytest.skip("no name of a group")
    found = call_metadata(key, sidecar, metadata, settings)
    assert (found.get("notice_given"), found.sources["notice_given"], found.get("call_id")) == (False, source, "c7")
    assert found.notes == () and not found.notice_unclear


@pytest.mark.parametrize(
    "stated",
    [
        {"notice_givn": False},
        {"consent": False},
        {"Opt-Out": True},
        {"customerOptedOut": "true"},
        {"privacy": {"recordingConsent": "denied"}},
        {"parties": [{"name": "x"}, {"do_not_analyse": True}]},
        {"call": {"notice_given": False}},
        {"Einwilligung": "nein"},
        {"caller_declined": True},
        {"announcementPlayed": False},
        {"privacy-accepted": False},
        {"DNC": True},
        {"notice_given": True, "consentWithdrawn": True},
    ],
)
def test_what_looks_like_consent_and_is_not_read_withholds_the_call(stated):
    found = call_metadata("x.wav", json.dumps(stated).encode(), {}, S)
    assert found.notice_unclear and len(found.notes) == 1 and "looks like consent" in found.notes[0]
    for policy in POLICIES.values():
        assert policy.refusal("customer", found.get("notice_given"), found.notice_unclear) == "notice_unclear"


def test_the_same_names_in_the_objects_metadata_and_the_file_name_count():
    assert call_metadata("x.wav", None, {"optout": "1"}, S).notice_unclear
    settings = Settings(file_name_pattern=r"(?P<consent>\w)_(?P<call_id>\d+)")
    assert call_metadata("N_77.wav", None, {}, settings).notice_unclear
    settings = Settings(file_name_pattern=r"(?P<notice_given>\w)_(?P<call_id>\d+)")
    assert call_metadata("maybe_77.wav", None, {}, settings).notice_unclear


def test_a_name_can_be_declared_to_mean_something_else():
    sidecar = b'{"recordingConsent": "yes", "notice_given": true}'
    assert call_metadata("x.wav", sidecar, {}, S).notice_unclear
    found = call_metadata("x.wav", sidecar, {}, Settings(ignored_facts=("recording_consent",)))
    assert not found.notice_unclear and found.notes == () and found.get("notice_given") is True
    refused = call_metadata("x.wav", b'{"notice_given": false}', {}, Settings(ignored_facts=("notice_given",)))
    assert refused.get("notice_given") is False


def test_other_names_are_nothing_to_remark():
    sidecar = {"description": "options", "content_type": "audio/wav", "adopted": 1, "callOwner": "x", "followed_by": 3, "country": "DE"}
    found = call_metadata("x.wav", json.dumps(sidecar | {"consent": None, "optOut": ""}).encode(), {}, S)
    assert found.notes == () and not found.notice_unclear


def test_a_name_that_looks_like_ours_is_pointed_out():
    found = call_metadata(
        "x.wav", b'{"startTime": "2026-11-20T10:00:00Z", "languge": "de", "agent": "x", "agent_id": "7", "agent_id4711": 1}', {}, S
    )
    assert found.get("started_at") is None
    assert found.notes == (
        "The sidecar: `startTime` looks like started_at, but is not read",
        "The sidecar: `languge` looks like language, but is not read",
    )


def test_an_unreadable_time_is_ignored_with_a_note():
    found = call_metadata(
        "2026-11-20/x.wav", b'{"started_at": "20.11.2026 um 4711 Uhr", "call_id": "c"}', {"started-at": "2026-11-20 10:00Z"}, S
    )
    assert (found.get("started_at"), found.sources["started_at"]) == (datetime(2026, 11, 20, 10, tzinfo=UTC), "object")
    [note] = found.notes
    assert "The sidecar: started_at is ignored" in note and "99.99.9999 xx 9999 xxx" in note and "ISO 8601" in note


@pytest.mark.parametrize(
    ("name", "expected", "notes"),
    [("20261120T17:11", datetime(2026, 11, 20, 17, 11, tzinfo=UTC), 0), ("20261132T17:11", None, 1), ("20261120T1711 h", None, 1)],
)
def test_a_pattern_whose_time_is_none_says_so(name, expected, notes):
    settings = Settings(file_name_pattern=r"(?P<call_id>[0-9a-f-]{36})_(?P<started_at>.*)_UTC")
    found = call_metadata(f"93755524-32b4-480b-9108-898522aa513f_{name}_UTC.wav", None, {}, settings)
    assert found.get("call_id") == "93755524-32b4-480b-9108-898522aa513f"
    assert found.get("started_at") == expected
    assert len(found.notes) == notes and all("The file name: started_at is ignored" in note for note in found.notes)


def test_a_local_time_in_a_changed_hour_is_said():
    settings = Settings(time_zone="Europe/Berlin")
    gap = call_metadata("x.wav", b'{"started_at": "2026-03-29T02:30:00"}', {}, settings)
    assert gap.get("started_at") == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert gap.notes == ("started_at 02:30 does not exist on 2026-03-29 in Europe/Berlin: read as 03:30",)
    double = call_metadata("x.wav", b'{"started_at": "2026-10-25T02:30:00"}', {}, settings)
    assert double.get("started_at") == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert "occurs twice" in double.notes[0]
    assert call_metadata("x.wav", b'{"started_at": "2026-10-25T02:30:00+01:00"}', {}, settings).notes == ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("=?UTF-8?Q?K=C3=B6ln?=", "Köln"),
        ("=?utf-8?B?S8O2bG4=?=", "Köln"),
        ("=?ISO-8859-1?Q?Gr=FC=DFe?= =?UTF-8?Q?_aus?=", "Grüße aus"),
        ("a =? b", "a =? b"),
        ("=?nocharset?Q?x?=", None),
        ("=?utf-8?B?S8O2bG4?=", "Köln"),
        ("=?utf-8?Q?=FF?=", None),
    ],
)
def test_the_objects_metadata_are_decoded(value, expected):
    found = call_metadata("x.wav", None, {"queue": value, "notice-given": "=?UTF-8?Q?false?="}, S)
    assert found.get("queue") == expected and found.get("notice_given") is False
    assert len(found.notes) == (expected is None)


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=80), st.sampled_from(["utf-8", "utf-16"]))
def test_any_text_survives_the_encoding_of_headers(text, charset):
    encoded = f"=?{charset}?B?{base64.b64encode(text.encode(charset)).decode()}?="
    assert call_metadata("x.wav", None, {"queue": encoded}, S).get("queue") == text


def test_what_cannot_be_decoded_and_decides_who_is_scored_is_an_error():
    with pytest.raises(MetadataError):
        call_metadata("x.wav", None, {"notice-given": "=?nocharset?Q?false?="}, S)


@pytest.mark.parametrize(
    ("name", "masked", "facts"),
    [
        (
            "record1_2026-11-20T15-13-51_CUST_+9201201_GUID_f75b0a05-5948-4926-b3fc-57de1c2ab472_AGENT_x1.wav",
            "record1_2026-11-20T15-13-51_CUST_~_GUID_f75b0a05-5948-4926-b3fc-57de1c2ab472_AGENT_~.wav",
            {"customer_id": "+9201201", "agent_id": "x1", "call_id": "f75b0a05-5948-4926-b3fc-57de1c2ab472"},
        ),
        (
            "Auto0_GUID_000_AGENT_Chris.L_DT_2026-11-20T06-01-22_Mono.wav",
            "Auto0_GUID_000_AGENT_~_DT_2026-11-20T06-01-22_Mono.wav",
            {"agent_id": "Chris.L", "call_id": "000", "started_at": datetime(2026, 11, 20, 6, 1, 22, tzinfo=UTC)},
        ),
        (
            "DT_2026-11-20T06-01-22_AGENT_Zoe_CUST_5_GUID_9.mp3",
            "DT_2026-11-20T06-01-22_AGENT_~_CUST_~_GUID_9.mp3",
            {"agent_id": "Zoe", "customer_id": "5", "call_id": "9", "started_at": datetime(2026, 11, 20, 6, 1, 22, tzinfo=UTC)},
        ),
    ],
)
def test_the_markers_are_found_in_any_order_and_each_alone(name, masked, facts):
    found = call_metadata(name, None, {}, S)
    assert {fact: found.get(fact) for fact in ("agent_id", "customer_id", "call_id", "started_at") if found.get(fact)} == facts
    assert masked_key(name, S) == masked
    assert masked_key(name, Settings(file_name_pattern="(?P<call_id>nothing)")) == masked


@pytest.mark.parametrize(
    ("key", "masked"),
    [
        ("a/+491701234567.wav", "a/~.wav"),
        ("+49 170 1234567/2026/9/5/x.wav", "~/2026/9/5/x.wav"),
        ("a/%2B4917012345_x.wav", "a/~_x.wav"),
        ("out-01701234567-101-20261120-140500-1763650000.123.wav", "out-~-101-20261120-140500-1763650000.123.wav"),
        ("20261120-004917012345-x.3gp", "20261120-~-x.3gp"),
        ("4155550123_415-555-0123_(415) 555-0123.wav", "~_~_~.wav"),
        ("0170-1234567 030 12345678.wav", "~ ~.wav"),
    ],
)
def test_what_looks_like_a_phone_number_is_masked(key, masked):
    assert masked_key(key, S) == masked
    assert call_metadata(key, None, {}, S).get("call_id").startswith(masked.rpartition(".")[0] + "-")


@pytest.mark.parametrize(
    "key",
    [
        "2026-11-20/call-0815.wav",
        "20261120/20261120140500.wav",
        "2026/9/5/2026-11-20T14-05-00_7.wav",
        "93755524-3224-4804-9108-898522441513_20261120T17:11_UTC.wav",
        "CA12345678901234567890123456789abc.wav",
        "recording 1234567.wav",
        "000012345678.wav",
        "12345678901234567890.wav",
    ],
)
def test_dates_and_ids_of_calls_are_kept(key):
    assert masked_key(key, S) == key


def test_a_number_that_the_pattern_calls_a_call_is_kept_and_any_other_group_is_not():
    settings = Settings(file_name_pattern=r"(?P<phone>\d+)-(?P<call_id>\d+)")
    assert masked_key("4915112345678-4155550123.wav", settings) == "~-4155550123.wav"


def test_calls_whose_names_are_masked_stay_apart():
    first, second = (call_metadata(f"2026-11-20/+4917012345{n}.wav", None, {}, S).get("call_id") for n in (1, 2))
    assert first != second and first.startswith("2026-11-20/~-") and "17012345" not in first


@given(
    st.from_regex(r"[a-z_ -]{0,5}(\+|00)[1-9][0-9]{7,12}[a-z_ -]{0,5}", fullmatch=True),
    st.sampled_from(["{}.wav", "{}/a.mp3", "2026/9/5/{}_x.wav"]),
)
def test_no_international_number_is_left_in_a_key(text, place):
    digits = "".join(c for c in text if c.isdigit())
    assert digits not in masked_key(place.format(text), S)


@pytest.mark.parametrize(
    "facts",
    [
        {"notice_text": "greeting", "notice_version": "3", "notice_at": "2026-11-20T08:00:00+01:00"},
        {"noticeText": "greeting", "Notice-Version": 3, "NoticeAt": "20261120T080000+01"},
        {"noticeName": "greeting", "noticeVersionId": "3", "noticeGivenAt": "2026-11-20 08:00:00"},
        {"noticeId": "greeting", "NOTICE VERSION": "3", "notice_timestamp": "2026-11-20 08:00:00 +0100"},
    ],
)
@pytest.mark.parametrize("source", ["sidecar", "object"])
def test_the_proof_of_notice_is_read_in_any_spelling_and_leaves_consent_clear(facts, source):
    settings = Settings(time_zone="Europe/Berlin", notice_version={"*": "0"})
    stated = {"noticeGiven": True} | facts
    sidecar = json.dumps(stated).encode() if source == "sidecar" else None
    found = call_metadata("a.wav", sidecar, {} if sidecar else {name: str(value) for name, value in stated.items()}, settings)
    assert (found.get("notice_text"), found.get("notice_version")) == ("greeting", "3")
    assert found.get("notice_at") == datetime(2026, 11, 20, 7, tzinfo=UTC)
    assert {found.sources[name] for name in ("notice_text", "notice_version", "notice_at")} == {source}
    assert not found.notice_unclear and found.notes == () and found.get("notice_given") is True


def test_the_notice_of_the_line_holds_where_notice_was_given_and_nothing_else_is_stated():
    settings = Settings(notice_text={"*": "greeting"}, notice_version={"billing": "2026-03", "*": "2025-11"})

    def notice(**facts):
        found = call_metadata("a.wav", json.dumps(facts).encode(), {}, settings)
        return found.get("notice_text"), found.get("notice_version"), found.sources.get("notice_version")

    assert notice(notice_given=True, queue="billing") == ("greeting", "2026-03", "settings")
    assert notice(notice_given=True) == notice(notice_given=True, queue="sales") == ("greeting", "2025-11", "settings")
    assert notice(notice_given=True, notice_version="9") == ("greeting", "9", "sidecar")
    assert notice(queue="billing") == notice(notice_given=False, queue="billing") == (None, None, None)


def test_a_time_of_notice_that_cannot_be_read_costs_that_fact_alone():
    found = call_metadata("a.wav", b'{"notice_given": true, "notice_at": "at noon"}', {}, Settings())
    assert found.get("notice_at") is None and found.get("notice_given") and "notice_at is ignored" in found.notes[0]
