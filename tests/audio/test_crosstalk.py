"""Echoes and mono mixes: whose voice a channel carries, on calls composed of known voices."""

import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from ser_tasks.audio import activity
from ser_tasks.audio.crosstalk import Crosstalk, compare_channels
from ser_tasks.audio.vad import WINDOW_S, detect_speech, speech_spans
from tests.factories.calls import two_sided
from tests.factories.crosstalk import CODECS, acted_call, coded, drifting, late, reverberant, samples_of, with_echo, with_noise

EDGE = 3
"""Windows around true speech that belong to it: the detector's edges are no sharper."""


def speech_of(call: np.ndarray) -> tuple[np.ndarray, np.ndarray, Crosstalk]:
    """Masks of speech (channels, windows): as detected, and without other channels' voices."""
    samples = samples_of(call)
    probabilities = detect_speech([samples])[0].probabilities

    def masks(found: np.ndarray) -> np.ndarray:
        return np.array([activity.speech_mask(speech_spans(channel, samples.samples), found.shape[1]) for channel in found])

    before = masks(probabilities)
    crosstalk = compare_channels(samples, before)
    return before, masks(np.where(crosstalk.foreign, 0, probabilities)), crosstalk


def widened(mask: np.ndarray) -> np.ndarray:
    return np.convolve(mask, np.ones(2 * EDGE + 1), "same") > 0


def shares(clean: np.ndarray, heard: np.ndarray, late_ms: float) -> tuple[float, float, float]:
    """Shares of the agent's speech that is counted as the customer's, of the customer's that is lost, and of the agent's that is lost."""
    agent, customer = clean
    spoken = widened(agent | np.roll(agent, round(late_ms / 1000 / WINDOW_S)))
    wrong = (heard[1] & spoken & ~widened(customer)).sum()
    return wrong / agent.sum(), (customer & ~heard[1]).sum() / customer.sum(), (agent & ~heard[0]).sum() / agent.sum()


@pytest.fixture(scope="module")
def buzz() -> np.ndarray:
    """A made-up call (2, samples), agent and customer; both speak from 13 to 15 s."""
    turns = [("agent", 1, 5), ("customer", 6, 11), ("agent", 12, 15), ("customer", 13, 18), ("agent", 19, 23)]
    return two_sided(turns, 25, seed=4).T


@pytest.mark.parametrize(("below_db", "late_ms"), [(3, 0), (6, 300), (15, 3), (24, 60), (30, 150)])
def test_an_echo_is_nobody_s_speech_and_the_customer_under_it_is_heard(buzz, below_db, late_ms):
    clean, _, _ = speech_of(buzz)
    before, after, crosstalk = speech_of(with_echo(buzz, below_db, late_ms))
    assert crosstalk.copy_of == (0, 1)
    assert shares(clean, before, late_ms)[0] > 0.5  # the detector hears it
    wrong, lost, agent_lost = shares(clean, after, late_ms)
    assert wrong <= 0.01 and lost <= 0.03 and agent_lost <= 0.03


def test_a_call_without_crosstalk_loses_nothing(buzz):
    before, after, crosstalk = speech_of(buzz)
    np.testing.assert_array_equal(before, after)
    assert crosstalk.copy_of == (0, 1)
    assert compare_channels(samples_of(buzz[:1]), before[:1]).copy_of == (0,)
    nothing = compare_channels(samples_of(buzz[:, :0]), before[:, :0])
    assert nothing.copy_of == (0, 1) and nothing.foreign.shape == (2, 0)


MIXES = {
    "6 dB quieter": lambda mix: late(mix, 0, 6),
    "1 dB quieter": lambda mix: late(mix, 0, 1),
    "inverted": lambda mix: -mix,
    "a sample late": lambda mix: late(mix, 0.125),
    "a packet late": lambda mix: late(mix, 20),
    "300 ms late, 3 dB quieter": lambda mix: late(mix, 300, 3),
    "a packet early": lambda mix: late(mix, -20),
    "with noise at -25 dB": lambda mix: with_noise(mix[None], 20 * np.log10(mix.std()) - 25)[0],
}


