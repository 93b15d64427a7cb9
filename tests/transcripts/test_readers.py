"""Readers of transcripts: each format's example gives the turns that a person reads in it, and what is broken an error of its own."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ser_tasks.transcripts import FORMATS, TranscriptError, Word, read_transcript
from ser_tasks.transcripts.transcript import by_speaker

EXAMPLES = Path(__file__).parent / "examples"
REAL = Path(os.environ.get("SER_DATA_DIR", "/nowhere")) / "transcripts"
GOOD, CARD = "Good morning.", "My card is lost."

EXPECTED = {
    "amazon_transcribe.json": (
        "amazon_transcribe",
        "en-US",
        [(0.5, 2.1, "spk_0", None, None, "Good morning, how?", 3), (2.5, 3.4, "spk_1", None, None, "My card.", 2)],
    ),
    "amazon_transcribe_channels.json": (
        "amazon_transcribe",
        None,
        [(0.5, 2.6, None, 0, None, GOOD, 2), (2.5, 3.4, None, 1, None, "My card", 2)],
    ),
    "amazon_call_analytics.json": (
        "amazon_call_analytics",
        "en-US",
        [
            (0.5, 2.1, "AGENT", None, "agent", "Good morning, how can I help?", 2),
            (2.0, 4.4, "CUSTOMER", None, "customer", "My card is [PII].", 0),
        ],
    ),
    "amazon_contact_lens.json": (
        "amazon_call_analytics",
        "en-GB",
        [(0.5, 2.1, "a1f2", None, "agent", GOOD, 0), (2.5, 4.4, "c9d8", None, "customer", CARD, 0)],
    ),
    "amazon_pca.json": (
        "amazon_pca",
        "en-US",
        [(0.5, 2.1, "spk_0", None, "agent", GOOD, 1), (2.5, 4.4, "spk_1", None, "customer", CARD, 0)],
    ),
    "amazon_bedrock.json": ("amazon_bedrock", "EN", [(0.5, 2.1, "spk_1", 1, None, "Hello.", 1), (2.5, 4.4, "spk_0", 0, None, "Hi", 1)]),
    "azure_batch.json": ("azure", "de-DE", [(0.5, 2.1, None, 0, None, GOOD, 2), (62.5, 64.4, "2", 1, None, CARD, 0)]),
    "azure_fast.json": ("azure", "en-US", [(0.5, 2.1, None, 0, None, GOOD, 1), (2.5, 4.4, None, 1, None, CARD, 0)]),
    "deepgram_words.json": (
        "deepgram",
        "en",
        [(0.5, 2.1, "0", 0, None, GOOD, 2), (2.0, 2.7, "0", 1, None, "my", 1), (3.9, 4.4, "0", 1, None, "card", 1)],
    ),
    "deepgram_utterances.json": ("deepgram", None, [(0.5, 2.1, "0", 0, None, GOOD, 1), (2.5, 4.4, "1", 0, None, CARD, 0)]),
    "assemblyai.json": ("assemblyai", "en_us", [(0.5, 2.1, "1", 0, None, GOOD, 1), (2.5, 4.4, "2", 1, None, CARD, 0)]),
    "google_v1.json": (
        "google",
        "en-us",
        [(0.0, 2.1, "1", None, None, "good morning", 2), (2.5, 4.4, "2", None, None, "my card", 2)],
    ),
    "google_v2.json": ("google", "en-US", [(0.5, 2.1, "1", 0, None, GOOD, 2), (2.0, 4.4, None, 1, None, "My card.", 2)]),
    "whisperx.json": (
        "whisperx",
        "en",
        [
            (0.5, 2.1, "SPEAKER_00", None, None, "Good morning, room 12.", 4),
            (2.5, 2.8, "SPEAKER_00", None, None, "Yes.", 1),
            (3.0, 4.4, "SPEAKER_01", None, None, "My card.", 2),
        ],
    ),
    "turns.json": ("turns", "de", [(0.5, 2.1, "agent", None, "agent", GOOD, 0), (2.0, 4.4, "customer", None, "customer", "", 0)]),
    "voices.vtt": (
        "webvtt",
        None,
        [
            (0.5, 2.1, "Agent", None, "agent", "Good morning, how can I help?", 0),
            (2.5, 4.4, "Customer", None, "customer", "My card & my PIN are lost.", 0),
        ],
    ),
    "names.srt": (
        "srt",
        None,
        [
            (0.5, 2.1, "CSR", None, "agent", "Good morning. How can I help?", 0),
            (2.0, 4.4, "Customer", None, "customer", CARD, 0),
            (5.0, 5.9, None, None, None, "Thank you.", 0),
        ],
    ),
}


def test_every_format_has_an_example():
    assert {path.name for path in EXAMPLES.iterdir()} == set(EXPECTED)
    assert {each[0] for each in EXPECTED.values()} == set(FORMATS)


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_gives_its_turns(name):
    found = read_transcript((EXAMPLES / name).read_bytes())
    form, language, turns = EXPECTED[name]
    assert (found.format, found.language) == (form, language)
    assert [(turn.speaker, turn.channel, turn.role, turn.text, len(turn.words)) for turn in found.turns] == [turn[2:] for turn in turns]
    times = [time for turn in found.turns for time in (turn.start_s, turn.end_s)]
    assert times == pytest.approx([time for turn in turns for time in turn[:2]])


def test_words_have_their_times_or_none():
    words = read_transcript((EXAMPLES / "whisperx.json").read_bytes()).turns[0].words
    assert words[0] == Word("Good", 0.5, 0.8) and words[-1] == Word("12.")
    azure = read_transcript((EXAMPLES / "azure_batch.json").read_bytes()).turns[0].words
    assert azure[0] == Word("good", 0.5, 0.8) and azure[1] == Word("morning")


def test_mute_ranges_come_from_the_transcript():
    assert read_transcript((EXAMPLES / "amazon_call_analytics.json").read_bytes()).redact == ((3.3, 4.4),)
    assert read_transcript((EXAMPLES / "turns.json").read_bytes()).redact == ((3.5, 4.0),)
    document = json.loads((EXAMPLES / "deepgram_words.json").read_text()) | {"redact": [[2, "3.5"], [0.25, 1]]}
    assert read_transcript(json.dumps(document).encode()).redact == ((0.25, 1.0), (2.0, 3.5))


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize(
    "written",
    [
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: text.encode("utf-16"),
        lambda text: ("\n\n" + text).encode(),
    ],
    ids=["bom", "crlf", "cr", "utf-16", "blank lines first"],
)
def test_every_encoding_gives_the_same(name, written):
    data = (EXAMPLES / name).read_bytes()
    assert read_transcript(written(data.decode())) == read_transcript(data)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(1.2, 1.2), ("1.2", 1.2), ("1.200s", 1.2), ("PT1.2S", 1.2), ("PT1M1.2S", 61.2), ("PT1H", 3600), ("1200ms", 1.2), ("00:00:01.200", 1.2),
     ("01:02,5", 62.5), ({"seconds": "1", "nanos": 200000000}, 1.2), ({"nanos": 5e8}, 0.5), ("1,5", 1.5)],
)  # fmt: skip
def test_times_in_all_spellings(written, seconds):
    turn = {"start_s": written, "end_s": 9000, "text": "Hi"}
    assert read_transcript(json.dumps({"turns": [turn]}).encode()).turns[0].start_s == pytest.approx(seconds)


@pytest.mark.parametrize("written", [-1, True, None, "soon", "-3", 1e300, 7e8, [], "PT", "P", "1:2:3:4", ""])
def test_a_time_that_is_none_is_an_error_without_what_was_said(written):
    turn = {"start_s": written, "end_s": 9000, "text": "My secret is 4711"}
    with pytest.raises(TranscriptError, match="start_s is .*: a time is a number") as error:
        read_transcript(json.dumps({"turns": [turn]}).encode())
    assert "secret" not in str(error.value) and "Export" in str(error.value)


def test_a_value_that_may_be_words_is_not_shown():
    with pytest.raises(TranscriptError) as error:
        read_transcript(json.dumps({"turns": [{"start_s": "call me Ishmael", "end_s": 1, "text": "x"}]}).encode())
    assert "Ishmael" not in str(error.value) and "a text of 15 characters" in str(error.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes of no known format"),
        (b"hello", "no known format"),
        (b"{}", "JSON of no known format: the formats are amazon_call_analytics"),
        (b'{"results": {"items": [', "no whole JSON document at character 23"),
        (b'{"turns": [{"start_s": NaN}]}', "no whole JSON"),
        (b"[" * 100_000, "nested too deeply|no whole JSON"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"\x80\x81", "not UTF-8"),
        (b'{"turns": [{"start_s": 2, "end_s": 1, "text": "x"}]}', "ends at 1 s and starts at 2 s"),
        (b'{"turns": ["x"]}', "turns is a text of 1 characters: it must be a JSON object"),
        (b"WEBVTT\n\n00:01 --> soon\nHi", "cue's times"),
        (b"WEBVTT\n\n00:00:05.000 --> 00:00:01.000\nHi", "must end later"),
        (b'{"redact": [[5]], "turns": []}', r"redact is no list of ranges"),
        (b'{"redact": [[5, 4]], "turns": []}', r"redact ends at 4 s"),
    ],
)
def test_what_cannot_be_read_is_said(data, message):
    with pytest.raises(TranscriptError, match=message):
        read_transcript(data)


def test_a_transcript_may_be_empty():
    assert read_transcript(b"WEBVTT").turns == ()
    assert read_transcript(b'{"segments": []}').turns == ()
    assert read_transcript(b'{"results": {"channels": [{"alternatives": [{"transcript": "", "words": []}]}]}}').turns == ()
    assert read_transcript(b'{"results": {"transcripts": [{"transcript": ""}], "items": []}}').turns == ()


def test_too_many_turns_are_an_error():
    document = {"turns": [{"start_s": 1, "end_s": 2, "text": "x"}] * 20_001}
    with pytest.raises(TranscriptError, match="20,001 turns, more than 20,000"):
        read_transcript(json.dumps(document).encode())


def test_customer_words_count_beside_an_agent_only():
    def roles(*speakers):
        turns = [{"start_s": index, "end_s": index + 1, "speaker": speaker, "text": "x"} for index, speaker in enumerate(speakers)]
        return [turn.role for turn in read_transcript(json.dumps({"turns": turns}).encode()).turns]

    assert roles("Operator", "Caller") == ["agent", "customer"]
    assert roles("Caller", "Emily") == [None, None]
    assert roles("AGENT_0", "customer-2", "ivr") == ["agent", "customer", None]


def test_a_cue_with_two_voices_is_two_turns():
    cue = "WEBVTT\n\n00:00.000 --> 00:04.000\n<v Agent>Yes.</v>\n<v Customer>No!!</v>"
    assert [(turn.role, turn.text, turn.start_s, turn.end_s) for turn in read_transcript(cue.encode()).turns] == [
        ("agent", "Yes.", 0, 2),
        ("customer", "No!!", 2, 4),
    ]


def test_srt_without_blank_lines_or_numbers():
    cues = "1\n00:00:00,000 --> 00:00:01,000\nOne\n2\n00:00:01,000 --> 00:00:02,000\nTwo\n00:00:02,000 --> 00:00:03,000\n3 is text"
    assert [turn.text for turn in read_transcript(cues.encode()).turns] == ["One", "Two", "3 is text"]


def test_words_are_cut_at_speakers_and_pauses():
    words = [(Word("a", 0, 1), "x", None), (Word("12"), None, None), (Word("b", 1, 2), "x", None), (Word("c", 3.5, 4), "x", None)]
    assert [(turn.start_s, turn.end_s, turn.text) for turn in by_speaker(words)] == [(0, 2, "a 12 b"), (3.5, 4, "c")]
    assert by_speaker([(Word("a"), "x", None)]) == []


def _paths(value, path=()):
    yield path
    for key, each in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _paths(each, (*path, key))


def _replaced(document, path, value):
    if not path:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[path[0]] = _replaced(copy[path[0]], path[1:], value)
    return copy


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_document_with_anything_in_any_place_is_read_or_a_transcript_error(data):
    name = data.draw(st.sampled_from(sorted(name for name in EXPECTED if name.endswith(".json"))))
    document = json.loads((EXAMPLES / name).read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        document = _replaced(document, data.draw(st.sampled_from(list(_paths(document)))), data.draw(ANYTHING))
    _read_or_refuse(json.dumps(document).encode())


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_broken_bytes_are_read_or_a_transcript_error(data):
    whole = bytearray((EXAMPLES / data.draw(st.sampled_from(sorted(EXPECTED)))).read_bytes())
    start = data.draw(st.integers(0, len(whole)))
    whole[start : start + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=6))
    _read_or_refuse(bytes(whole[: data.draw(st.integers(0, len(whole)))]) if data.draw(st.booleans()) else bytes(whole))


def _read_or_refuse(data: bytes):
    try:
        found = read_transcript(data)
    except TranscriptError:
        return
    for turn in found.turns:
        assert 0 <= turn.start_s <= turn.end_s < 1e6


@pytest.mark.skipif(not REAL.exists(), reason="SER_DATA_DIR is not set")
@pytest.mark.parametrize(
    ("name", "form", "turns", "words", "end_s", "speakers"),
    [
        ("amazon-bedrock-data-automation.bda-standard.json", "amazon_bedrock", 51, 737, 272.21, {("spk_0", 0, None), ("spk_1", 1, None)}),
        ("amazon-pca-output.testfile.json", "amazon_pca", 12, 94, 28.96, {("spk_0", None, "agent"), ("spk_1", None, "customer")}),
        ("amazon-transcribe-call-analytics.example-call.json", "amazon_call_analytics", 37, 462, 182.89,
         {("AGENT", None, "agent"), ("CUSTOMER", None, "customer")}),
        ("azure-speech-batch.transcriptSample.json", "azure", 3, 11, 7.46, {("1", 0, None), ("2", 0, None)}),
        ("deepgram.dg_speakers.json", "deepgram", 22, 226, 163.105, {(str(number), 0, None) for number in range(3)}),
        ("assemblyai.utterances.json", "assemblyai", 1, 60, 25.14, {("A", None, None)}),
        ("callytics-csvd-Call01.srt", "srt", 9, 0, 71.575, {("CSR", None, "agent"), ("Customer", None, "customer")}),
        ("callytics-csvd-Call02.srt", "srt", 10, 0, 64.942, {("CSR", None, "agent"), ("Customer", None, "customer")}),
        ("webvtt-py.sample.vtt", "webvtt", 16, 0, 64.3, {(None, None, None)}),
    ],
)  # fmt: skip
def test_real_transcripts(name, form, turns, words, end_s, speakers):
    found = read_transcript((REAL / name).read_bytes())
    assert (found.format, len(found.turns), sum(len(turn.words) for turn in found.turns)) == (form, turns, words)
    assert found.end_s == pytest.approx(end_s, abs=0.01)
    assert {(turn.speaker, turn.channel, turn.role) for turn in found.turns} == speakers
