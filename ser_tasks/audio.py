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
| header_lies       | has a header that contradicts itself, so that its samples could be read in two ways      |
| too_long          | lasts longer than allowed, by its header or by what was decoded                          |
| not_finite        | holds samples that are NaN or infinite                                                   |
| not_scaled        | holds float samples beyond `MAX_AMPLITUDE`, such as 16-bit integers written as floats    |
| decode_error      | is audio, but could not be opened, or broke off within its first second                  |

A file that is merely cut off or damaged later on is read as far as it goes, and `AudioReader.note` says so. What cannot be
noticed: a cut in formats that carry no length at all (raw, AMR, ADTS, MP3 without a Xing header).
"""

import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Protocol

import av
import numpy as np
import soundfile

MAX_CHANNELS = 16
MIN_SAMPLING_RATE_HZ = 4_000
MAX_SAMPLING_RATE_HZ = 192_000
MAX_AMPLITUDE = 100.0
"""40 dB over full scale: no recording chain produces it, and its square stays far from float32's limit."""

RAW_SAMPLING_RATE_HZ = 8_000
RAW_SUFFIXES = {
    ".ulaw": "ULAW", ".ul": "ULAW", ".mulaw": "ULAW", ".pcmu": "ULAW",
    ".alaw": "ALAW", ".al": "ALAW", ".pcma": "ALAW",
    ".vox": "VOX_ADPCM", ".gsm": "GSM610", ".sln": "PCM_16",
}  # fmt: skip
"""Suffix of headerless audio -> libsndfile subtype; all are 8 kHz mono, as telephony writes them."""

