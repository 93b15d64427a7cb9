"""The decoder for all formats that libsndfile does not read: PyAV (FFmpeg)."""

import contextlib
import ctypes
import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

from ser_tasks.audio.errors import MAX_SAMPLING_RATE_HZ, MIN_SAMPLING_RATE_HZ, AudioError, check_format, no_samples_error
from ser_tasks.audio.header import Header, unreadable_error
from ser_tasks.audio.samples import float_32
from ser_tasks.audio.source import AudioInfo

_PYAV_CONTAINERS = (  # no playlists (hls, concat, dash): they make the decoder open other files and addresses
    "aac,ac3,aiff,amr,amrnb,amrwb,asf,au,avi,caf,eac3,flac,flv,loas,matroska,mov,mp3,mpeg,mpegts,ogg,tta,voc,w64,wav,wv"
)
_MAX_TRACKS = 16
_ALLOCATION_BYTES = 32 << 20
"""FFmpeg may allocate blocks of up to this plus the file's size. An index takes 24 bytes a packet, so that is enough for 7.7 hours of
AMR. Without a limit, a header of 9 kB that promises 80 million packets takes 2 GB."""
_NO_LIMIT_BYTES = 2**31 - 1
"""FFmpeg's own default, restored for other uses in this process."""
_HOPELESS_PACKETS = 10_000
"""So many packets in a row that cannot be decoded (minutes of audio) end the reading."""
_TIMED_CONTAINERS = {"MATROSKA", "MOV", "ASF"}
"""Containers whose packets carry times and whose header has a duration (in others FFmpeg estimates it from the bit rate)."""
_LATE_S = 0.1
"""A track that begins later than this on the container's clock begins late; encoders' delays are shorter."""
_WITHOUT_RESAMPLER: dict[str, type[np.float32] | type[np.int16]] = {
    "flt": np.float32,
    "fltp": np.float32,
    "s16": np.int16,
    "s16p": np.int16,
}
"""Sample formats of frames, packed or in planes (p), that FFmpeg need not convert."""
_MAX_PLANES = 8
"""More channels than these are converted to packed samples: PyAV reads planes up to a null pointer, which is missing then."""
_Rows = list[NDArray[np.float32]]
"""The samples of each channel."""
_SUBTYPES = {
    "PCM_U8": "PCM_U8", "PCM_S16LE": "PCM_16", "PCM_S24LE": "PCM_24", "PCM_S32LE": "PCM_32", "PCM_F32LE": "FLOAT",
    "PCM_F64LE": "DOUBLE", "PCM_MULAW": "ULAW", "PCM_ALAW": "ALAW", "GSM_MS": "GSM610", "ADPCM_IMA_WAV": "IMA_ADPCM",
}  # fmt: skip
"""FFmpeg's codec names -> libsndfile's, so that a codec has one name."""


