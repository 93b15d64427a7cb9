"""The decoder for everything else: PyAV, which is FFmpeg."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np

from ser_tasks.audio.header import Header, unreadable
from ser_tasks.audio.reasons import BadAudio, check_format, no_samples
from ser_tasks.audio.source import AudioInfo

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


class PyAvSource:
    """A `Source` on FFmpeg. Raises `BadAudio` for a file without a readable audio track."""

    def __init__(self, path: Path, header: Header):
        self.damage: str | None = None
        self._tracks = 1
        self._bad_packets = self._filled_frames = 0
        try:
            self._container = av.open(
                f"file:{path.absolute()}",
                container_options={"format_whitelist": _PYAV_CONTAINERS, "protocol_whitelist": "file"},
                metadata_errors="replace",
            )
        except MemoryError:
            raise
        except av.FFmpegError as error:
            raise unreadable(header, error.strerror or "no reason given") from None
        try:
            self._open_stream(header)
        except BaseException:
            self._container.close()
            raise

    def _open_stream(self, header: Header) -> None:
        tracks = self._container.streams.audio
        container = self._container.format.name.split(",")[0].upper()
        if not tracks:
            raise BadAudio("not_audio", f"The {container} file has no audio track. Upload the call's audio, or leave the file out.")
        self._tracks = len(tracks)
        self._stream = tracks[0]
        if self._stream.codec_context is None:
            raise unreadable(header, "its audio codec is unknown")
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
                raise unreadable(header, self.damage)
            raise no_samples(container)

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
                check_format(self.info.channels, self.info.sampling_rate_hz)
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
            except MemoryError:
                raise
            except av.FFmpegError as error:
                self.damage = f"the file breaks off: {error.strerror}"
                return
            if packet is None:
                return
            try:
                yield from packet.decode()
            except MemoryError:
                raise
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
