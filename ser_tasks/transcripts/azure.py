"""Azure Speech: batch transcription (``recognizedPhrases``, times as ISO 8601 durations and ticks of 100 ns) and fast transcription.

https://learn.microsoft.com/azure/ai-services/speech-service/batch-transcription-get
"""

from typing import Any

from ser_tasks.transcripts.fields import label, maybe_seconds, number, record, records, seconds, text
from ser_tasks.transcripts.transcript import Transcript, Turn, Word, transcript_of

NAME = "azure"
TICK_S, MS = 1e-7, 0.001
_UNITS = (("InTicks", TICK_S), ("", TICK_S), ("Milliseconds", MS), ("InMilliseconds", MS))
"""Ends of the names of times, and the unit of their plain numbers."""


def matches(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    fast = "phrases" in document and ("combinedPhrases" in document or "durationMilliseconds" in document)
    return "recognizedPhrases" in document or "combinedRecognizedPhrases" in document or fast


def read(document: dict[str, Any]) -> Transcript:
    phrases = records(document.get("recognizedPhrases", document.get("phrases")), "recognizedPhrases")
    turns = []
    for phrase in phrases:
        start_s, end_s = _span(phrase)
        best = records(phrase.get("nBest"), "nBest")[:1]
        said = record(best[0] if best else phrase, "nBest")
        content = text(next((said[name] for name in ("display", "text", "maskedITN", "itn", "lexical") if said.get(name)), None), "display")
        timed = said.get("displayWords") or said.get("words") or said.get("displayPhraseElements")
        words = [_word(word) for word in records(timed, "words")]
        channel, speaker = number(phrase.get("channel")), label(phrase.get("speaker"))
        turns.append(Turn(start_s, end_s, speaker, content, tuple(words), channel))
    language = next((phrase.get("locale") for phrase in phrases if phrase.get("locale")), document.get("locale"))
    return transcript_of(NAME, turns, language)


def _word(word: dict[str, Any]) -> Word:
    content = text(word.get("displayText", word.get("word", word.get("text"))), "word")
    timed = any(word.get(f"offset{ending}") is not None for ending, _ in _UNITS)
    return Word(content, *_span(word)) if timed else Word(content)


def _span(item: dict[str, Any]) -> tuple[float, float]:
    start_s, length_s = _time(item, "offset"), _time(item, "duration")
    return start_s, start_s + length_s


def _time(item: dict[str, Any], name: str) -> float:
    for ending, unit_s in _UNITS:
        found = maybe_seconds(item, name + ending, unit_s)
        if found is not None:
            return found
    return seconds(None, name)
