"""AssemblyAI: ``utterances`` where speakers or channels were asked for, else ``words``; times in milliseconds.

https://www.assemblyai.com/docs/api-reference/transcripts/get
"""

from typing import Any

from ser_tasks.transcripts.fields import label, maybe_seconds, number, ordered, records, seconds, text
from ser_tasks.transcripts.transcript import Transcript, Turn, Word, by_speaker, transcript_of

NAME = "assemblyai"
MS = 0.001


def matches(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    return "audio_url" in document or {"utterances", "words"} <= document.keys() or {"words", "acoustic_model"} <= document.keys()


def read(document: dict[str, Any]) -> Transcript:
    dual = document.get("multichannel") is True or document.get("dual_channel") is True
    turns = []
    for utterance in records(document.get("utterances"), "utterances"):
        start_s, end_s = ordered(seconds(utterance.get("start"), "start", MS), seconds(utterance.get("end"), "end", MS), "utterances")
        words = [_word(word) for word in records(utterance.get("words"), "words")]
        speaker, channel = label(utterance.get("speaker")), _channel(utterance, dual)
        turns.append(Turn(start_s, end_s, speaker, text(utterance.get("text"), "text"), tuple(words), channel))
    if not turns:
        of = records(document.get("words"), "words")
        turns = by_speaker((_word(word), label(word.get("speaker")), _channel(word, dual)) for word in of)
    return transcript_of(NAME, turns, document.get("language_code"))


def _channel(item: dict[str, Any], dual: bool) -> int | None:
    """The channel, from 0: channels are numbered from 1, and older transcripts of two have them as speakers A and B, or 1 and 2."""
    stated = number(item.get("channel"))
    if stated is None and dual:
        speaker = label(item.get("speaker")) or ""
        stated = {"A": 1, "B": 2}.get(speaker.upper(), number(speaker))
    return stated - 1 if stated else None


def _word(word: dict[str, Any]) -> Word:
    return Word(text(word.get("text"), "text"), maybe_seconds(word, "start", MS), maybe_seconds(word, "end", MS))
