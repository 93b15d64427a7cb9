"""WhisperX, and Whisper and faster-whisper without speakers: ``segments`` with words, whose numerals may have no times.

https://github.com/m-bain/whisperX
"""

from typing import Any

from ser_tasks.transcripts.fields import label, maybe_seconds, ordered, records, seconds, text
from ser_tasks.transcripts.transcript import Transcript, Turn, Word, by_speaker, transcript_of

NAME = "whisperx"


def matches(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("segments"), list)


def read(document: dict[str, Any]) -> Transcript:
    turns: list[Turn] = []
    for segment in records(document["segments"], "segments"):
        start_s, end_s = ordered(seconds(segment.get("start"), "start"), seconds(segment.get("end"), "end"), "segments")
        speaker = label(segment.get("speaker"))
        items = records(segment.get("words"), "words")
        words = [
            Word(text(word.get("word", word.get("text")), "word").strip(), maybe_seconds(word, "start"), maybe_seconds(word, "end"))
            for word in items
        ]
        speakers = [label(word.get("speaker")) or speaker for word in items]
        if len(set(speakers)) > 1:  # a segment with a change of speakers
            turns += by_speaker(zip(words, speakers, [None] * len(words), strict=True))
        else:
            turns.append(Turn(start_s, end_s, (speakers or [speaker])[0], text(segment.get("text"), "text").strip(), tuple(words)))
    return transcript_of(NAME, turns, document.get("language"))
