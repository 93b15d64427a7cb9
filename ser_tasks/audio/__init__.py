"""A recording on local disk to blocks of samples: one decode, bounded memory, and a reason for every file that is no good.

soundfile decodes what libsndfile knows (WAV of any kind, RF64, W64, AIFF, AU, CAF, NIST, FLAC, Ogg Vorbis and Opus). PyAV decodes
the rest (MP3, m4a/AAC, AMR, WebM, WMA, 3gp, ADTS, ...) and WAV or FLAC whose header gives no length. Headerless telephony audio
goes by its suffix (`RAW_SUFFIXES`). The suffix of any other file is not looked at.

| code              | the recording                                                                            |
|-------------------|------------------------------------------------------------------------------------------|
| empty             | has 0 bytes                                                                              |
| not_audio         | is something else (text, a picture, an archive, noise), or a video without an audio track |
| no_channels       | says it has 0 channels                                                                   |
| too_many_channels | has more than `MAX_CHANNELS` channels                                                    |
| bad_sampling_rate | is sampled outside `MIN_SAMPLING_RATE_HZ` to `MAX_SAMPLING_RATE_HZ`                      |
| no_samples        | has a header and no samples                                                              |
| header_lies       | has a header that contradicts itself, or promises more than the file can hold            |
| too_long          | lasts longer than allowed, by its header or by what was decoded                          |
| not_finite        | holds samples that are NaN or infinite                                                   |
| not_scaled        | holds float samples beyond `MAX_AMPLITUDE`, such as 16-bit integers written as floats    |
| decode_error      | is audio, but could not be opened, or broke off within its first second                  |

A file that is merely cut off or damaged later on is read as far as it goes, and `AudioReader.note` says so. What cannot be
noticed: a cut in formats that carry no length at all (raw, AMR, ADTS, MP3 without a Xing header).

What decoders are kept from: libsndfile reads chunks of negative size for ever (`Header.may_loop`), FFmpeg believes any number of
packets (`_limit_allocations`), PyAV crashes on planar samples of more than 8 channels (packed ones are asked for).
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ser_tasks.audio.errors import (
    MAX_AMPLITUDE,
    MAX_CHANNELS,
    MAX_SAMPLING_RATE_HZ,
    MIN_SAMPLING_RATE_HZ,
    AudioError,
    check_format,
    check_samples,
    no_samples,
    too_long,
)
from ser_tasks.audio.header import Header, read_header
from ser_tasks.audio.pyav_source import PyAvSource
from ser_tasks.audio.soundfile_source import RAW_SUFFIXES, open_with_soundfile
from ser_tasks.audio.source import AudioInfo, Source

__all__ = [
    "MAX_AMPLITUDE",
    "MAX_CHANNELS",
    "MAX_SAMPLING_RATE_HZ",
    "MIN_SAMPLING_RATE_HZ",
    "RAW_SUFFIXES",
    "AudioInfo",
    "AudioReader",
    "AudioError",
    "open_audio",
]

_LENGTH_TOLERANCE_S = 0.3
"""Encoder delay and padding (up to 2,256 samples in an MP3) make durations differ by this much in whole files."""


MAX_BLOCK_VALUES = 8 << 20
"""32 MB of float32: 10 s of 4 channels at 192 kHz."""


class AudioReader:
    """One decode of one recording. ``seconds`` (decoded) and ``note`` (None, or a remark such as a cut) hold after `blocks`."""

    def __init__(self, source: Source, header: Header, max_duration_s: float):
        self.info = source.info
        self.seconds = 0.0
        self.note: str | None = None
        self._source, self._header, self._max_duration_s, self._started = source, header, max_duration_s, False

    def __enter__(self) -> "AudioReader":
        return self

    def __exit__(self, *_) -> None:
        self._source.close()

    def blocks(self, block_s: float = 30.0) -> Iterator[np.ndarray]:
        """Float32 ``(channels, samples)`` at the native rate; every block but the last lasts ``block_s``, or less where it
        would have more than `MAX_BLOCK_VALUES`. Can be read once.

        Raises `AudioError`, possibly after some blocks: discard those.
        """
        if self._started:
            raise RuntimeError("A recording's blocks can be read once: open it again to read it again.")
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
                raise too_long(f"More than {self._max_duration_s:,.0f} s of audio were decoded", self._max_duration_s)
            if block.shape[1]:
                check_samples(block, (frames - block.shape[1]) / rate_hz)
                self.seconds = frames / rate_hz
                yield block
            if is_last:
                break
        if frames == 0:
            raise no_samples(self.info.container)
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


def open_audio(path: str | os.PathLike, *, max_duration_s: float) -> AudioReader:
    """Open a recording on local disk: a context manager with `AudioInfo` and blocks of samples.

    Raises `AudioError` for a recording that cannot be used, OSError where the disk cannot be read.
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
            raise too_long(f"The header promises {promised_s:,.0f} s", max_duration_s)
    except AudioError:
        source.close()
        raise
    return AudioReader(source, header, max_duration_s)
