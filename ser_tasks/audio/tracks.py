"""Several audio tracks of one file, read side by side as the channels of one recording: a recorder may write one track a party."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ser_tasks.audio.errors import AudioError, check_format
from ser_tasks.audio.header import Header
from ser_tasks.audio.pyav_source import PyAvSource
from ser_tasks.audio.sections import Ranges, open_ranges
from ser_tasks.audio.source import Source


def open_with_pyav(path: Path, header: Header, ranges: Ranges | None) -> Source:
    """The recording, or the section of its file in ``ranges``, opened by FFmpeg, with all its audio tracks."""
    first = PyAvSource(path, header, open_ranges(path, ranges) if ranges else None)
    if first.tracks == 1:
        return first
    return TracksSource(first, path, header, ranges)


class TracksSource:
    """A `Source` of all audio tracks of a file. Each is decoded on its own, so that memory does not depend on how they interleave."""

    def __init__(self, first: PyAvSource, path: Path, header: Header, ranges: Ranges | None):
        self._sources = [first]
        self._remarks: list[str] = []
        self.damage: str | None = None
        try:
            for track in range(1, first.tracks):
                self._add(track, path, header, ranges)
            channels = sum(source.info.channels for source in self._sources)
            check_format(channels, first.info.sampling_rate_hz)
        except BaseException:
            self.close()
            raise
        starts = [source.first_s for source in self._sources if source.first_s is not None]
        for source in self._sources:  # one clock for all
            if source.first_s is not None and source.first_s > min(starts):
                source.lead(source.first_s - min(starts))
        declared = [source.info.declared_s for source in self._sources if source.info.declared_s is not None]
        self.expected_s = max((source.expected_s for source in self._sources if source.expected_s is not None), default=None)
        self.info = replace(first.info, channels=channels, declared_s=max(declared, default=None))

    def _add(self, track: int, path: Path, header: Header, ranges: Ranges | None) -> None:
        rate_hz = self._sources[0].info.sampling_rate_hz
        section = open_ranges(path, ranges) if ranges else None
        try:
            self._sources.append(PyAvSource(path, header, section, track, rate_hz))
        except AudioError as error:
            self._remarks.append(f"audio track {track + 1} was not read ({error.code})")
            self._sources[0].limit_allocations()  # the one that failed has lifted the limit

    def read(self, frames: int) -> NDArray[np.float32]:
        blocks = [source.read(frames) for source in self._sources]
        self.damage = "; ".join(dict.fromkeys(source.damage for source in self._sources if source.damage)) or None
        length = max(block.shape[1] for block in blocks)
        return np.concatenate([np.pad(block, ((0, 0), (0, length - block.shape[1]))) for block in blocks])

    def remarks(self) -> list[str]:
        count = len(self._sources)
        merged = [f"{count} audio tracks were read as {self.info.channels} channels"] if count > 1 else []
        return merged + self._remarks + list(dict.fromkeys(remark for source in self._sources for remark in source.remarks()))

    def close(self) -> None:
        for source in self._sources:
            source.close()
