"""The header of an audio file, read before any decoder opens the file: its first bytes, its chunk table, its length."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ser_tasks.audio.errors import AudioError, check_wav_format, no_samples_error

_SIGNATURES = (
    (0, b"RIFF", "WAV"), (0, b"RIFX", "WAV"), (0, b"RF64", "RF64"), (0, b"riff", "W64"), (0, b"FORM", "AIFF"),
    (0, b".snd", "AU"), (0, b"caff", "CAF"), (0, b"NIST_1A", "NIST"), (0, b"fLaC", "FLAC"), (0, b"OggS", "Ogg"),
    (0, b"ID3", "MP3"), (0, b"#!AMR", "AMR"), (4, b"ftyp", "MP4"), (0, b"\x1a\x45\xdf\xa3", "Matroska"),
    (0, b"\x30\x26\xb2\x75", "ASF"),
)  # fmt: skip
_OTHER_SIGNATURES = (
    (b"PK\x03\x04", "a zip archive"), (b"\x1f\x8b", "gzip-compressed"), (b"%PDF", "a PDF"), (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"), (b"GIF8", "a GIF picture"), (b"PAR1", "a Parquet file"),
)  # fmt: skip

_STREAMED_SIZE = 0x7FFFF000
"""Sizes from here on mean "unknown" in a RIFF header: recorders that write to a pipe put them there."""
_METADATA_BYTES = 256 << 10
_JUMPS_BACK = {"<": re.compile(rb"[ -~]{4}...[\x80-\xff]", re.DOTALL), ">": re.compile(rb"[ -~]{4}[\x80-\xff]", re.DOTALL)}
"""Bytes that may be a chunk whose size is negative when read as signed, as libsndfile 1.2.2 does: it reads two LIST chunks of -8 bytes
for ever. Accented text may match as well."""


@dataclass
class Header:
    """The facts in the first bytes (of some containers, in the chunk table). ``known_as`` is None for unknown first bytes."""

    head: bytes
    known_as: str | None
    promised_bytes: int = 0
    available_bytes: int = 0
    bytes_after: int = 0
    streamed: bool = False
    is_cut: bool = False
    lacks_data: bool = False
    may_loop: bool = False
    """libsndfile might read its chunks for ever: PyAV reads the file instead."""
    declared_s: float | None = None
    data_chunks: tuple[tuple[int, int], ...] = ()
    """Start and end of each data chunk of a WAV that has several: both decoders read one only."""
    stale_s: float | None = None
    """Where a WAV's header ends the audio though ``bytes_after``, which are no chunks, follow: a recorder that writes the size from time
    to time was stopped. PyAV reads them as audio."""


def known_as(head: bytes) -> str | None:
    """The name of the format that a file's first bytes say; None for unknown ones."""
    if len(head) > 1 and head[0] == 0xFF:
        return {0xE2: "MP3", 0xF2: "MP3", 0xF0: "ADTS"}.get(head[1] & 0xF6)  # sync word and layer
    name = next((name for at, mark, name in _SIGNATURES if head[at:].startswith(mark)), None)
    if name in ("WAV", "RF64") and head[8:12] != b"WAVE" or name == "AIFF" and head[8:12] not in (b"AIFF", b"AIFC"):
        return None
    return name


def id3_bytes(head: bytes) -> int:
    """Bytes of the ID3v2 tag that a file with these first ten bytes begins with (id3.org, ID3v2.4, section 3.1); 0 without one."""
    if not head.startswith(b"ID3") or len(head) < 10:
        return 0
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def read_header(file: BinaryIO, size_bytes: int) -> Header:
    """Reads the header of a file of ``size_bytes``. Raises `AudioError` for a WAV without samples or with a contradictory header."""
    file.seek(0)
    head = file.read(512)
    header = Header(head, known_as(head))
    if header.known_as in ("WAV", "RF64"):
        _read_riff(file, size_bytes, ">" if head.startswith(b"RIFX") else "<", header)
    elif header.known_as == "AIFF":
        for name, size, at in _chunks(file, size_bytes, ">"):
            if name == b"SSND":
                _set_data_size(header, size, at, size_bytes)
    elif header.known_as == "AU" and len(head) >= 12:
        at, size = struct.unpack_from(">II", head, 4)
        _set_data_size(header, size, at, size_bytes)
    elif header.known_as == "Ogg":
        header.is_cut = not _ends_with_last_ogg_page(file, size_bytes)
    elif header.known_as == "MP3":
        header.declared_s = _xing_duration_s(file)
    return header


