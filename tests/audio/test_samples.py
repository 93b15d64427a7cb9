"""Samples between the decode and the second look."""

import numpy as np
import pytest
import soxr

from ser_tasks.audio import samples
from ser_tasks.audio.samples import Samples, at_8_khz


def noise(channels: int, count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (channels, count)).astype(np.float32)


@pytest.mark.parametrize("in_memory_bytes", [100, 10**6])
def test_what_is_pushed_is_read_back_to_half_a_step_of_16_bits(tmp_path, monkeypatch, in_memory_bytes):
    monkeypatch.setattr(samples, "IN_MEMORY_BYTES", in_memory_bytes)
    signal = noise(2, 1000)
    with Samples(2, tmp_path) as call:
        for start in range(0, 1000, 300):
            call.push(signal[:, start : start + 300])
        assert (call.samples, call.size_bytes) == (1000, 4000)
        np.testing.assert_allclose(call.read(90, 640) / 32768, signal[:, 90:640], atol=0.51 / 32768)
        assert call.read(900, 2000).shape == (2, 100)
        assert call.read(1000, 2000).shape == (2, 0)
    assert list(tmp_path.iterdir()) == []


def test_more_than_full_scale_is_clipped_and_not_wrapped(tmp_path):
    with Samples(1, tmp_path) as call:
        call.push(np.array([[-3, -1, 0, 1, 3]], np.float32))
        assert call.read(0, 5).tolist() == [[-32768, -32768, 0, 32767, 32767]]


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 44_100])
def test_blocks_are_resampled_as_one_stream(rate_hz):
    signal = noise(2, rate_hz)
    blocks = np.split(signal, [1000, 1001, rate_hz // 2], axis=1)
    streamed = np.concatenate(list(at_8_khz(iter(blocks), rate_hz)), axis=1)
    whole = signal if rate_hz == 8000 else soxr.resample(signal.T, rate_hz, 8000, "HQ").T
    assert abs(streamed.shape[1] - 8000) <= 1
    np.testing.assert_allclose(streamed[:, :7900], whole[:, :7900], atol=1e-5)
