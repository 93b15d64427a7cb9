"""A plain list of turns, for centres that convert: ``{"turns": [{"start_s": 0.5, "end_s": 3.2, "role": "agent", "text": "Hello."}]}``."""

from typing import Any

from ser_tasks.transcripts.fields import label, number, ordered, records, seconds, text
from ser_tasks.transcripts.transcript import Transcript, Turn, transcript_of

NAME = "turns"


def matches(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("turns"), list)


def read(document: dict[str, Any]) -> Transcript:
    turns = []
    for turn in records(document["turns"], "turns"):
        start_s, end_s = ordered(seconds(turn.get("start_s"), "start_s"), seconds(turn.get("end_s"), "end_s"), "turns")
        speaker = label(turn.get("role")) or label(turn.get("speaker"))
        turns.append(Turn(start_s, end_s, speaker, text(turn.get("text"), "text"), (), number(turn.get("channel"))))
    return transcript_of(NAME, turns, document.get("language"), textless=True)
