"""Samples between the decode and the second look."""

import numpy as np
import pytest
import soxr

from ser_tasks.audio import samples
from ser_tasks.audio.samples import Samples, at_8_khz, float_32, pcm_16


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


@pytest.mark.parametrize("in_memory_bytes", [10**6, 3000, 10])
def test_blocks_of_16_bits_are_kept_as_they_are(tmp_path, monkeypatch, in_memory_bytes):
    """In memory, or written to the file from the beginning, from the block on that is one too many."""
    monkeypatch.setattr(samples, "IN_MEMORY_BYTES", in_memory_bytes)
    signal = np.random.default_rng(1).integers(-32768, 32768, (2, 1000), np.int16)
    signal[:, :2] = [[-32768, 32767], [32767, -32768]]
    with Samples(2, tmp_path) as call:
        for start in range(0, 1000, 300):
            call.push(np.ascontiguousarray(signal[:, start : start + 300].T).T)
        call.push(np.empty((2, 0), np.int16))
        for start, end in ((0, 1000), (0, 1), (299, 301), (300, 600), (250, 950), (999, 1500), (600, 600), (1000, 1200), (1200, 1300)):
            read = call.read(start, end)
            np.testing.assert_array_equal(read, signal[:, start:end])
            assert not read.flags.writeable, "it may be a view of the call's samples"
    assert list(tmp_path.iterdir()) == []


def test_a_block_of_16_bits_is_not_copied(tmp_path):
    block = np.arange(600, dtype=np.int16).reshape(300, 2).T
    with Samples(2, tmp_path) as call:
        call.push(block)
        assert np.shares_memory(call.read(10, 200), block)


def test_16_bits_are_the_same_in_float32_and_back():
    every = np.arange(-32768, 32768, dtype=np.int16)[None]
    assert float_32(every).dtype == np.float32 and float_32(every)[0, [0, -1]].tolist() == [-1.0, 32767 / 32768]
    np.testing.assert_array_equal(pcm_16(float_32(every)), every.T)
    as_is = float_32(every)
    assert float_32(as_is) is as_is


def test_blocks_of_16_bits_are_resampled_as_their_float32():
    signal = np.random.default_rng(2).integers(-32768, 32768, (2, 16_000), np.int16)
    blocks = np.split(signal, [3000, 9000], axis=1)
    of_16_bits = np.concatenate(list(at_8_khz(iter(blocks), 16_000)), axis=1)
    np.testing.assert_array_equal(of_16_bits, np.concatenate(list(at_8_khz(map(float_32, blocks), 16_000)), axis=1))
    assert all(block is same for block, same in zip(at_8_khz(iter(blocks), 8000), blocks, strict=True))
