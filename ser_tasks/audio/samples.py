"""A call's sound between its one decode and the second look: 16-bit samples at 8 kHz, in memory or, for hours, in scratch."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from ser_tasks.schemas import SAMPLING_RATE_HZ

FULL_SCALE = 32768
"""The 16-bit value of a sample of 1.0."""
IN_MEMORY_BYTES = 32 << 20
"""A call longer than this (35 minutes of two channels) is kept in scratch."""


class Samples:
    """The samples of a call's channels, pushed once and read often. Close it: what is in scratch goes with it."""

    def __init__(self, channels: int, folder: Path):
        self.channels = channels
        self.samples = 0
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES, dir=folder)  # noqa: SIM115 - lives as long as the call

    def push(self, block: np.ndarray) -> None:
        """Appends a float32 block (channels, samples); what exceeds full scale is clipped."""
        frames = pcm_16(block)
        self._file.write(frames.data)
        self.samples += len(frames)

    def read(self, start: int, end: int) -> np.ndarray:
        """The samples from ``start`` up to ``end`` or the call's end, int16 (channels, samples): -32768 to 32767 is full scale."""
        self._file.seek(start * self.channels * 2)
        raw = self._file.read((end - start) * self.channels * 2)
        return np.frombuffer(raw, np.int16).reshape(-1, self.channels).T

    @property
    def size_bytes(self) -> int:
        return self.samples * self.channels * 2

    def __enter__(self) -> "Samples":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def pcm_16(block: NDArray[np.float32]) -> NDArray[np.int16]:
    """16-bit PCM, int16 (samples, channels), of a float32 block (channels, samples): rounded, clipped at full scale."""
    frames = block.T * np.float32(FULL_SCALE)
    np.rint(frames, out=frames)
    np.clip(frames, -FULL_SCALE, FULL_SCALE - 1, out=frames)
    return frames.astype(np.int16, order="C")


def at_8_khz(blocks: Iterator[np.ndarray], rate_hz: int) -> Iterator[np.ndarray]:
    """Blocks (channels, samples) resampled to 8 kHz as one stream, so that a block's edge leaves no trace."""
    if rate_hz == SAMPLING_RATE_HZ:
        yield from blocks
        return
    resampler = None
    for block in blocks:
        resampler = resampler or soxr.ResampleStream(rate_hz, SAMPLING_RATE_HZ, len(block), "float32", "HQ")
        yield resampler.resample_chunk(np.ascontiguousarray(block.T)).reshape(-1, len(block)).T
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros((0, len(block)), np.float32), last=True).reshape(-1, len(block)).T
