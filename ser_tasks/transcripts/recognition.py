"""Transcripts made here, for calls that have none: the speech that was found goes through a recogniser, and comes back as turns of words.

Only speech is recognised: silences and hold music, which the detector left out, are skipped. Each channel's spans are packed into windows
of up to WINDOW_S, as the time of a recogniser that pads to 30 s goes by their number.
"""

import hashlib
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from ser_tasks.audio.samples import FULL_SCALE, Samples
from ser_tasks.audio.vad import Span, segments
from ser_tasks.schemas import SAMPLING_RATE_HZ
from ser_tasks.transcripts.transcript import Transcript, Turn, Word, by_speaker, transcript_of

RATE_HZ = 16_000
"""Of what recognisers take."""
WINDOW_S = 28.0
PAD_S = 0.2
"""Kept on both sides of a span of speech: the detector cuts close."""
LEAST_S = 0.1
"""Shorter pieces of speech hold no word."""
SOURCE = "asr"
"""What the format of such a transcript begins with; the recogniser's id follows, after a colon."""

Audio = NDArray[np.float32]


class Recogniser(Protocol):
    """Turns speech into words. ``audio`` is float32 (samples,) at RATE_HZ, up to 30 s."""

    def language_of(self, audio: Audio) -> str | None:
        """The language that is spoken, as ``en``; None where that is not sure."""

    def knows(self, language: str) -> bool:
        """Whether it can be told that this language is spoken."""

    def words(self, audio: Audio, language: str | None) -> list[Word]:
        """The words with their times in the audio, in order; none where what it has may be made up."""


@dataclass(frozen=True)
class RecogniserSpec:
    """Which recogniser a worker loads, and where it computes."""

    folder: str
    """The folder of its model, on every machine."""
    device: str
    """cpu or cuda."""
    recogniser_id: str
    """Hash of the model's files, and the precision."""
    module: str = "ser_tasks.transcripts.faster_whisper"
    """The module whose ``load(folder, device)`` gives it."""

    @property
    def format(self) -> str:
        """As the column ``words_source`` has it."""
        return f"{SOURCE}:{self.recogniser_id}"


@lru_cache(maxsize=1)
def load(spec: RecogniserSpec) -> Recogniser:
    """The recogniser, loaded once in a process."""
    recogniser: Recogniser = importlib.import_module(spec.module).load(spec.folder, spec.device)
    return recogniser


def hash_of(folder: Path, precision: str) -> str:
    """The id of a model: of its files' names and bytes, and of the precision it computes in."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with path.open("rb") as file:
            digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return f"{digest.hexdigest()[:12]}-{precision}"


@dataclass(frozen=True)
class Window:
    """Pieces of one channel's speech that are recognised at once, one after the other."""

    channel: int
    pieces: tuple[Span, ...]

    def audio(self, call: Samples) -> Audio:
        samples = np.concatenate([call.read(piece.start, piece.end)[self.channel] for piece in self.pieces])
        resampled: Audio = soxr.resample(samples.astype(np.float32) / FULL_SCALE, SAMPLING_RATE_HZ, RATE_HZ, "HQ")
        return resampled

    def in_call(self, time_s: float) -> float:
        """The time in the call of a time in the window."""
        before = 0.0
        for piece in self.pieces:
            if time_s <= before + piece.seconds:
                return piece.start / SAMPLING_RATE_HZ + max(0.0, time_s - before)
            before += piece.seconds
        return self.pieces[-1].end / SAMPLING_RATE_HZ


def windows(channel: int, spans: Sequence[Span], probabilities: NDArray[np.float32], samples: int) -> Iterator[Window]:
    """The windows of a channel's spans of speech, in order. Spans that are longer than a window are cut where speech is least probable."""
    pad = int(PAD_S * SAMPLING_RATE_HZ)
    longest = int(WINDOW_S * SAMPLING_RATE_HZ)
    whole = [part for span in spans for part in segments(span, probabilities, LEAST_S, WINDOW_S - 2 * PAD_S)]
    edges = [0, *((one.end + after.start) // 2 for one, after in zip(whole, whole[1:], strict=False)), samples]
    held: list[Span] = []
    for part, low, high in zip(whole, edges, edges[1:], strict=False):
        piece = Span(max(part.start - pad, low), min(part.end + pad, high))
        if held and sum(each.end - each.start for each in held) + piece.end - piece.start > longest:
            yield Window(channel, tuple(held))
            held = []
        held.append(piece)
    if held:
        yield Window(channel, tuple(held))


def recognised(
    call: Samples,
    spoken: Sequence[Sequence[Span]],
    probabilities: NDArray[np.float32],
    language: str | None,
    spec: RecogniserSpec,
) -> Transcript:
    """The words of a call: of the spans of speech of each channel; ``probabilities`` of speech are (channels, detector windows).

    ``language`` is what the call's facts say, as ``en`` or ``en-US``; without it, the language of the window with most speech counts for
    the whole call. Turns have a channel, and no speaker: who speaks on a mono mix is not told by words' times.
    """
    recogniser = load(spec)
    found = [each for channel, spans in enumerate(spoken) for each in windows(channel, spans, probabilities[channel], call.samples)]
    stated = (language or "").replace("_", "-").split("-")[0].lower()
    if not found:
        return Transcript(spec.format, (), stated or None)
    if not recogniser.knows(stated):
        longest = max(found, key=lambda window: sum(piece.seconds for piece in window.pieces))
        stated = recogniser.language_of(longest.audio(call)) or ""
    turns: list[Turn] = []
    for window in found:
        words = [_placed(word, window) for word in recogniser.words(window.audio(call), stated or None)]
        turns += by_speaker((word, None, window.channel) for word in words)
    return transcript_of(spec.format, turns, stated or None)


def _placed(word: Word, window: Window) -> Word:
    """A word with its times in the call; one that would reach over a cut ends with its piece."""
    if word.start_s is None or word.end_s is None:
        return word
    start_s, end_s = window.in_call(word.start_s), window.in_call(word.end_s)
    return Word(word.text, start_s, min(end_s, start_s + word.end_s - word.start_s))
