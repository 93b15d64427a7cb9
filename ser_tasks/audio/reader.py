"""Opening a recording: the header is checked, a decoder is chosen, and blocks of samples are read."""

import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ser_tasks.audio.errors import AudioError, check_format, check_samples, no_samples_error, too_long_error
from ser_tasks.audio.header import Header, read_header
from ser_tasks.audio.samples import float_32, resampled
from ser_tasks.audio.sections import MAX_SECTIONS, Ranges, find_sections, open_ranges
from ser_tasks.audio.soundfile_source import open_with_soundfile
from ser_tasks.audio.source import Block, Source
from ser_tasks.audio.tracks import open_with_pyav

_LENGTH_TOLERANCE_S = 0.3
"""Encoder delay and padding (up to 2,256 samples in an MP3) change the duration of undamaged files by up to this much."""
MAX_BLOCK_VALUES = 8 << 20
"""32 MB of float32: 10 s of 4 channels at 192 kHz."""


class AudioReader:
    """One decode of one recording. ``seconds`` (decoded) and ``note`` (a remark such as a cut, or None) are final after `blocks`.

    The sections of its file follow each other without a gap, at the sampling rate of the first.
    """

    def __init__(self, path: Path, sections: list[tuple[int, int]], max_duration_s: float, raw_channels: int | None):
        self.seconds = 0.0
        self.note: str | None = None
        self._path, self._sections, self._max_duration_s, self._raw_channels = path, sections, max_duration_s, raw_channels
        self._started = False
        self._section = self._open(*sections[0])
        self.info = self._section.source.info

    def _open(self, start: int, end: int) -> "_Section":
        bounds = None if (start, end) == (0, self._path.stat().st_size) else (start, end)
        return _open_section(self._path, bounds, self.seconds, self._max_duration_s, self._raw_channels)

    def __enter__(self) -> "AudioReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._section.source.close()

    def blocks(self, block_s: float = 30.0) -> Iterator[NDArray[np.float32]]:
        """Yields float32 ``(channels, samples)`` blocks at the recording's own rate: `native_blocks`, in float32. Can be iterated once."""
        return map(float_32, self.native_blocks(block_s))

    def native_blocks(self, block_s: float) -> Iterator[Block]:
        """Yields ``(channels, samples)`` blocks at the recording's own rate, as the decoder makes them. Can be iterated once.

        Every block but the last of a section lasts ``block_s`` seconds, or less where it would hold more than `MAX_BLOCK_VALUES` values.
        Raises `AudioError`, possibly after some blocks, which must then be discarded.
        """
        if self._started:
            raise RuntimeError("The blocks of a recording can be read once: open it again to read them again.")
        self._started = True
        yield from self._read_section(block_s)
        if self.seconds == 0:
            raise no_samples_error(self.info.container)
        remarks = list(self._section.remarks())
        if len(self._sections) > 1:
            remarks += yield from self._later_sections(block_s)
        self.note = "; ".join(remarks) or None

    def _later_sections(self, block_s: float) -> Generator[Block, None, list[str]]:
        """Yields the blocks of the sections after the first; returns remarks. One that is unlike the first ends the reading."""
        remarks, count, first_s = [], 1, self.seconds
        for start, end in self._sections[1:MAX_SECTIONS]:
            self._section.source.close()
            try:
                self._section = self._open(start, end)
                info = self._section.source.info
                if info.channels != self.info.channels:
                    raise AudioError("header_lies", f"it has {info.channels} channels, the first {self.info.channels}")
                yield from self._read_section(block_s)
                remarks += list(self._section.remarks())
            except AudioError as error:
                if error.code in _WHOLE_FILE:
                    raise
                remarks.append(f"another recording follows at byte {start:,}, {end - start:,} bytes, that was not read: {error}")
                break
            count += 1
        else:
            if len(self._sections) > MAX_SECTIONS:
                remarks.append(f"more than {MAX_SECTIONS:,} recordings lie in the file: the rest was not read")
        if count > 1:
            remarks.insert(0, f"{count} recordings one after the other in the file were read as one: the second begins at {first_s:,.1f} s")
        return remarks

    def _read_section(self, block_s: float) -> Iterator[Block]:
        """The blocks of the section at the recording's own rate; ``seconds`` grows with them."""
        rate_hz, own_rate_hz, frames, begun_s = self.info.sampling_rate_hz, self._section.source.info.sampling_rate_hz, 0, self.seconds
        for block in resampled(self._section.blocks(block_s), own_rate_hz, rate_hz):
            frames += block.shape[1]
            self.seconds = begun_s + frames / rate_hz
            if block.shape[1]:
                yield block


