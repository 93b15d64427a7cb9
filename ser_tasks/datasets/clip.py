"""A labelled clip: an audio file, or a span of one, written ``call.wav#t=10.5,14.2&channel=1`` (after W3C Media Fragments 1.0)."""

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser_tasks.audio import AudioError, open_audio
from ser_tasks.audio.samples import pcm_16

LONGEST_FILE_S = 24 * 3600.0
SPAN = re.compile(r"(?P<file>.*)#t=(?P<start_s>[\d.]*),(?P<end_s>[\d.]*)(?:&channel=(?P<channel>\d+))?")


def clip_name(file: Path, start_s: float | None = None, end_s: float | None = None, channel: int | None = None) -> str:
    """The clip's name. Without start, end and channel it is the whole file, with all channels mixed."""
    if start_s is None and end_s is None and channel is None:
        return str(file)
    ends = ",".join("" if second is None else f"{second:g}" for second in (start_s, end_s))
    return f"{file}#t={ends}" + ("" if channel is None else f"&channel={channel}")


def file_of(clip: str) -> Path:
    """The clip's audio file."""
    match = SPAN.fullmatch(clip)
    return Path(match["file"] if match else clip)


@dataclass(frozen=True)
class Stretch:
    """What a clip holds of a recording."""

    file: str
    start_s: float
    end_s: float
    channel: int | None
    """None: all channels, mixed."""

    def overlaps(self, other: "Stretch") -> bool:
        """Whether both hold a stretch of the same recording, in a channel that both have."""
        together = self.start_s < other.end_s and other.start_s < self.end_s
        return self.file == other.file and together and (None in (self.channel, other.channel) or self.channel == other.channel)


def stretch_of(clip: str) -> Stretch:
    """What the clip of that name holds of its recording."""
    match = SPAN.fullmatch(clip)
    if not match:
        return Stretch(clip, 0.0, math.inf, None)
    channel = int(match["channel"]) if match["channel"] else None
    return Stretch(match["file"], float(match["start_s"] or 0), float(match["end_s"] or math.inf), channel)


def read_clip(clip: str | Path) -> tuple[np.ndarray, int]:
    """Samples, float32 ``(channels, samples)``, and sampling rate in Hz.

    Raises ``AudioError``, with code ``no_samples`` where the span begins after the end of the file.
    """
    match = SPAN.fullmatch(str(clip))
    start_s = float(match["start_s"] or 0) if match else 0.0
    end_s = float(match["end_s"] or math.inf) if match else math.inf
    with open_audio(file_of(str(clip)), max_duration_s=LONGEST_FILE_S) as reader:
        rate_hz, blocks, read = reader.info.sampling_rate_hz, [], 0
        for block in reader.blocks():
            first, last = round(start_s * rate_hz) - read, end_s * rate_hz - read
            blocks.append(block[:, max(0, first) : max(0, math.ceil(min(last, block.shape[1])))])
            read += block.shape[1]
            if read >= end_s * rate_hz:
                break
    signal = np.concatenate(blocks, axis=1)
    if not signal.shape[1]:
        raise AudioError("no_samples", f"{clip} is empty: the file ends at {read / rate_hz:g} s.")
    if match and match["channel"]:
        if int(match["channel"]) >= len(signal):
            raise AudioError("no_channels", f"{clip} is empty: the file has {len(signal)} channels, counted from 0.")
        signal = signal[int(match["channel"])][None]
    return signal, rate_hz


def digest_of(clip: str) -> tuple[str | None, str]:
    """A hash of the clip's samples as 16 bit and an empty string, or None and the reason why the clip is unusable."""
    try:
        signal, _ = read_clip(clip)
    except (AudioError, OSError) as error:
        return None, f"not readable as audio ({error.code})" if isinstance(error, AudioError) else "not readable"
    samples = pcm_16(signal)
    return (hashlib.sha256(samples.tobytes()).hexdigest(), "") if samples.any() else (None, "silent")
