"""The decoder for the formats that libsndfile reads, and for headerless telephony audio."""

import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from ser_tasks.audio.errors import AudioError, check_format
from ser_tasks.audio.header import Header
from ser_tasks.audio.source import AudioInfo, Block

RAW_SUFFIXES = {
    **dict.fromkeys((".ulaw", ".ul", ".mulaw", ".pcmu"), ("ULAW", 8_000)),
    **dict.fromkeys((".alaw", ".al", ".pcma"), ("ALAW", 8_000)),
    ".vox": ("VOX_ADPCM", 8_000), ".gsm": ("GSM610", 8_000), ".sln": ("PCM_16", 8_000), ".raw": ("PCM_16", 8_000),
    **{f".sln{kilohertz}": ("PCM_16", rate_hz) for kilohertz, rate_hz in (
        (12, 12_000), (16, 16_000), (24, 24_000), (32, 32_000), (44, 44_100), (48, 48_000), (96, 96_000), (192, 192_000))},
}  # fmt: skip
"""Suffix of headerless audio -> libsndfile subtype and sampling rate, as telephone systems write them (Asterisk's format_sln and
format_pcm). They are mono unless `open_audio` is given their channels; of ``.raw``, which others use for anything, those must be given."""
_SAMPLE_BYTES = {"PCM_S8": 1, "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8, "ULAW": 1, "ALAW": 1}
_INTERLEAVED = ("PCM_16", "ULAW", "ALAW")
_WITHIN_16_BITS = {
    "PCM_S8", "PCM_U8", "PCM_16", "ULAW", "ALAW", "GSM610", "VOX_ADPCM", "IMA_ADPCM", "MS_ADPCM", "G721_32", "G723_24", "G723_40",
    "NMS_ADPCM_16", "NMS_ADPCM_24", "NMS_ADPCM_32", "ALAC_16", "DPCM_8", "DPCM_16",
}  # fmt: skip
"""Subtypes that libsndfile decodes to 16 bits, G.711 by a table: its float32 samples are these, divided by full scale."""
_SIZED = ("AIFF", "AU", "CAF", "W64", "NIST")
"""Formats whose bytes after the audio are not examined by the header parser."""
_METADATA_BYTES = 64 << 10
_CHECKED_S = 300.0

_SOUNDFILE_FORMATS = {"WAV", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC", "Ogg"}
"""Formats (`Header.known_as`) that libsndfile may open: it takes files of unknown formats for audio too easily."""


def open_with_soundfile(path: Path, header: Header, section: BinaryIO | None, raw_channels: int | None) -> "SoundFileSource | None":
    """The recording, or a section of its file, opened by libsndfile; None if PyAV should try instead."""
    raw = RAW_SUFFIXES.get(path.suffix.lower()) if header.known_as is None else None
    size_bytes = section.seek(0, os.SEEK_END) if section else path.stat().st_size
    name = os.fsencode(path.absolute())  # soundfile itself refuses names that are not UTF-8
    if raw:
        subtype, rate_hz = raw
        if path.suffix.lower() == ".raw" and raw_channels is None:
            raise AudioError(
                "not_audio",
                "A .raw file is read as 16-bit samples at 8,000 Hz where its channels are stated: name them in the sidecar, "
                "or set SER_RAW_CHANNELS. Upload anything else under its own suffix.",
            )
        channels = raw_channels if raw_channels and subtype in _INTERLEAVED else 1
        check_format(channels, rate_hz)
        if channels > 1:
            with _open_raw(name, subtype, rate_hz, 1) as file:
                if not may_be_interleaved(file.read(int(_CHECKED_S * rate_hz), "float32"), channels):
                    channels = 1
        return SoundFileSource(_open_raw(name, subtype, rate_hz, channels), header, size_bytes)
    if header.known_as in _SOUNDFILE_FORMATS and not (
        header.streamed and header.promised_bytes == 0 or header.may_loop or header.data_chunks or header.stale_s is not None
    ):
        try:
            if section:
                section.seek(0)
            file = soundfile.SoundFile(section or name)
        except soundfile.LibsndfileError:
            pass  # PyAV may read it
        else:
            # libsndfile estimates the length of an MP3 and stops there; an unknown length is reported as 2**63 frames
            if not file.subtype.startswith("MPEG") and file.frames < 2**40:
                return SoundFileSource(file, header, size_bytes, section)
            file.close()
    return None


def _open_raw(name: bytes, subtype: str, rate_hz: int, channels: int) -> soundfile.SoundFile:
    return soundfile.SoundFile(name, samplerate=rate_hz, channels=channels, format="RAW", subtype=subtype, endian="LITTLE")


def may_be_interleaved(samples: NDArray[np.float32], channels: int) -> bool:
    """Whether headerless samples, float32 (samples,), may be ``channels`` interleaved ones, as stated, rather than a single one.

    Neighbours of a single channel differ less than samples ``channels`` apart, and equally at each place of a frame. In interleaved
    ones that carry the same mix, they differ at some places only.
    """
    samples = samples[: len(samples) // channels * channels]
    if len(samples) <= channels:
        return True
    steps, apart = np.diff(samples[: -channels + 1]).reshape(-1, channels), samples[channels:] - samples[:-channels]
    neighbours = np.einsum("fc,fc->c", steps, steps) / len(steps)
    frames_apart = float(np.dot(apart, apart)) / len(apart)
    return bool(neighbours.mean() >= frames_apart or neighbours.max() > 1.5 * neighbours.min())


class SoundFileSource:
    """A `Source` on libsndfile."""

    def __init__(self, file: soundfile.SoundFile, header: Header, size_bytes: int, section: BinaryIO | None = None):
        self._file, self._section = file, section
        sample_bytes = _SAMPLE_BYTES.get(file.subtype, 0) if file.format in _SIZED else 0
        self._bytes_after = size_bytes - file.frames * file.channels * sample_bytes if sample_bytes else 0
        self.damage: str | None = None
        self.expected_s = file.frames / file.samplerate
        declared_s: float | None = self.expected_s
        if header.streamed or file.format in ("RAW", "OGG"):  # their length is derived from the end of the file
            declared_s = None
        elif header.is_cut and header.available_bytes:
            declared_s = self.expected_s * header.promised_bytes / header.available_bytes
        self.info = AudioInfo(file.samplerate, file.channels, file.subtype, file.format, declared_s)

    def read(self, frames: int) -> Block:
        dtype = np.int16 if self.info.codec in _WITHIN_16_BITS else np.float32
        out: NDArray[Any] = np.empty((0 if self.damage else frames, self.info.channels), dtype)
        if self.damage:
            return out.T
        start = self._file.tell() if self._file.seekable() else 0
        try:
            read = self._file.read(out=out)
            out = read if len(read) == frames else read.copy()  # the last block does not keep the memory of a whole one
        except soundfile.LibsndfileError as error:
            self.damage = f"the decoder stopped: {error.error_string.removeprefix('Error : ').strip(' .')}"
            out = out[: self._frames_since(start, frames)]
        return out.T

    def _frames_since(self, start: int, frames: int) -> int:
        """Frames that libsndfile delivered before it failed, from its position in the file."""
        try:
            return int(min(max(self._file.tell() - start, 0), frames))
        except soundfile.LibsndfileError:
            return 0

    def remarks(self) -> list[str]:
        if self._bytes_after > max(_METADATA_BYTES, self._file.samplerate * self._file.channels):
            return [f"{self._bytes_after:,} bytes of the file are outside the audio that its header names, and were not read"]
        return []

    def close(self) -> None:
        self._file.close()
        if self._section:
            self._section.close()