_SOUNDFILE_KNOWS = {"WAV", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC", "Ogg"}
"""Beginnings (`_SIGNATURES`) that libsndfile is asked about: it takes unknown ones for audio too easily."""
_PYAV_CONTAINERS = (  # never playlists (hls, concat, dash): they would make the decoder open other files and addresses
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,eac3,flac,flv,loas,matroska,mov,mp3,mpeg,mpegts,ogg,tta,voc,w64,wav,wv"
)
_TIMED_CONTAINERS = {"MATROSKA", "MOV", "ASF"}
"""PyAV's containers whose packets carry times and whose header states a duration (elsewhere it is a guess by bit rate)."""
_SUBTYPES = {
    "PCM_U8": "PCM_U8", "PCM_S16LE": "PCM_16", "PCM_S24LE": "PCM_24", "PCM_S32LE": "PCM_32", "PCM_F32LE": "FLOAT",
    "PCM_F64LE": "DOUBLE", "PCM_MULAW": "ULAW", "PCM_ALAW": "ALAW", "GSM_MS": "GSM610", "ADPCM_IMA_WAV": "IMA_ADPCM",
}  # fmt: skip
"""PyAV's names -> libsndfile's, so that one codec has one name."""

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
"""Recorders that write to a pipe put a size from here upwards into a RIFF header, meaning: unknown."""
_LENGTH_TOLERANCE_S = 0.3
"""Encoder delay and padding (up to 2,256 samples in an MP3) make durations differ by this much in whole files."""


class BadAudio(ValueError):
    """A recording that cannot be used. ``code`` is a word of the module's table; the message says what a person can do."""

    def __init__(self, code: str, reason: str):
        super().__init__(code, reason)
        self.code = code

    def __str__(self) -> str:
        return self.args[1]


@dataclass(frozen=True)
class AudioInfo:
    """What the header says. ``codec`` and ``container`` are upper-case names; ``declared_s`` is None where no length is stated."""

    sampling_rate_hz: int
    channels: int
    codec: str
    container: str
    declared_s: float | None


class AudioReader:
    """One decode of one recording. ``seconds`` (decoded) and ``note`` (None, or a remark such as a cut) hold after `blocks`."""

    def __init__(self, source: "_Source", header: "_Header", max_duration_s: float):
        self.info = source.info
        self.seconds = 0.0
        self.note: str | None = None
        self._source, self._header, self._max_duration_s, self._started = source, header, max_duration_s, False

    def __enter__(self) -> "AudioReader":
        return self

    def __exit__(self, *_) -> None:
        self._source.close()

    def blocks(self, block_s: float = 30.0) -> Iterator[np.ndarray]:
        """Float32 ``(channels, samples)`` at the native rate; every block but the last lasts ``block_s``. Can be read once.

        Raises `BadAudio`, possibly after some blocks: discard those.
        """
        if self._started:
            raise RuntimeError("A recording's blocks can be read once: open it again to read it again.")
        self._started = True
        rate_hz, frames = self.info.sampling_rate_hz, 0
        block_frames = max(1, round(block_s * rate_hz))
        while True:
            block = self._source.read(block_frames)
            frames += block.shape[1]
            is_last = block.shape[1] < block_frames
            if is_last and self._source.damage and frames < rate_hz:
                raise BadAudio(
                    "decode_error",
                    f"The {self.info.container} file with {self.info.codec} audio breaks off within its first second "
                    f"({self._source.damage}). Upload the recording again.",
                )
            if frames > self._max_duration_s * rate_hz:
                raise _too_long(f"More than {self._max_duration_s:,.0f} s of audio were decoded", self._max_duration_s)
            if block.shape[1]:
                _check_samples(block, (frames - block.shape[1]) / rate_hz)
                self.seconds = frames / rate_hz
                yield block
            if is_last:
                break
        if frames == 0:
            raise _no_samples(self.info.container)
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

    Raises `BadAudio` for a recording that cannot be used, OSError where the disk cannot be read.
    """
    path = Path(path)
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        raise BadAudio("empty", "The file is empty (0 bytes). Upload the recording again, or remove it.")
    with open(path, "rb") as file:
        header = _read_header(file, size_bytes)
    source = _open_source(path, header)
    try:
        _check_format(source.info)
        promised_s = source.expected_s
        if promised_s is not None and promised_s > max_duration_s:
            raise _too_long(f"The header promises {promised_s:,.0f} s", max_duration_s)
    except BadAudio:
        source.close()
        raise
    return AudioReader(source, header, max_duration_s)


# -- What the header says, before any decoder sees it


@dataclass
class _Header:
    """What the first bytes (and for some containers the chunk table) say. ``known_as`` is None for an unknown beginning."""

    head: bytes
    known_as: str | None
    promised_bytes: int = 0
    available_bytes: int = 0
    bytes_after: int = 0
    streamed: bool = False
    is_cut: bool = False
    lacks_data: bool = False
    declared_s: float | None = None


def _read_header(file: BinaryIO, size_bytes: int) -> _Header:
    head = file.read(512)
    header = _Header(head, next((name for at, mark, name in _SIGNATURES if head[at:].startswith(mark)), None))
    if len(head) > 1 and head[0] == 0xFF:
        header.known_as = {0xE2: "MP3", 0xF2: "MP3", 0xF0: "ADTS"}.get(head[1] & 0xF6)  # sync word and layer
    if header.known_as in ("WAV", "RF64") and head[8:12] != b"WAVE":
        header.known_as = None
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
    """(name, declared size, offset of the content) of the chunks of a RIFF or IFF file, 1,000 at most."""
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


def _set_data_size(header: _Header, size: int, at: int, size_bytes: int) -> None:
    header.promised_bytes, header.available_bytes = size, max(0, size_bytes - at)
    header.streamed = size >= _STREAMED_SIZE and size > header.available_bytes
    header.is_cut = not header.streamed and size > header.available_bytes


def _read_riff(file: BinaryIO, size_bytes: int, order: str, header: _Header) -> None:
    """Check the fmt chunk of a WAV, and compare the data chunk's size with the file's."""
    byte_rate = size_64 = None
    for name, size, at in _chunks(file, size_bytes, order):
        file.seek(at)
        if name == b"ds64" and size >= 16:
            _, size_64 = struct.unpack(order + "QQ", file.read(16).ljust(16, b"\0"))
        elif name == b"fmt " and size >= 16 and len(fmt := file.read(16)) == 16:
            tag, channels, rate_hz, byte_rate, block_bytes, bits = struct.unpack(order + "HHIIHH", fmt)
            _check_wav_format(tag, channels, rate_hz, block_bytes, bits)
        elif name == b"data":
            _set_data_size(header, size_64 if size_64 is not None and size == 0xFFFFFFFF else size, at, size_bytes)
            if size == 0:
                header.streamed = header.available_bytes > 0 and not _are_chunks(file, at, size_bytes, order)
                if not header.streamed:
                    raise _no_samples("WAV")
            elif size < header.available_bytes and not _are_chunks(file, at + size + size % 2, size_bytes, order):
                left = header.available_bytes - size
                header.bytes_after = left if byte_rate and left >= byte_rate else 0
            return
    header.lacks_data = True


def _are_chunks(file: BinaryIO, at: int, size_bytes: int, order: str) -> bool:
    """Whether the bytes from ``at`` to the end of the file are RIFF chunks (or nothing), not samples."""
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


def _ends_with_last_ogg_page(file: BinaryIO, size_bytes: int) -> bool:
    """Whether the file ends with a whole page that bears the end-of-stream flag (RFC 3533, section 6)."""
    file.seek(max(0, size_bytes - 65_536))
    tail = file.read()
    at = tail.rfind(b"OggS")
    page = tail[at:] if at >= 0 else b""
    if len(page) < 27 or len(page) < 27 + page[26]:
        return False
    return bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])


def _xing_duration_s(file: BinaryIO) -> float | None:
    """Seconds that the Xing or Info header of an MP3 promises (ISO 11172-3 frame header, then Xing's flags and frame count)."""
    file.seek(0)
    head = file.read(10)
    tag_bytes = 0
    if head.startswith(b"ID3") and len(head) == 10:
        tag_bytes = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    file.seek(tag_bytes)
    frame = file.read(64)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if at < 4 or len(frame) < at + 12 or frame[0] != 0xFF or not frame[at + 7] & 1:
        return None
    version, rate_index = frame[1] >> 3 & 3, frame[2] >> 2 & 3
    if version == 1 or rate_index == 3:
        return None
    rate_hz = (44_100, 48_000, 32_000)[rate_index] // {3: 1, 2: 2, 0: 4}[version]
    return struct.unpack_from(">I", frame, at + 8)[0] * (1152 if version == 3 else 576) / rate_hz


# -- The two decoders: `read` gives up to so many frames, fewer only at the end, and never raises for damage


class _Source(Protocol):
    info: AudioInfo
    expected_s: float | None
    damage: str | None

    def read(self, frames: int) -> np.ndarray: ...

    def remarks(self) -> list[str]: ...

    def close(self) -> None: ...


def _open_source(path: Path, header: _Header) -> _Source:
    raw = RAW_SUFFIXES.get(path.suffix.lower()) if header.known_as is None else None
    if raw:
        return _SoundFile(
            soundfile.SoundFile(path, samplerate=RAW_SAMPLING_RATE_HZ, channels=1, format="RAW", subtype=raw, endian="LITTLE"), header
        )
    if header.known_as in _SOUNDFILE_KNOWS and not (header.streamed and header.promised_bytes == 0):
        try:
            file = soundfile.SoundFile(path)
        except soundfile.LibsndfileError:
            pass  # PyAV may know it
        else:
            # libsndfile guesses the length of an MP3 and stops there; an unstated length comes as 2**63 frames
            if not file.subtype.startswith("MPEG") and file.frames < 2**40:
                return _SoundFile(file, header)
            file.close()
    return _PyAv(path, header)


class _SoundFile:
    def __init__(self, file: soundfile.SoundFile, header: _Header):
        self._file = file
        self.damage: str | None = None
        self.expected_s = file.frames / file.samplerate
        declared_s: float | None = self.expected_s
        if header.streamed or file.format in ("RAW", "OGG"):  # there the length comes from the file's end
            declared_s = None
        elif header.is_cut and header.available_bytes:
            declared_s = self.expected_s * header.promised_bytes / header.available_bytes
        self.info = AudioInfo(file.samplerate, file.channels, file.subtype, file.format, declared_s)

    def read(self, frames: int) -> np.ndarray:
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
        """Frames that libsndfile delivered before it failed: it moves its position by them."""
        try:
            return min(max(self._file.tell() - start, 0), frames)
        except soundfile.LibsndfileError:
            return 0

    def remarks(self) -> list[str]:
        return []

    def close(self) -> None:
        self._file.close()


class _PyAv:
    def __init__(self, path: Path, header: _Header):
        self.damage: str | None = None
        self._tracks = 1
        self._bad_packets = self._filled_frames = 0
        try:
            self._container = av.open(
                f"file:{path.absolute()}",
                container_options={"format_whitelist": _PYAV_CONTAINERS, "protocol_whitelist": "file"},
                metadata_errors="replace",
            )
        except av.FFmpegError as error:
            raise _unreadable(header, error.strerror or "no reason given") from None
        try:
            self._open_stream(header)
        except BaseException:
            self._container.close()
            raise

    def _open_stream(self, header: _Header) -> None:
        tracks = self._container.streams.audio
        container = self._container.format.name.split(",")[0].upper()
        if not tracks:
            raise BadAudio("not_audio", f"The {container} file has no audio track. Upload the call's audio, or leave the file out.")
        self._tracks = len(tracks)
        self._stream = tracks[0]
        if self._stream.codec_context is None:
            raise _unreadable(header, "its audio codec is unknown")
        codec = self._stream.codec_context.codec.canonical_name.upper()
        declared_s = header.declared_s
        if container in _TIMED_CONTAINERS:
            if self._stream.duration and self._stream.time_base:
                declared_s = float(self._stream.duration * self._stream.time_base)
            elif self._container.duration:
                declared_s = self._container.duration / av.time_base
        elif container == "WAV" and header.is_cut and self._container.duration:
            declared_s = self._container.duration / av.time_base
        self._timed = container in _TIMED_CONTAINERS
        self.expected_s = declared_s
        self.info = AudioInfo(0, 0, _SUBTYPES.get(codec, codec), container, declared_s)
        self._arrays = self._decode()
        self._rest = next(self._arrays, None)  # the first frame settles rate and channels: a header may state half the rate
        if self._rest is None:
            if self.damage:
                raise _unreadable(header, self.damage)
            raise _no_samples(container)

    def read(self, frames: int) -> np.ndarray:
        parts, missing = [], frames
        while missing and self._rest is not None:
            part = self._rest[:, :missing]
            parts.append(part)
            missing -= part.shape[1]
            self._rest = self._rest[:, part.shape[1] :] if part.shape[1] < self._rest.shape[1] else next(self._arrays, None)
        return np.concatenate(parts, axis=1) if parts else np.empty((self.info.channels, 0), np.float32)

    def _decode(self) -> Iterator[np.ndarray]:
        resampler: av.AudioResampler | None = None
        resampled = layout = None
        first_s, done = None, 0
        for frame in self._frames():
            if self.info.channels == 0:
                layout = frame.layout
                self.info = replace(self.info, sampling_rate_hz=frame.sample_rate, channels=layout.nb_channels)
                _check_format(self.info)
                first_s = frame.time
            if frame.layout.nb_channels != self.info.channels:
                self.damage = f"the number of channels changes from {self.info.channels} to {frame.layout.nb_channels}"
                return
            if self._timed and frame.time is not None and first_s is not None:
                gap = round((frame.time - first_s) * self.info.sampling_rate_hz) - done
                if gap > 0.1 * self.info.sampling_rate_hz:  # packets left out on purpose (Opus DTX) or lost
                    self._filled_frames += gap
                    yield from self._silence(gap)
                    done += gap
            if resampler is None or resampled != (frame.format.name, frame.sample_rate):
                resampled = (frame.format.name, frame.sample_rate)
                resampler = av.AudioResampler(format="fltp", layout=layout, rate=self.info.sampling_rate_hz)
            for converted in resampler.resample(frame):
                array = converted.to_ndarray()
                done += array.shape[1]
                if array.shape[1]:
                    yield array

    def _silence(self, frames: int) -> Iterator[np.ndarray]:
        second = np.zeros((self.info.channels, self.info.sampling_rate_hz), np.float32)
        for start in range(0, frames, second.shape[1]):
            yield second[:, : frames - start]

    def _frames(self) -> Iterator[av.AudioFrame]:
        """Decoded frames; packets that cannot be decoded are left out and counted."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                self.damage = f"the file breaks off: {error.strerror}"
                return
            if packet is None:
                return
            try:
                yield from packet.decode()
            except av.FFmpegError as error:
                self._bad_packets += 1
                self.damage = f"packets that could not be decoded and were left out: {self._bad_packets:,} ({error.strerror})"

    def remarks(self) -> list[str]:
        found = []
        if self._tracks > 1:
            found.append(f"the file has {self._tracks} audio tracks: only the first was read")
        if self._filled_frames:
            found.append(f"{self._filled_frames / self.info.sampling_rate_hz:,.1f} s without packets were read as silence")
        return found

    def close(self) -> None:
        self._container.close()


# -- Reasons


def _check_format(info: AudioInfo) -> None:
    _check_channels(info.channels)
    _check_rate(info.sampling_rate_hz)


def _check_channels(channels: int) -> None:
    if channels < 1:
        raise BadAudio("no_channels", "The header says 0 channels; at least 1 is needed. Export the recording again.")
    if channels > MAX_CHANNELS:
        raise BadAudio(
            "too_many_channels", f"The header says {channels:,} channels; at most {MAX_CHANNELS} are read. Split it, or upload it again."
        )


def _check_rate(rate_hz: int) -> None:
    if not MIN_SAMPLING_RATE_HZ <= rate_hz <= MAX_SAMPLING_RATE_HZ:
        raise BadAudio(
            "bad_sampling_rate",
            f"The header says {rate_hz:,} Hz; {MIN_SAMPLING_RATE_HZ:,} to {MAX_SAMPLING_RATE_HZ:,} Hz are read. "
            "Export the recording again at its real rate.",
        )


def _check_wav_format(tag: int, channels: int, rate_hz: int, block_bytes: int, bits: int) -> None:
    _check_channels(channels)
    _check_rate(rate_hz)
    if tag in (1, 3, 6, 7):  # PCM, float, A-law, mu-law: a frame is one sample of each channel
        sample_bytes = block_bytes / channels
        if not (0 < bits <= 64 and sample_bytes.is_integer() and math.ceil(bits / 8) <= sample_bytes <= 8):
            raise BadAudio(
                "header_lies",
                f"The WAV header contradicts itself: {channels} channels of {bits} bits cannot take {block_bytes} bytes a frame. "
                "Export the recording again.",
            )


def _check_samples(block: np.ndarray, start_s: float) -> None:
    peak = max(float(block.max()), -float(block.min()))  # NaN wins in numpy's max and min
    if math.isnan(peak) or math.isinf(peak):
        raise BadAudio(
            "not_finite", f"Not all samples are finite numbers (NaN or infinite, in the block from {start_s:,.0f} s). Export it again."
        )
    if peak > MAX_AMPLITUDE:
        raise BadAudio(
            "not_scaled",
            f"The samples reach {peak:,.4g} times full scale; at most {MAX_AMPLITUDE:.0f} is read. "
            "Scale the float samples to -1..1 (16-bit values: divide by 32,768) and upload it again.",
        )


def _too_long(what: str, max_duration_s: float) -> BadAudio:
    return BadAudio("too_long", f"{what}; at most {max_duration_s:,.0f} s are read. Split the recording, or raise the longest duration.")


def _no_samples(container: str) -> BadAudio:
    return BadAudio("no_samples", f"The {container} file has a header and no samples. Upload the recording again, or remove it.")


def _unreadable(header: _Header, why: str) -> BadAudio:
    if header.lacks_data:
        return BadAudio(
            "no_samples",
            "No data chunk was found in the WAV file: it is cut off, or its chunks are misplaced. Export the recording again.",
        )
    if header.known_as:
        return BadAudio(
            "decode_error", f"The file begins as {header.known_as}, but cannot be read ({why}): cut off or damaged. Upload it again."
        )
    other = next((f", it is {name}" for mark, name in _OTHER_SIGNATURES if header.head.startswith(mark)), "")
    return BadAudio(
        "not_audio",
        f"The file is no audio{other} (first bytes {header.head[:4].hex(' ')}). "
        "Upload the recording itself; headerless audio needs a suffix such as .ulaw.",
    )
