"""Calls whose roles nothing can say end before their voices are compared."""

import re

import numpy as np
import pytest

from ser_tasks.audio.samples import Samples
from ser_tasks.audio.vad import detect_speech, speech_spans
from ser_tasks.calls.turns import MonoFacts, RoleTurn
from ser_tasks.voices.mono import attribute
from tests.factories.mono import mixed

TURNS = (RoleTurn(0, 4, "agent"), RoleTurn(4, 90, "customer"))


@pytest.mark.parametrize(
    ("facts", "doubt"),
    [
        (MonoFacts(), "nothing says safely which of two voices is the agent's .* SER_CALL_DIRECTION"),
        (MonoFacts(speakers=1, direction="inbound"), "1 person speaks by the sidecar, and only turns say"),
        (MonoFacts(speakers=3), "nothing says safely"),
        (MonoFacts(speakers=4, direction="outbound"), "4 people speak by the sidecar"),
        (MonoFacts(turns=TURNS), "turns go on to 90.0 s, and the recording lasts 23.0 s"),
        (MonoFacts(turns=(RoleTurn(0, 2, "agent"), RoleTurn(2, 3, "customer"))), "turns cover"),
        (MonoFacts(direction="inbound", problem="turns cannot be read"), "turns cannot be read: correct it"),
    ],
)
def test_no_voice_is_compared_where_it_could_not_help(tmp_path, facts, doubt):
    with Samples(1, tmp_path) as call:
        call.push(mixed()[None])
        probabilities = detect_speech([call])[0].probabilities[0]
        spans = speech_spans(probabilities, call.samples)
        found = attribute(call, 0, spans, probabilities, facts, encode=_not_called)
    assert found.doubt is not None and re.search(doubt, found.doubt), found.doubt
    assert found.spans["customer"] == found.spans["agent"] == []
    assert np.isclose(sum(span.seconds for span in found.spans["unknown"]), sum(span.seconds for span in spans))


def _not_called(*_):
    raise AssertionError("voices were compared")
