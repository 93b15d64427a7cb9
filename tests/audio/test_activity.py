import numpy as np
import pytest

from ser_tasks.audio.activity import activity, dbfs, interruptions, mean_power, noise_floor, snr_db, speech_mask
from ser_tasks.audio.vad import WINDOW, WINDOW_S, Span, window_power


def mask(*runs: tuple[int, int], windows: int = 100) -> np.ndarray:
    found = np.zeros(windows, bool)
    for first, last in runs:
        found[first:last] = True
    return found


def test_levels_of_a_known_sine():
    t = np.arange(100 * WINDOW) / 8000
    power = window_power(0.5 * np.sin(2 * np.pi * 1000 * t)[None].astype(np.float32))
    assert power.shape == (1, 100)
    assert dbfs(float(power.mean())) == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=1e-3)
    assert dbfs(0) == -120


def test_snr_takes_the_background_s_own_power_off():
    assert snr_db(1.1e-2, 1e-3) == pytest.approx(10)
    assert snr_db(1e-2, 0.0) == 60  # digital silence says no more than that
    assert snr_db(1e-2, None) is None
    assert noise_floor(np.array([1.0, 1.0, 4.0]), np.array([False, False, True])) == 1.0
    assert noise_floor(np.array([1.0]), np.array([True])) is None


def test_activity_of_a_known_call():
    agent, customer = mask((0, 40)), mask((30, 70))
    power = np.where(np.stack([agent, customer]), [[0.01], [0.04]], 1e-6)
    found = activity(["agent", "customer"], np.stack([agent, customer]), power, 100 * WINDOW_S)
    assert found["agent_speech_s"] == pytest.approx(40 * WINDOW_S)
    assert found["customer_speech_s"] == pytest.approx(40 * WINDOW_S)
    assert found["unattributed_speech_s"] is None
    assert found["overlap_s"] == pytest.approx(10 * WINDOW_S)
    assert found["silence_s"] == found["longest_silence_s"] == pytest.approx(30 * WINDOW_S)
    assert found["agent_loudness_dbfs"] == pytest.approx(-20)
    assert found["customer_loudness_dbfs"] == pytest.approx(10 * np.log10(0.04))
    assert (found["interruptions_by_agent"], found["interruptions_by_customer"]) == (0, 0)  # 320 ms together are too short


def test_a_role_on_two_channels_speaks_once_at_a_time():
    both = np.stack([mask((0, 50)), mask((25, 75))])
    found = activity(["unknown", "mixed"], both, np.full((2, 100), 0.01), 100 * WINDOW_S)
    assert found["unattributed_speech_s"] == pytest.approx(75 * WINDOW_S)
    assert found["overlap_s"] is None and found["customer_speech_s"] is None and found["customer_loudness_dbfs"] is None


def test_an_interruption_starts_within_the_other_s_speech_and_goes_on():
    speaking = mask((10, 60))
    assert interruptions(by=mask((30, 50)), of=speaking) == 1
    assert interruptions(by=mask((30, 40)), of=speaking) == 0  # a short "mhm"
    assert interruptions(by=mask((5, 50)), of=speaking) == 0  # was there first
    assert interruptions(by=mask((15, 31), (40, 56)), of=speaking) == 2


def test_an_empty_call():
    nothing = np.zeros((2, 0), bool)
    found = activity(["agent", "customer"], nothing, np.zeros((2, 0)), 0.0)
    assert (found["silence_s"], found["longest_silence_s"], found["customer_speech_s"]) == (0, 0, 0)


def test_spans_on_windows():
    assert speech_mask([Span(WINDOW, 3 * WINDOW)], 5).tolist() == [False, True, True, False, False]
    assert mean_power(Span(WINDOW, 3 * WINDOW), np.array([9.0, 1.0, 3.0, 9.0])) == 2.0
