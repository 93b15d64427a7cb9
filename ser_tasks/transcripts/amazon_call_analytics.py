"""Amazon Transcribe Call Analytics, and Contact Lens of Amazon Connect: ``Transcript``, a list of turns with participants.

https://docs.aws.amazon.com/transcribe/latest/dg/tca-post-call.html
"""

from typing import Any

from ser_tasks.transcripts.fields import label, maybe_seconds, ordered, record, records, seconds, text
from ser_tasks.transcripts.transcript import Transcript, Turn, Word, transcript_of

NAME = "amazon_call_analytics"
MS = 0.001


def matches(document: Any) -> bool:
    turns = document.get("Transcript") if isinstance(document, dict) else None
    return isinstance(turns, list)


def read(document: dict[str, Any]) -> Transcript:
    participants = records(document.get("Participants"), "Participants")
    named = {
        name: role
        for each in participants
        if (name := label(each.get("ParticipantId"))) and (role := label(each.get("ParticipantRole"))) is not None
    }
    turns, redact = [], []
    for turn in records(document["Transcript"], "Transcript"):
        start_s, end_s = _span(turn)
        speaker = label(turn.get("ParticipantRole")) or label(turn.get("ParticipantId"))
        turns.append(Turn(start_s, end_s, speaker, text(turn.get("Content"), "Content"), tuple(_words(turn))))
        redaction = record(turn.get("Redaction") or {}, "Redaction")
        redact += [_span(each) for each in records(redaction.get("RedactedTimestamps"), "RedactedTimestamps")]
    return transcript_of(NAME, turns, document.get("LanguageCode"), tuple(sorted(redact)), named)


def _span(item: dict[str, Any]) -> tuple[float, float]:
    begin, end = "BeginOffsetMillis", "EndOffsetMillis"
    return ordered(seconds(item.get(begin), begin, MS), seconds(item.get(end), end, MS), "a turn")


def _words(turn: dict[str, Any]) -> list[Word]:
    words: list[Word] = []
    for item in records(turn.get("Items"), "Items"):
        content = text(item.get("Content"), "Content")
        if item.get("Type") == "punctuation" and words:
            words[-1] = Word(words[-1].text + content, words[-1].start_s, words[-1].end_s)
        else:
            words.append(Word(content, maybe_seconds(item, "BeginOffsetMillis", MS), maybe_seconds(item, "EndOffsetMillis", MS)))
    return words
