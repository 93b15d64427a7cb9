"""Opening a recording: the header is checked, a decoder is chosen, and blocks of samples are read."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ser_tasks.audio.errors import AudioError, check_format, check_samples, no_samples_error, too_long_error
from ser_tasks.audio.header import Header, read_header
from ser_tasks.audio.pyav_source import PyAvSource
from ser_tasks.audio.soundfile_source import open_with_soundfile
from ser_tasks.audio.source import Source

_LENGTH_TOLERANCE_S = 0.3
"""Encoder delay and padding (up to 2,256 samples in an MP3) change the duration of undamaged files by up to this much."""
MAX_BLOCK_VALUES = 8 << 20
"""32 MB of float32: 10 s of 4 channels at 192 kHz."""


class AudioReader:
    """One decode of one recording. ``seconds`` (decoded) and ``note`` (a remark such as a cut, or None) are final after `blocks`."""

    def __init__(self, source: Source, header: Header, max_duration_s: float):
        self.info = source.info
        self.seconds = 0.0
        self.note: str | None = None
        self._source, self._header, self._max_duration_s, self._started = source, header, max_duration_s, False

    def __enter__(self) -> "AudioReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def blocks(self, block_s: float = 30.0) -> Iterator[NDArray[np.float32]]:
        """Yields float32 ``(channels, samples)`` blocks at the recording's own rate. Can be iterated once.

        Every block but the last lasts ``block_s`` seconds, or less where it would hold more than `MAX_BLOCK_VALUES` values.
        Raises `AudioError`, possibly after some blocks, which must then be discarded.
        """
        if self._started:
            raise RuntimeError("The blocks of a recording can be read once: open it again to read them again.")
        self._started = True
        rate_hz, frames = self.info.sampling_rate_hz, 0
        block_frames = min(max(1, round(block_s * rate_hz)), MAX_BLOCK_VALUES // self.info.channels)
        while True:
            block = self._source.read(block_frames)
            frames += block.shape[1]
            is_last = block.shape[1] < block_frames
            if is_last and self._source.damage and frames < rate_hz:
                raise AudioError(
                    "decode_error",
                    f"The {self.info.container} file with {self.info.codec} audio breaks off within its first second "
                    f"({self._source.damage}). Upload the recording again.",
                )
            if frames > self._max_duration_s * rate_hz:
                raise too_long_error(f"More than {self._max_duration_s:,.0f} s of audio were decoded", self._max_duration_s)
            if block.shape[1]:
                check_samples(block, (frames - block.shape[1]) / rate_hz)
                self.seconds = frames / rate_hz
                yield block
            if is_last:
                break
        if frames == 0:
            raise no_samples_error(self.info.container)
        self.note = "; ".join(self._remarks()) or None

    def _remarks(self) -> Iterator[str]:
        read, declared_s = f"{self.seconds:,.1f} s could be read", self.info.declared_s
        if self._header.streamed:
            yield f"the header gives no length, as from a recorder that writes to a pipe: read to the end of the file, {read}"
        elif declared_s is not None and (self._header.is_cut or self.seconds < declared_s - _LENGTH_TOLERANCE_S):
            yield f"truncated: the header promises {declared_s:,.1f} s, {read}"
        elif self._header.is_cut:
            yield f"truncated: the file ends before its end mark, {read}"
        if self._source.damage:
            yield f"damaged: {self._source.damage}, {read}"
        if self._header.bytes_after:
            yield f"the header ends the audio at {self.seconds:,.1f} s, but {self._header.bytes_after:,} bytes follow that were not read"
        yield from self._source.remarks()


def open_audio(path: str | os.PathLike[str], *, max_duration_s: float) -> AudioReader:
    """Opens a recording on local disk, as a context manager that gives its `AudioInfo` and its blocks of samples.

    Raises `AudioError` if the recording cannot be used, and OSError if the disk cannot be read.
    """
    path = Path(path)
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        raise AudioError("empty", "The file is empty (0 bytes). Upload the recording again, or remove it.")
    with open(path, "rb") as file:
        header = read_header(file, size_bytes)
    source = open_with_soundfile(path, header) or PyAvSource(path, header)
    try:
        check_format(source.info.channels, source.info.sampling_rate_hz)
        promised_s = source.expected_s
        if promised_s is not None and promised_s > max_duration_s:
            raise too_long_error(f"The header promises {promised_s:,.0f} s", max_duration_s)
    except AudioError:
        source.close()
        raise
    return AudioReader(source, header, max_duration_s)
