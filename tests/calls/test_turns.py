"""What a sidecar says of a mono call's people."""

import json

import pytest

from ser_tasks.calls.turns import MonoFacts, RoleTurn, mono_facts


def read(**stated):
    return mono_facts(json.dumps(stated).encode())


def test_nothing_is_known_without_a_sidecar():
    assert mono_facts(None) == mono_facts(b"{}") == MonoFacts()


def test_facts_are_read_in_any_spelling():
    facts = read(Speakers=3, Direction=" INBOUND ", promptEndS=4.5, call_id="7")
    assert facts == MonoFacts(speakers=3, direction="inbound", prompt_end_s=4.5)


def test_turns_are_in_order_of_time_and_words_mean_roles():
    turns = [{"start_s": 5, "end_s": 6, "role": "Caller"}, {"start_s": "1.5", "end_s": 4, "role": "CSR", "text": "hello"},
             {"start_s": 7, "end_s": 8, "role": "bot"}]  # fmt: skip
    assert read(turns=turns) == MonoFacts(turns=(RoleTurn(1.5, 4, "agent"), RoleTurn(5, 6, "customer"), RoleTurn(7, 8, "unknown")))


def test_a_caller_is_no_customer_without_an_agent():
    assert read(turns=[{"start_s": 1, "end_s": 2, "role": "caller"}]).turns[0].role == "unknown"


@pytest.mark.parametrize(
    ("stated", "problem"),
    [
        ({"speakers": 5}, "speakers cannot be read"),
        ({"speakers": 0}, "speakers cannot be read"),
        ({"direction": "internal"}, "direction cannot be read"),
        ({"prompt_end_s": -1}, "prompt_end_s cannot be read"),
        ({"turns": "none"}, "turns cannot be read"),
        ({"turns": [{"start_s": 2, "end_s": 1, "role": "agent"}]}, "turns.0 cannot be read (it ends before it starts)"),
        ({"turns": [{"start_s": -2, "end_s": 1, "role": "agent"}]}, "turns.0.start_s cannot be read"),
        ({"turns": [{"end_s": 1, "role": "agent"}]}, "turns.0.start_s cannot be read"),
        ({"direction": "inbound", "Direction": "outbound"}, "direction twice"),
    ],
)
def test_what_cannot_be_read_is_a_problem(stated, problem):
    assert problem in read(**stated).problem
    assert read(**stated).turns == ()


def test_a_problem_shows_no_value():
    assert "Erika" not in read(turns=[{"start_s": "Erika", "end_s": 1, "role": "agent"}]).problem


def test_an_installations_own_facts_hold_where_a_call_states_none():
    assert read().or_else("inbound", 3.0) == MonoFacts(direction="inbound", prompt_end_s=3.0)
    assert read(direction="outbound", prompt_end_s=0).or_else("inbound", 3.0) == MonoFacts(direction="outbound", prompt_end_s=0)
