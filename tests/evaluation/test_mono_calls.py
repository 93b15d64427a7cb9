"""Mono calls composed of labelled clips, and the measures of diarization."""

import numpy as np
import pandas as pd
import pytest

from ser_tasks.datasets import read_corpora
from ser_tasks.evaluation.mono_calls import compose, errors, measure, reference, samples_of, table
from tests.factories.speakers import speechlike_corpus


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    (corpus,) = read_corpora([speechlike_corpus(tmp_path_factory.mktemp("clips") / "made", speakers=4)])
    return corpus.clips


def test_calls_are_drawn_by_number_and_seed_alone(clips):
    assert compose(clips, "emotional", 3, seed=5)[:2] == compose(clips, "emotional", 2, seed=5)
    assert compose(clips, "emotional", 1, seed=5) != compose(clips, "emotional", 1, seed=6)


def test_a_call_has_two_people_who_take_turns(clips):
    calls = compose(clips, "emotional", 6)
    for call in calls:
        assert call.agent != call.customer and call.turns[0].role == "agent"
        assert {turn.role for turn in call.turns} == {"agent", "customer"}
    assert [call.one_gender for call in calls] == [True, False] * 3
    assert {call.leak for call in calls} == {"none", "echo", "crosstalk"}
    assert len({turn.emotion for call in calls for turn in call.turns}) > 2
    with pytest.raises(ValueError, match="0 people have 4 clips for calm calls"):
        compose(clips, "calm", 1)


def test_overlaps_are_in_the_reference(clips):
    truths = [reference(call) for call in compose(clips, "emotional", 4)]
    assert all(truth.any(axis=1).all() for truth in truths) and any((truth[0] & truth[1]).any() for truth in truths)


def test_a_recording_is_coded_and_repeatable(clips):
    (call,) = compose(clips, "emotional", 1)
    one, other = samples_of(call, None), samples_of(call, None)
    assert (one == other).all() and len(np.unique(one)) <= 256 and np.abs(one).max() <= 1


def test_the_error_rate_of_known_answers():
    truth = np.zeros((2, 1000), bool)
    truth[0, 100:500], truth[1, 500:900] = True, True
    assert errors(truth, truth) == (0, 700)  # of 800 frames, 25 beside each change are left out
    assert errors(truth, truth[::-1]) == (0, 700)  # who is who does not count
    assert errors(truth, np.zeros_like(truth))[0] == 700
    late = np.roll(truth, 20, axis=1)
    assert errors(truth, late)[0] == 0
    wrong = truth.copy()
    wrong[:, 200:300] = wrong[::-1, 200:300]
    assert errors(truth, wrong)[0] == 100


def test_figures_of_a_call_add_up(clips, tmp_path):
    row = measure(compose(clips, "emotional", 1)[0], None, tmp_path)
    assert 0 <= row["der"] <= 2 and row["audio_s"] > 100 and row["cpu_s"] > 0
    assert row["released"] == (row["released_s"] > 0) and row["agent_s"] <= row["released_s"]


def test_a_table_has_shares_of_seconds():
    common = {"corpus": "a", "condition": "emotional", "audio_s": 100.0, "cpu_s": 1.0, "customer_s": 40.0}
    rows = [
        common | {"one_gender": True, "error_s": 8.0, "speech_s": 80.0, "der": 0.1, "released": True, "released_s": 30.0, "agent_s": 0.6},
        common | {"one_gender": False, "error_s": 40.0, "speech_s": 80.0, "der": 0.5, "released": False, "released_s": 0.0, "agent_s": 0.0},
    ]
    figures = table(pd.DataFrame(rows)).set_index("corpus").loc["all"]
    assert figures["der"] == 0.3 and figures["der_one_gender"] == 0.1 and figures["agent_share"] == 0.02
    assert figures["safe"] == 0.5 and figures["safe_released"] == 1 and figures["released"] == 0.5 and figures["speed"] == 100