class PyAvSource:
    """A `Source` on FFmpeg: one audio track of a file, or of a section of it. Raises `AudioError` where there is none to read.

    ``rate_hz``: the sampling rate to read at; by default the track's own.
    """

    def __init__(self, path: Path, header: Header, section: BinaryIO | None = None, track: int = 0, rate_hz: int | None = None):
        self.damage: str | None = None
        self.tracks = 1
        self._track, self._rate_hz, self._section = track, rate_hz, section
        self._bad_packets = self._filled_frames = self._leading_frames = self._silent_frames = 0
        self.first_s: float | None = None
        """Where the track begins on the container's clock; None where packets carry no times."""
        self._limit_bytes = _ALLOCATION_BYTES + path.stat().st_size
        _limit_allocations(self._limit_bytes)
        if section:
            section.seek(0)
        options = {"format_whitelist": _PYAV_CONTAINERS, "protocol_whitelist": "file", "max_streams": str(_MAX_TRACKS)}
        try:
            self._container = av.open(
                section or f"file:{path.absolute()}",
                mode="r",
                container_options=options | ({"ignore_length": "1"} if header.data_chunks or header.stale_s is not None else {}),
                metadata_errors="replace",
            )
        except av.FFmpegError as error:
            _limit_allocations(_NO_LIMIT_BYTES)
            if error.errno == errno.ENOMEM:
                self._check_memory()
                raise AudioError(
                    "header_lies", "The header promises more tracks or packets than the file can hold: it is damaged. Export it again."
                ) from None
            raise unreadable_error(header, error.strerror or "no reason given") from None
        try:
            self._open_stream(header)
        except BaseException:
            self.close()
            raise

    def _open_stream(self, header: Header) -> None:
        tracks = self._container.streams.audio
        container = self._container.format.name.split(",")[0].upper()
        if not tracks:
            raise AudioError("not_audio", f"The {container} file has no audio track. Upload the call's audio, or leave the file out.")
        self.tracks = len(tracks)
        self._stream = tracks[self._track]
        if self._stream.codec_context is None:
            raise unreadable_error(header, "its audio codec is unknown")
        codec = self._stream.codec_context.codec.canonical_name.upper()
        declared_s = header.declared_s
        if container in _TIMED_CONTAINERS:
            if self._stream.duration and self._stream.time_base:
                declared_s = float(self._stream.duration * self._stream.time_base)
            elif self._container.duration:
                declared_s = self._container.duration / av.time_base
        elif header.data_chunks or header.stale_s is not None:
            declared_s = None
        elif container == "WAV" and header.is_cut and self._container.duration:
            declared_s = self._container.duration / av.time_base
        self._timed = container in _TIMED_CONTAINERS
        self.expected_s = declared_s
        self.info = AudioInfo(0, 0, _SUBTYPES.get(codec, codec), container, declared_s)
        self._arrays = self._decode()
        self._rest = next(self._arrays, None)  # rate and channels come from the first frame: some headers state half the rate
        if self._rest is None:
            if self.damage:
                raise unreadable_error(header, self.damage)
            raise no_samples_error(container)
        self._place(declared_s)

    def _place(self, declared_s: float | None) -> None:
        """Puts silence before a track that begins late on the container's clock, where the header's duration says that it counts from 0."""
        if not self._timed or self.first_s is None:
            return
        whole_s = self._container.duration / av.time_base if self._container.duration else 0.0
        from_edits = self.info.container == "MOV" and self._stream.frames > 0  # not in fragments, whose times may count from any start
        if self.first_s > _LATE_S and (from_edits or whole_s >= self.first_s):
            self.lead(self.first_s)
            if self._stream.duration and declared_s is not None:  # of the track alone
                self.expected_s = declared_s + self.first_s
                self.info = replace(self.info, declared_s=self.expected_s)

    def lead(self, seconds: float) -> None:
        """Puts so much silence before the samples, unless there is some already."""
        if not self._leading_frames:
            self._leading_frames = round(seconds * self.info.sampling_rate_hz)
            self._silent_frames = self._leading_frames

    def read(self, frames: int) -> NDArray[np.float32]:
        out = np.empty((self.info.channels, frames), np.float32)
        done = min(frames, self._silent_frames)
        self._silent_frames -= done
        out[:, :done] = 0
        while done < frames and self._rest is not None:
            samples = len(self._rest[0])
            count = min(frames - done, samples)
            for into, row in zip(out, self._rest, strict=True):
                into[done : done + count] = row[:count]
            done += count
            self._rest = [row[count:] for row in self._rest] if count < samples else next(self._arrays, None)
        return out[:, :done]

    def _decode(self) -> Iterator[_Rows]:
        resampler: av.AudioResampler | None = None
        resampled = layout = None
        first_s, done = None, 0
        for frame in self.decoded_frames():
            if self.info.channels == 0:
                layout = frame.layout
                check_format(layout.nb_channels, frame.sample_rate)
                self.info = replace(self.info, sampling_rate_hz=self._rate_hz or frame.sample_rate, channels=layout.nb_channels)
                self.first_s = first_s = frame.time
            if not MIN_SAMPLING_RATE_HZ <= frame.sample_rate <= MAX_SAMPLING_RATE_HZ:  # at 1 Hz a frame is hours
                self.damage = f"the sampling rate changes from {self.info.sampling_rate_hz:,} to {frame.sample_rate:,} Hz"
                return
            if frame.layout.nb_channels != self.info.channels:
                self.damage = f"the number of channels changes from {self.info.channels} to {frame.layout.nb_channels}"
                return
            if self._timed and frame.time is not None and first_s is not None:
                gap = round((frame.time - first_s) * self.info.sampling_rate_hz) - done
                if gap > 0.1 * self.info.sampling_rate_hz:  # packets omitted on purpose (Opus DTX) or lost
                    self._filled_frames += gap
                    yield from self._silence(gap)
                    done += gap
            kind = frame.format.name, frame.sample_rate
            if kind[0] in _WITHOUT_RESAMPLER and kind[1] == self.info.sampling_rate_hz and self.info.channels <= _MAX_PLANES:
                resampler = None
                done += frame.samples
                if frame.samples:
                    yield _rows(frame, self.info.channels)
                continue
            if resampler is None or resampled != kind:
                resampled = kind
                resampler = av.AudioResampler(format="flt", layout=layout, rate=self.info.sampling_rate_hz)
            for converted in resampler.resample(frame):
                # packed samples: PyAV reads planes up to a null pointer, which is missing after more than 8
                array = np.ascontiguousarray(converted.to_ndarray().reshape(-1, self.info.channels).T, np.float32)
                done += array.shape[1]
                if array.shape[1]:
                    yield list(array)

    def _silence(self, frames: int) -> Iterator[_Rows]:
        second = np.zeros((self.info.channels, self.info.sampling_rate_hz), np.float32)
        for start in range(0, frames, second.shape[1]):
            yield list(second[:, : frames - start])

    def decoded_frames(self) -> Iterator[av.AudioFrame]:
        """Yields decoded frames; packets that cannot be decoded are skipped and counted."""
        packets = self._container.demux(self._stream)
        in_a_row = 0
        while in_a_row < _HOPELESS_PACKETS:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                if error.errno == errno.ENOMEM:
                    self._check_memory()
                self.damage = f"the file breaks off: {error.strerror}"
                return
            except IndexError:  # raised by PyAV: an MPEG-TS file may add a track at any time
                self.damage = "another track begins in the middle, and nothing after it was read"
                return
            if packet is None:
                return
            try:
                yield from packet.decode()
                in_a_row = 0
            except av.FFmpegError as error:
                if error.errno == errno.ENOMEM:
                    self._check_memory()
                in_a_row += 1
                self._bad_packets += 1
                self.damage = f"packets that could not be decoded and were skipped: {self._bad_packets:,} ({error.strerror})"

    def _check_memory(self) -> None:
        """Raises MemoryError if the process is out of memory. FFmpeg also reports ENOMEM for a file that exceeds the limit above."""
        np.empty(self._limit_bytes, np.uint8)

    def remarks(self) -> list[str]:
        remarks = []
        if self._leading_frames > _LATE_S * self.info.sampling_rate_hz:
            lead_s = self._leading_frames / self.info.sampling_rate_hz
            remarks.append(f"the audio begins at {lead_s:,.1f} s of the file's clock: what is before it was read as silence")
        elif self._timed and self.first_s is not None and self.first_s > _LATE_S:
            remarks.append(f"the file's clock begins at {self.first_s:,.1f} s: times count from the first sample")
        if self._filled_frames:
            remarks.append(f"{self._filled_frames / self.info.sampling_rate_hz:,.1f} s without packets were read as silence")
        return remarks

    def limit_allocations(self) -> None:
        """Sets FFmpeg's limit anew, where closing another file has lifted it."""
        _limit_allocations(self._limit_bytes)

    def close(self) -> None:
        self._container.close()
        if self._section:
            self._section.close()
        _limit_allocations(_NO_LIMIT_BYTES)


def _rows(frame: av.AudioFrame, channels: int) -> _Rows:
    """The channels of a frame of one of the formats `_WITHOUT_RESAMPLER`: views of its own memory, where it holds float32."""
    dtype, of_a_plane = _WITHOUT_RESAMPLER[frame.format.name], channels // len(frame.planes)
    planes = (np.frombuffer(memoryview(plane), dtype, frame.samples * of_a_plane).reshape(-1, of_a_plane).T for plane in frame.planes)
    return [row for plane in planes for row in float_32(plane)]


def _limit_allocations(limit_bytes: int) -> None:
    """Limits the blocks of memory that FFmpeg allocates. PyAV has no such option, so the FFmpeg library is called directly."""
    with contextlib.suppress(OSError, AttributeError):  # some platforms do not find FFmpeg's functions through PyAV's module
        ctypes.CDLL(av.logging.__file__).av_max_alloc(ctypes.c_size_t(limit_bytes))
