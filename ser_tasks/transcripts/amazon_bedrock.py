"""Amazon Bedrock Data Automation, standard output of audio: ``audio_segments``, whose words are ``audio_items``.

https://docs.aws.amazon.com/bedrock/latest/userguide/bda-ouput-audio.html
"""

from typing import Any

from ser_tasks.transcripts.fields import label, maybe_seconds, number, ordered, record, records, seconds, text
from ser_tasks.transcripts.transcript import Transcript, Turn, Word, transcript_of

NAME = "amazon_bedrock"
MS = 0.001


def matches(document: Any) -> bool:
    return isinstance(document, dict) and "audio_segments" in document


def read(document: dict[str, Any]) -> Transcript:
    items = _items(document)
    turns = []
    for segment in records(document["audio_segments"], "audio_segments"):
        begin, end = "start_timestamp_millis", "end_timestamp_millis"
        start_s, end_s = ordered(seconds(segment.get(begin), begin, MS), seconds(segment.get(end), end, MS), "audio_segments")
        speaker = label(record(segment.get("speaker") or {}, "speaker").get("speaker_label"))
        channel = number(record(segment.get("channel") or {}, "channel").get("channel_label"))
        words = items.get(number(segment.get("segment_index")), ())
        turns.append(Turn(start_s, end_s, speaker, text(segment.get("text"), "text"), tuple(words), channel))
    facts = record(document.get("metadata") or {}, "metadata")
    return transcript_of(NAME, turns, facts.get("dominant_asset_language"))


def _items(document: dict[str, Any]) -> dict[int | None, list[Word]]:
    """The words of each segment, by its number."""
    words: dict[int | None, list[Word]] = {}
    for item in records(document.get("audio_items"), "audio_items"):
        of = words.setdefault(number(item.get("audio_segment_index")), [])
        content = text(item.get("content"), "content")
        start_s, end_s = maybe_seconds(item, "start_timestamp_millis", MS), maybe_seconds(item, "end_timestamp_millis", MS)
        if start_s is None and of:  # punctuation
            of[-1] = Word(of[-1].text + content, of[-1].start_s, of[-1].end_s)
        else:
            of.append(Word(content, start_s, end_s))
    return words
