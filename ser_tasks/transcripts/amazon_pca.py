"""Amazon's post-call analytics solution (PCA): ``ConversationAnalytics`` and ``SpeechSegments``, which name speakers as people do.

https://github.com/aws-samples/amazon-transcribe-post-call-analytics
"""

from typing import Any

from ser_tasks.transcripts.fields import label, maybe_seconds, ordered, record, records, seconds, text
from ser_tasks.transcripts.transcript import Transcript, Turn, Word, transcript_of

NAME = "amazon_pca"


def matches(document: Any) -> bool:
    return isinstance(document, dict) and "SpeechSegments" in document


def read(document: dict[str, Any]) -> Transcript:
    facts = record(document.get("ConversationAnalytics") or {}, "ConversationAnalytics")
    named = {
        speaker: name
        for each in records(facts.get("SpeakerLabels"), "SpeakerLabels")
        if (speaker := label(each.get("Speaker"))) and (name := label(each.get("DisplayText")))
    }
    turns = []
    for segment in records(document["SpeechSegments"], "SpeechSegments"):
        start_s, end_s = ordered(
            seconds(segment.get("SegmentStartTime"), "SegmentStartTime"),
            seconds(segment.get("SegmentEndTime"), "SegmentEndTime"),
            "SpeechSegments",
        )
        content = text(segment.get("DisplayText") or segment.get("OriginalText"), "DisplayText")
        words = [
            Word(text(word.get("Text"), "Text"), maybe_seconds(word, "StartTime"), maybe_seconds(word, "EndTime"))
            for word in records(segment.get("WordConfidence"), "WordConfidence")
        ]
        turns.append(Turn(start_s, end_s, label(segment.get("SegmentSpeaker")), content, tuple(words)))
    return transcript_of(NAME, turns, facts.get("LanguageCode"), (), named)
