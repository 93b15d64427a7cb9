"""Roles by a transcript: of channels, contradictions, and turns for mono calls."""

import numpy as np
import pytest

from ser_tasks.calls.turns import MonoFacts, RoleTurn
from ser_tasks.transcripts import Transcript, Turn
from ser_tasks.transcripts.counts import counted, roles_of_turns, words_in
from ser_tasks.transcripts.roles import channel_roles, contradicted, with_greeting, with_turns
from ser_tasks.transcripts.transcript import Word

SPANS = [(0, 4), (5, 8), (9, 12), (13, 16)]
SPEECH = np.zeros((2, 200), bool)
for _number, (_start, _end) in enumerate(SPANS):
    SPEECH[_number % 2, _start * 10 : _end * 10] = True


def transcript(*roles, channels=(None, None)):
    turns = [
        Turn(s + 0.2, e + 0.2, None, "x", (), channels[i % 2], role) for i, ((s, e), role) in enumerate(zip(SPANS, roles, strict=True))
    ]
    return Transcript("made", tuple(turns))


RIGHT = ("agent", "customer", "agent", "customer")


def test_channels_have_the_role_of_the_turns_in_their_speech():
    assert channel_roles(transcript(*RIGHT), SPEECH, 0.1) == ["agent", "customer"]
    assert channel_roles(transcript(*RIGHT, channels=(0, 1)), SPEECH, 0.1) == ["agent", "customer"]
    assert channel_roles(transcript(*RIGHT), np.vstack([SPEECH, 0 * SPEECH[:1]]), 0.1) == ["agent", "customer", "unknown"]


@pytest.mark.parametrize(
    "unsafe",
    [transcript(*RIGHT, channels=(1, 0)), transcript(*RIGHT, channels=(0, 7)), transcript("agent", "customer", "customer", "agent"),
     transcript("agent", None, "agent", None), transcript("agent", "agent", "agent", "agent")],
)  # fmt: skip
def test_what_is_not_safe_leaves_roles_unknown(unsafe):
    assert channel_roles(unsafe, SPEECH, 0.1) is None


def test_contradictions_are_found():
    assert contradicted(["agent", "customer"], transcript(*RIGHT), SPEECH, 0.1) is None
    assert contradicted(["customer", "agent"], transcript(*RIGHT), SPEECH, 0.1) == 0
    assert contradicted(["unknown", "agent"], transcript(*RIGHT), SPEECH, 0.1) == 1
    assert contradicted(["customer"], transcript(*RIGHT), SPEECH.any(axis=0, keepdims=True), 0.1) == 0
    assert contradicted(["mixed"], transcript(*RIGHT), SPEECH.any(axis=0, keepdims=True), 0.1) is None


def test_mono_calls_get_turns_with_their_source():
    found = with_turns(MonoFacts(), transcript(*RIGHT))
    assert found.turns_source == "transcript" and found.turns[0] == RoleTurn(0.2, 4.2, "agent")
    assert with_turns(MonoFacts(), transcript("agent", None, None, None)) == MonoFacts()
    own = MonoFacts(turns=tuple(RoleTurn(s, e, role) for (s, e), role in zip(SPANS, RIGHT, strict=True)))
    assert with_turns(own, transcript(*RIGHT)) is own
    problem = with_turns(own, transcript("agent", "customer", "customer", "agent")).problem
    assert problem == "the turns of sidecar and transcript disagree on who speaks in 46% of the time"


def opening(said, gap_s=0.1):
    words, at_s = [], 0.5
    for word in said.split():
        words.append(Word(word, at_s, at_s + 0.2))
        at_s += 0.2 + gap_s
    return Transcript("asr:made", (Turn(0.5, at_s, None, said, tuple(words)),))


@pytest.mark.parametrize(
    ("said", "direction"),
    [
        ("Hello and welcome to Callytics! My name is Emily.", "inbound"),
        ("Thank you for calling Super Awesome Company.", "inbound"),
        ("Good morning, how can I help you?", "inbound"),
        ("Hi, thanks for calling me back.", None),
        ("Hello, this is Emily, I have a question.", None),
        ("Yes, I was told to say welcome to you.", None),
        ("", None),
    ],
)
def test_a_greeting_says_who_called(said, direction):
    assert with_greeting(MonoFacts(), opening(said)).direction == direction


def test_a_greeting_counts_in_one_breath_and_only_where_nothing_is_stated():
    greeting = opening("Hello, thank you for calling.")
    assert with_greeting(MonoFacts(), opening("Hello, thank you for calling.", gap_s=0.5)).direction is None, "two people may have spoken"
    assert with_greeting(MonoFacts(direction="outbound"), greeting).direction == "outbound"
    turns = MonoFacts(turns=(RoleTurn(0, 1, "customer"),), turns_source="sidecar")
    assert with_greeting(turns, greeting) is turns and with_greeting(MonoFacts(), Transcript("made", ())) == MonoFacts()


def test_turns_without_a_role_have_that_of_who_speaks():
    speech = {"agent": SPEECH[0], "customer": SPEECH[1]}
    assert roles_of_turns(transcript(None, None, None, None).turns, speech, 0.1, True) == list(RIGHT)
    assert roles_of_turns(transcript(*RIGHT).turns, {}, 0.1, False) == ["unattributed"] * 4


def test_words_are_counted_in_all_scripts():
    def turn(text, *words):
        return Turn(0, 1, None, text, tuple(Word(word) for word in words))

    assert words_in(turn("Don't worry — it's fine, 24/7!")) == 6
    assert words_in(turn("Größe und Straße")) == 3 and words_in(turn("كيف حالك؟")) == 2
    assert words_in(turn("お名前は何ですか")) is None and words_in(turn("お名前は", "お", "名前", "は", "。")) == 3
    found = counted([Turn(0, 6, None, "¿Qué? Why?!", ()), Turn(7, 10, None, "お名前は？")], ["agent", "customer"], 60)
    assert (found["agent_words_per_minute"], found["agent_questions"]) == (20, 2)
    assert (found["customer_words_per_minute"], found["customer_questions"]) == (None, 1)
    assert (found["unattributed_questions"], found["words_turns"], found["words_customer_response_s"]) == (None, 2, 1)
