"""Who is the agent, by evidence that is not the voice."""

import numpy as np
import pytest

from ser_tasks.audio.vad import Span
from ser_tasks.calls.turns import RoleTurn
from ser_tasks.voices.agent import coverage, first_speaker, stated_roles, talk_share, verdict

EVEN = np.array([30.0, 30.0])


@pytest.mark.parametrize(("person", "direction", "agent"), [(0, "inbound", 0), (1, "inbound", 1), (0, "outbound", 1), (1, "outbound", 0)])
def test_who_speaks_first_is_the_agent_of_an_inbound_call(person, direction, agent):
    found = verdict([first_speaker(person, direction), talk_share(EVEN)])
    assert found.roles.index("agent") == agent and found.confidence == pytest.approx(0.95)
    assert found.text == "first_speaker 0.95, talk_share 0.50"


def test_without_a_direction_who_speaks_first_says_nothing():
    assert first_speaker(0, None) is None


def test_the_share_of_talk_is_never_enough_alone():
    found = verdict([talk_share(np.array([95.0, 5.0]))])
    assert found.roles == () and found.confidence == pytest.approx(0.6)


def test_evidence_adds_up_and_contradicts():
    agrees = verdict([first_speaker(0, "inbound"), talk_share(np.array([50.0, 10.0]))])
    contradicts = verdict([first_speaker(0, "inbound"), talk_share(np.array([10.0, 50.0]))])
    assert contradicts.confidence < 0.95 < agrees.confidence and contradicts.roles == agrees.roles == ("agent", "customer")


TURNS = (RoleTurn(1, 3, "agent"), RoleTurn(3.5, 6, "customer"), RoleTurn(5.8, 8, "agent"), RoleTurn(9, 10, "unknown"))


def seconds(*pairs: tuple[float, float]) -> list[Span]:
    return [Span(int(8000 * start), int(8000 * end)) for start, end in pairs]


def test_a_window_has_the_role_of_the_turn_it_lies_in():
    found = stated_roles(seconds((1, 3), (3.5, 5.5), (5, 6.4), (6.2, 8), (9, 10), (2.9, 3.4), (12, 13)), TURNS)
    assert found.tolist() == ["agent", "customer", "unknown", "agent", "unknown", "unknown", "unknown"]


def test_coverage_is_of_the_speech_and_of_the_turns():
    assert coverage(seconds((1, 2), (20, 21)), (RoleTurn(0, 4, "agent"), RoleTurn(3, 4, "customer"))) == pytest.approx((0.5, 0.25))
    assert coverage([], ()) == (0, 0)
