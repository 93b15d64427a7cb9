"""The decoder for the formats that libsndfile reads, and for headerless telephony audio."""

import os
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from ser_tasks.audio.header import Header
from ser_tasks.audio.source import AudioInfo
from ser_tasks.schemas import SAMPLING_RATE_HZ

RAW_SUFFIXES = {
    ".ulaw": "ULAW", ".ul": "ULAW", ".mulaw": "ULAW", ".pcmu": "ULAW",
    ".alaw": "ALAW", ".al": "ALAW", ".pcma": "ALAW",
    ".vox": "VOX_ADPCM", ".gsm": "GSM610", ".sln": "PCM_16",
}  # fmt: skip
"""Suffix of headerless audio -> libsndfile subtype. All are 8 kHz mono, as telephone systems write them."""

_SOUNDFILE_FORMATS = {"WAV", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC", "Ogg"}
"""Formats (`Header.known_as`) that libsndfile may open: it takes files of unknown formats for audio too easily."""


def open_with_soundfile(path: Path, header: Header) -> "SoundFileSource | None":
    """The recording opened by libsndfile, or None if PyAV should try instead."""
    raw = RAW_SUFFIXES.get(path.suffix.lower()) if header.known_as is None else None
    name = os.fsencode(path.absolute())  # soundfile itself refuses names that are not UTF-8
    if raw:
        return SoundFileSource(
            soundfile.SoundFile(name, samplerate=SAMPLING_RATE_HZ, channels=1, format="RAW", subtype=raw, endian="LITTLE"), header
        )
    if header.known_as in _SOUNDFILE_FORMATS and not (header.streamed and header.promised_bytes == 0) and not header.may_loop:
        try:
            file = soundfile.SoundFile(name)
        except soundfile.LibsndfileError:
            pass  # PyAV may read it
        else:
            # libsndfile estimates the length of an MP3 and stops there; an unknown length is reported as 2**63 frames
            if not file.subtype.startswith("MPEG") and file.frames < 2**40:
                return SoundFileSource(file, header)
            file.close()
    return None


class SoundFileSource:
    """A `Source` on libsndfile."""

    def __init__(self, file: soundfile.SoundFile, header: Header):
        self._file = file
        self.damage: str | None = None
        self.expected_s = file.frames / file.samplerate
        declared_s: float | None = self.expected_s
        if header.streamed or file.format in ("RAW", "OGG"):  # their length is derived from the end of the file
            declared_s = None
        elif header.is_cut and header.available_bytes:
            declared_s = self.expected_s * header.promised_bytes / header.available_bytes
        self.info = AudioInfo(file.samplerate, file.channels, file.subtype, file.format, declared_s)

    def read(self, frames: int) -> NDArray[np.float32]:
        out = np.empty((0 if self.damage else frames, self.info.channels), np.float32)
        if self.damage:
            return out.T
        start = self._file.tell() if self._file.seekable() else 0
        try:
            out = self._file.read(out=out)
        except soundfile.LibsndfileError as error:
            self.damage = f"the decoder stopped: {error.error_string.removeprefix('Error : ').strip(' .')}"
            out = out[: self._frames_since(start, frames)]
        return np.ascontiguousarray(out.T)

    def _frames_since(self, start: int, frames: int) -> int:
        """Frames that libsndfile delivered before it failed, from its position in the file."""
        try:
            return int(min(max(self._file.tell() - start, 0), frames))
        except soundfile.LibsndfileError:
            return 0

    def remarks(self) -> list[str]:
        return []

    def close(self) -> None:
        self._file.close()
