"""Turns: who takes over, for how long, and how fast the other answers."""

import pytest

from ser_tasks.audio.turn_taking import Turn, covered_s, turn_taking, turns


def test_a_turn_goes_on_until_the_other_takes_over():
    stretches = [(0, 2, "agent"), (2.5, 4, "agent"), (4.5, 6, "customer"), (5.0, 5.4, "agent"), (5.8, 9, "agent"), (7, 7.5, "mixed")]
    assert turns(stretches) == [Turn(0, 4, "agent"), Turn(4.5, 6, "customer"), Turn(5.8, 9, "agent")]


def test_columns():
    stretches = [(0, 4, "agent"), (4.5, 6, "customer"), (5.8, 9, "agent"), (30, 31, "customer"), (31.4, 33, "agent")]
    found = turn_taking(stretches, 60)
    assert found == {
        "talk_ratio": pytest.approx(8.8 / 11.3),
        "turns_per_minute": 5,
        "agent_longest_turn_s": 4,
        "agent_response_s": pytest.approx(0.1),
        "customer_longest_turn_s": 1.5,
        "customer_response_s": 0.5,
    }


@pytest.mark.parametrize("stretches", [[], [(0, 3, "agent")], [(0, 3, "mixed"), (4, 5, "unknown")], [(1, 1, "agent"), (2, 4, "customer")]])
def test_one_side_alone_takes_no_turns(stretches):
    assert set(turn_taking(stretches, 60).values()) == {None}


def test_seconds_are_counted_once():
    assert covered_s([(0, 2), (1, 3), (5, 6)]) == 4