@pytest.mark.parametrize("kind", MIXES)
def test_a_mono_mix_is_one_signal_on_either_channel(buzz, kind, tmp_path):
    mix = buzz.sum(axis=0)
    call = np.stack([mix, MIXES[kind](mix)])
    assert speech_of(call)[2].copy_of == speech_of(call[::-1])[2].copy_of == (0, 0)
    assert speech_of(coded(call, "gsm610.wav", tmp_path))[2].copy_of == (0, 0)  # each channel coded by itself


def test_a_faint_copy_is_an_echo_and_a_third_channel_may_be_one_signal_with_the_first(buzz):
    _, after, crosstalk = speech_of(np.stack([buzz[0], late(buzz[0], 3, 15)]))
    assert crosstalk.copy_of == (0, 1) and not after[1].any() and after[0].any()
    assert speech_of(np.stack([buzz[0], buzz[1], late(buzz[0], 20, 6)]))[2].copy_of == (0, 1, 0)


def test_a_mix_beside_two_sides_takes_no_speech_from_them(buzz):
    call = np.stack([buzz[0], buzz[1], buzz.sum(axis=0)])
    before, _, _ = speech_of(call)
    shared = compare_channels(samples_of(call), before, shared=[2])
    assert not shared.foreign[:2].any() and compare_channels(samples_of(call), before).foreign[1].any()


PATHS = {
    "two lags": lambda voice: late(voice, 20) + late(voice, 90, 3),
    "a room": lambda voice: reverberant(late(voice, 10)),
    "another clock": lambda voice: drifting(late(voice, 20), 300),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("below_db", [6, 15])
def test_an_echo_whose_waveform_cannot_be_predicted_is_nobody_s_speech(buzz, path, below_db):
    clean, _, _ = speech_of(buzz)
    echo = PATHS[path](buzz[0]) * np.float32(10 ** (-below_db / 20))
    before, after, crosstalk = speech_of(np.stack([buzz[0], buzz[1] + echo]))
    assert shares(clean, before, 150)[0] > 0.5 and crosstalk.copy_of == (0, 1)
    wrong, lost, _ = shares(clean, after, 150)
    assert wrong <= 0.05 and lost <= 0.05


def data() -> Path:
    if "SER_DATA_DIR" not in os.environ:
        pytest.skip("SER_DATA_DIR is not set: real audio is needed")
    return Path(os.environ["SER_DATA_DIR"], "emotion")


def measured(corpus: str, seeds: range, conditions: list[tuple[float, float, str, float]], folder: Path) -> list[tuple[float, ...]]:
    """Shares (``shares``) under each condition: echo in dB below, ms late, codec, noise in dBFS; means over the calls."""
    calls = [acted_call(data() / corpus, seed) for seed in seeds]
    clean = [speech_of(call)[0] for call in calls]
    rows = []
    for below_db, late_ms, codec, noise_dbfs in conditions:
        heard = [speech_of(coded(with_noise(with_echo(call, below_db, late_ms), noise_dbfs), codec, folder))[1] for call in calls]
        rows.append(tuple(np.mean([shares(*pair, late_ms) for pair in zip(clean, heard, strict=True)], axis=0)))
    return rows


def test_real_voices_under_echo(tmp_path):
    conditions = [(3, 20, "ulaw", -65.0), (15, 300, "gsm610.wav", -65.0), (30, 150, "opus.opus", -80.0)]
    for wrong, lost, _ in measured("emodb", range(2), conditions, tmp_path):
        assert wrong <= 0.01 and lost <= 0.03


@pytest.mark.slow
@pytest.mark.parametrize("corpus", ["emodb", "nemo"])
def test_real_voices_under_every_echo(corpus, tmp_path):
    """3 to 40 dB below, 0 to 300 ms late, four codecs, a quiet and a noisy line: prints the figures of OPERATIONS.md (``-s``)."""
    conditions = list(product((3, 10, 20, 30, 40), (0, 20, 150, 300), CODECS, (-80.0, -50.0)))
    rows = measured(corpus, range(2), conditions, tmp_path)
    for condition, row in zip(conditions, rows, strict=True):
        print(corpus, *condition, *(f"{100 * share:.2f} %" for share in row))
    print(corpus, "mean", np.mean(rows, axis=0), "worst condition", np.max(rows, axis=0))
    wrong, lost, _ = np.mean(rows, axis=0)
    assert wrong <= 0.01 and lost <= 0.03