_WHOLE_FILE = ("too_long", "not_finite", "not_scaled")
"""Codes that a section gives to the whole recording."""


@dataclass
class _Section:
    """One open section, which begins at ``begun_s`` of the recording."""

    source: Source
    header: Header
    begun_s: float
    max_duration_s: float
    seconds: float = 0.0

    def blocks(self, block_s: float) -> Iterator[Block]:
        """The section's blocks at its own sampling rate."""
        source, info, frames = self.source, self.source.info, 0
        rate_hz = info.sampling_rate_hz
        block_frames = min(max(1, round(block_s * rate_hz)), MAX_BLOCK_VALUES // info.channels)
        while True:
            block = source.read(block_frames)
            frames += block.shape[1]
            is_last = block.shape[1] < block_frames
            if is_last and source.damage and frames < rate_hz:
                raise AudioError(
                    "decode_error",
                    f"The {info.container} file with {info.codec} audio breaks off within its first second "
                    f"({source.damage}). Upload the recording again.",
                )
            if self.begun_s + frames / rate_hz > self.max_duration_s:
                raise too_long_error(f"More than {self.max_duration_s:,.0f} s of audio were decoded", self.max_duration_s)
            if block.shape[1]:
                check_samples(block, self.begun_s + (frames - block.shape[1]) / rate_hz)
                self.seconds = frames / rate_hz
                yield block
            if is_last:
                return

    def remarks(self) -> Iterator[str]:
        """What a person should know of the section, final after `blocks`."""
        header, read, declared_s = self.header, f"{self.seconds:,.1f} s could be read", self.source.info.declared_s
        if header.streamed:
            yield f"the header gives no length, as from a recorder that writes to a pipe: read to the end of the file, {read}"
        elif declared_s is not None and (header.is_cut or self.seconds < declared_s - _LENGTH_TOLERANCE_S):
            yield f"truncated: the header promises {declared_s:,.1f} s, {read}"
        elif header.is_cut:
            yield f"truncated: the file ends before its end mark, {read}"
        if self.source.damage:
            yield f"damaged: {self.source.damage}, {read}"
        if header.stale_s is not None:
            yield (
                f"the header ends the audio at {header.stale_s:,.1f} s, but {header.bytes_after:,} bytes follow that are no chunk: "
                f"read as audio to the end of the file, {read}"
            )
        if header.data_chunks:
            yield f"{len(header.data_chunks)} data chunks were read one after the other"
        yield from self.source.remarks()


def _open_section(path: Path, bounds: tuple[int, int] | None, begun_s: float, max_duration_s: float, raw_channels: int | None) -> _Section:
    """Opens the whole file, or the section of it within ``bounds``."""
    start, end = bounds or (0, path.stat().st_size)
    ranges: Ranges | None = (bounds,) if bounds else None
    with open_ranges(path, ((start, end),)) as file:
        header = read_header(file, end - start)
    if header.data_chunks:
        chunks = [(start + first, start + last) for first, last in header.data_chunks]
        ranges = ((start, chunks[0][1]), *chunks[1:])
    section = open_ranges(path, ranges) if ranges else None
    source: Source | None = open_with_soundfile(path, header, section, raw_channels)
    if source is None:
        if section:
            section.close()
        source = open_with_pyav(path, header, ranges)
    try:
        check_format(source.info.channels, source.info.sampling_rate_hz)
        promised_s = source.expected_s
        if promised_s is not None and begun_s + promised_s > max_duration_s:
            raise too_long_error(f"The header promises {begun_s + promised_s:,.0f} s", max_duration_s)
    except AudioError:
        source.close()
        raise
    return _Section(source, header, begun_s, max_duration_s)


def open_audio(path: str | os.PathLike[str], *, max_duration_s: float, raw_channels: int | None = None) -> AudioReader:
    """Opens a recording on local disk, as a context manager that gives its `AudioInfo` and its blocks of samples.

    ``raw_channels``: the interleaved channels of headerless audio, where a sidecar or a setting states them; ignored for any other file,
    and where the samples contradict it. Raises `AudioError` if the recording cannot be used, and OSError if the disk cannot be read.
    """
    path = Path(path)
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        raise AudioError("empty", "The file is empty (0 bytes). Upload the recording again, or remove it.")
    with open(path, "rb") as file:
        sections = find_sections(file, size_bytes)
    return AudioReader(path, sections, max_duration_s, raw_channels)
