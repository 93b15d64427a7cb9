"""The decoded samples of a call: 16-bit at 8 kHz, kept in memory, or in the scratch folder if the call is long."""

import tempfile
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import soxr
from numpy.typing import NDArray

from ser_tasks.audio.source import Block
from ser_tasks.schemas import SAMPLING_RATE_HZ

AnyBlock = TypeVar("AnyBlock", NDArray[np.float32], Block)
FULL_SCALE = 32768
"""The 16-bit value of a sample of 1.0."""
IN_MEMORY_BYTES = 32 << 20
"""Larger calls (from 35 minutes of two channels on) are kept in the scratch folder."""


class Samples:
    """The samples of a call's channels, written once and read often. Closing it deletes its file in the scratch folder.

    In memory they are the blocks that were pushed, not a copy of 16-bit ones: nobody may write to those afterwards.
    """

    def __init__(self, channels: int, folder: Path):
        self.channels = channels
        self.samples = 0
        self._folder = folder
        self._blocks: list[NDArray[np.int16]] = []
        """Each (samples, channels); empty once the file is there."""
        self._starts: list[int] = []
        self._file: IO[bytes] | None = None

    def push(self, block: Block) -> None:
        """Appends a block (channels, samples); float32 samples beyond full scale are clipped."""
        frames = pcm_16(block)
        if self._file is None and self.size_bytes + frames.nbytes > IN_MEMORY_BYTES:
            self._file = tempfile.TemporaryFile(dir=str(self._folder))  # noqa: SIM115 - open as long as the call
            for each in self._blocks:
                self._file.write(each.data)
            self._blocks, self._starts = [], []
        if self._file is not None:
            self._file.write(frames.data)
        elif len(frames):
            self._blocks.append(frames)
            self._starts.append(self.samples)
        self.samples += len(frames)

    def read(self, start: int, end: int) -> NDArray[np.int16]:
        """Samples ``start`` up to ``end`` or the end of the call, int16 (channels, samples), read-only; full scale is -32768 to 32767."""
        start, end = min(start, self.samples), min(end, self.samples)
        if self._file is not None:
            self._file.seek(start * self.channels * 2)
            raw = self._file.read((end - start) * self.channels * 2)
            return np.frombuffer(raw, np.int16).reshape(-1, self.channels).T
        first, last = bisect_right(self._starts, start) - 1, bisect_left(self._starts, end)
        parts = [
            block[max(0, start - begin) : end - begin]
            for block, begin in zip(self._blocks[max(0, first) : last], self._starts[max(0, first) : last], strict=True)
        ]
        whole = parts[0] if len(parts) == 1 else np.concatenate([np.empty((0, self.channels), np.int16), *parts])
        whole = whole.T
        whole.flags.writeable = False
        return whole

    @property
    def size_bytes(self) -> int:
        return self.samples * self.channels * 2

    def __enter__(self) -> "Samples":
        return self

    def __exit__(self, *_: object) -> None:
        self._blocks, self._starts = [], []
        if self._file is not None:
            self._file.close()


def pcm_16(block: Block) -> NDArray[np.int16]:
    """16-bit PCM, int16 (samples, channels), of a block (channels, samples): itself, or rounded and clipped at full scale."""
    if block.dtype == np.int16:
        return np.ascontiguousarray(block.T, np.int16)
    frames = block.T * np.float32(FULL_SCALE)
    np.rint(frames, out=frames)
    np.clip(frames, -FULL_SCALE, FULL_SCALE - 1, out=frames)
    return frames.astype(np.int16, order="C")


def float_32(block: NDArray[Any]) -> NDArray[np.float32]:
    """A `Block` as float32 of -1 to 1, exactly: itself where it is one."""
    return np.multiply(block, np.float32(1 / FULL_SCALE), dtype=np.float32) if block.dtype == np.int16 else np.asarray(block, np.float32)


def at_8_khz(blocks: Iterator[AnyBlock], rate_hz: int) -> Iterator[AnyBlock]:
    """Blocks (channels, samples) at 8 kHz: themselves, or resampled to float32 as one stream, without artefacts at the edges of blocks."""
    return resampled(blocks, rate_hz, SAMPLING_RATE_HZ)


def resampled(blocks: Iterator[AnyBlock], rate_hz: int, to_hz: int) -> Iterator[AnyBlock]:
    """Blocks (channels, samples) at ``to_hz``: themselves, or resampled to float32 as one stream, without artefacts at their edges."""
    if rate_hz == to_hz:
        yield from blocks
        return
    resampler = None
    for block in blocks:
        resampler = resampler or soxr.ResampleStream(rate_hz, to_hz, len(block), "float32", "HQ")
        yield resampler.resample_chunk(np.ascontiguousarray(float_32(block).T)).reshape(-1, len(block)).T
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros((0, len(block)), np.float32), last=True).reshape(-1, len(block)).T
