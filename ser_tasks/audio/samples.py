"""The decoded samples of a call: 16-bit at 8 kHz, kept in memory, or in the scratch folder if the call is long."""

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
"""Larger calls (from 35 minutes of two channels on) are kept in the scratch folder."""


class Samples:
    """The samples of a call's channels, written once and read often. Closing it deletes its file in the scratch folder."""

    def __init__(self, channels: int, folder: Path):
        self.channels = channels
        self.samples = 0
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES, dir=str(folder))  # noqa: SIM115 - open as long as the call

    def push(self, block: NDArray[np.float32]) -> None:
        """Appends a float32 block (channels, samples); samples beyond full scale are clipped."""
        frames = pcm_16(block)
        self._file.write(frames.data)
        self.samples += len(frames)

    def read(self, start: int, end: int) -> NDArray[np.int16]:
        """Samples ``start`` up to ``end`` or the end of the call, int16 (channels, samples); full scale is -32768 to 32767."""
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


def at_8_khz(blocks: Iterator[NDArray[np.float32]], rate_hz: int) -> Iterator[NDArray[np.float32]]:
    """Resamples float32 blocks (channels, samples) to 8 kHz as one stream, without artefacts at the edges of blocks."""
    return resampled(blocks, rate_hz, SAMPLING_RATE_HZ)


def resampled(blocks: Iterator[NDArray[np.float32]], rate_hz: int, to_hz: int) -> Iterator[NDArray[np.float32]]:
    """Resamples float32 blocks (channels, samples) to ``to_hz`` as one stream, without artefacts at the edges of blocks."""
    if rate_hz == to_hz:
        yield from blocks
        return
    resampler = None
    for block in blocks:
        resampler = resampler or soxr.ResampleStream(rate_hz, to_hz, len(block), "float32", "HQ")
        yield resampler.resample_chunk(np.ascontiguousarray(block.T)).reshape(-1, len(block)).T
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros((0, len(block)), np.float32), last=True).reshape(-1, len(block)).T
