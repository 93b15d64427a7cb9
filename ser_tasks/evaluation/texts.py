"""What is said in labelled clips: as their corpus states it, or as a transcript beside the recording does."""

import pandas as pd

from ser_tasks.datasets.clip import SPAN, file_of
from ser_tasks.transcripts.reader import read_transcript

SUFFIXES = (".transcript.json", ".vtt", ".srt")
"""Of transcripts beside a recording, the first that is there."""


def texts_of(clips: pd.DataFrame) -> list[str]:
    """The words of each clip, as ``text_of``."""
    stated = clips["text"] if "text" in clips else [None] * len(clips)
    return [text_of(clip, text) for clip, text in zip(clips["file"], stated, strict=True)]


def text_of(clip: str, stated: str | None) -> str:
    """The words of a clip, empty where they are not known: those that its corpus states, else those of a transcript beside it.

    Of a clip that is a part of a recording, the turns of the transcript that start in it. Raises ``TranscriptError`` for a transcript
    that cannot be read.
    """
    if isinstance(stated, str):
        return stated
    file = file_of(clip)
    beside = next((path for suffix in SUFFIXES if (path := file.with_suffix(suffix)).is_file()), None)
    if beside is None:
        return ""
    turns = read_transcript(beside.read_bytes()).turns
    if span := SPAN.fullmatch(clip):
        first_s, last_s = float(span["start_s"] or 0), float(span["end_s"] or "inf")
        channel = int(span["channel"]) if span["channel"] else None
        turns = tuple(turn for turn in turns if first_s <= turn.start_s < last_s and channel in (None, turn.channel))
    return " ".join(turn.text for turn in turns)