def _chunks(file: BinaryIO, size_bytes: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Yields (name, declared size, offset of the content) of the chunks of a RIFF or IFF file, at most 1,000."""
    at = 12
    for _ in range(1000):
        file.seek(at)
        chunk = file.read(8)
        if len(chunk) < 8:
            return
        name, size = struct.unpack(order + "4sI", chunk)
        yield name, size, at + 8
        at += 8 + size + size % 2
        if at >= size_bytes:
            return


def _set_data_size(header: Header, size: int, at: int, size_bytes: int) -> None:
    header.promised_bytes, header.available_bytes = size, max(0, size_bytes - at)
    header.streamed = size >= _STREAMED_SIZE and size > header.available_bytes
    header.is_cut = not header.streamed and size > header.available_bytes


def _read_riff(file: BinaryIO, size_bytes: int, order: str, header: Header) -> None:
    """Checks the fmt chunk of a WAV, and compares the data chunk's size with the file's."""
    byte_rate = size_64 = None
    for name, size, at in _chunks(file, size_bytes, order):
        file.seek(at)
        if name == b"ds64" and size >= 16:
            _, size_64 = struct.unpack(order + "QQ", file.read(16).ljust(16, b"\0"))
        elif name == b"fmt " and size >= 16 and len(fmt := file.read(16)) == 16:
            tag, channels, rate_hz, byte_rate, block_bytes, bits = struct.unpack(order + "HHIIHH", fmt)
            check_wav_format(tag, channels, rate_hz, block_bytes, bits)
        elif name == b"data":
            _set_data_size(header, size_64 if size_64 is not None and size == 0xFFFFFFFF else size, at, size_bytes)
            header.data_chunks = _data_chunks(file, at, header.promised_bytes, size_bytes, order)
            if header.data_chunks:
                return
            if size == 0:
                header.streamed = header.available_bytes > 0 and not _are_chunks(file, at, size_bytes, order)
                if not header.streamed:
                    raise no_samples_error("WAV")
            elif size < header.available_bytes and not _are_chunks(file, at + size + size % 2, size_bytes, order):
                left = header.available_bytes - size
                if byte_rate and left >= byte_rate:
                    header.bytes_after, header.stale_s = left, size / byte_rate
            header.may_loop = _may_loop(file, 12, at - 8, order) or _may_loop(file, at + header.promised_bytes, size_bytes, order)
            return
    header.lacks_data = header.may_loop = True


def _may_loop(file: BinaryIO, start: int, end: int, order: str) -> bool:
    """Whether the chunks from ``start`` to ``end`` are larger than metadata, or one of them may have a negative size."""
    if end - start > _METADATA_BYTES:
        return True
    file.seek(min(start, end))
    return bool(_JUMPS_BACK[order].search(file.read(max(0, end - start))))


def _are_chunks(file: BinaryIO, at: int, size_bytes: int, order: str) -> bool:
    """Whether the bytes from ``at`` to the end of the file are RIFF chunks, or none, rather than samples."""
    while at < size_bytes - 1:
        file.seek(at)
        chunk = file.read(8)
        if len(chunk) < 8:
            return not any(chunk)
        name, size = struct.unpack(order + "4sI", chunk)
        if not all(0x20 <= letter < 0x7F for letter in name) or at + 8 + size > size_bytes:
            return False
        at += 8 + size + size % 2
    return True


def _data_chunks(file: BinaryIO, at: int, size: int, size_bytes: int, order: str) -> tuple[tuple[int, int], ...]:
    """Start and end of the data chunk with its content at ``at`` and of those that follow it; empty where none with content follows."""
    found = [(at, min(at + size, size_bytes))]
    for _ in range(1000):
        at += size + size % 2
        if at + 8 >= size_bytes:
            break
        file.seek(at)
        name, size = struct.unpack(order + "4sI", file.read(8))
        at += 8
        if name == b"data" and size:
            found.append((at, min(at + size, size_bytes)))
    return tuple(found) if len(found) > 1 else ()


def _ends_with_last_ogg_page(file: BinaryIO, size_bytes: int) -> bool:
    """Whether the file ends with a complete page that has the end-of-stream flag (RFC 3533, section 6)."""
    file.seek(max(0, size_bytes - 65_536))
    tail = file.read()
    at = tail.rfind(b"OggS")
    page = tail[at:] if at >= 0 else b""
    if len(page) < 27 or len(page) < 27 + page[26]:
        return False
    return bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])


def _xing_duration_s(file: BinaryIO) -> float | None:
    """Duration by the Xing or Info header of an MP3, in seconds (ISO 11172-3 frame header, then Xing's flags and frame count)."""
    file.seek(0)
    file.seek(id3_bytes(file.read(10)))
    frame = file.read(64)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if at < 4 or len(frame) < at + 12 or frame[0] != 0xFF or not frame[at + 7] & 1:
        return None
    version, rate_index = frame[1] >> 3 & 3, frame[2] >> 2 & 3
    if version == 1 or rate_index == 3:
        return None
    rate_hz = (44_100, 48_000, 32_000)[rate_index] // {3: 1, 2: 2, 0: 4}[version]
    n_frames: int = struct.unpack_from(">I", frame, at + 8)[0]
    return n_frames * (1152 if version == 3 else 576) / rate_hz


def unreadable_error(header: Header, why: str) -> AudioError:
    """The error for a file that no decoder opens, by its first bytes."""
    if header.lacks_data:
        return AudioError(
            "no_samples",
            "No data chunk was found in the WAV file: it is cut off, or its chunks are misplaced. Export the recording again.",
        )
    if header.known_as:
        return AudioError(
            "decode_error", f"The file begins as {header.known_as}, but cannot be read ({why}): cut off or damaged. Upload it again."
        )
    other = next((f", it is {name}" for mark, name in _OTHER_SIGNATURES if header.head.startswith(mark)), "")
    return AudioError(
        "not_audio",
        f"The file is no audio{other} (first bytes {header.head[:4].hex(' ')}). "
        "Upload the recording itself; headerless audio needs a suffix such as .ulaw.",
    )
