"""Amazon Transcribe, the standard API: ``results.items``, with speaker or channel labels where they were asked for.

https://docs.aws.amazon.com/transcribe/latest/dg/how-input.html
"""

from typing import Any

from ser_tasks.transcripts.fields import label, maybe_seconds, number, ordered, record, records, seconds, text
from ser_tasks.transcripts.transcript import Transcript, Turn, Word, by_speaker, transcript_of

NAME = "amazon_transcribe"


def matches(document: Any) -> bool:
    results = document.get("results") if isinstance(document, dict) else None
    return isinstance(results, dict) and ("items" in results or "audio_segments" in results) and "channels" not in results


def read(document: dict[str, Any]) -> Transcript:
    results = record(document["results"], "results")
    labels = results.get("channel_labels")
    channels = records(record(labels, "channel_labels").get("channels"), "channels") if labels is not None else []
    if channels:
        words = [
            each
            for channel in channels
            for each in _words(records(channel.get("items"), "items"), {}, number(channel.get("channel_label")))
        ]
        turns = [turn for channel in dict.fromkeys(each[2] for each in words) for turn in by_speaker(w for w in words if w[2] == channel)]
    else:
        turns = by_speaker(_words(records(results.get("items"), "items"), _speakers(results), None))
        if not turns:
            turns = _segments(results)
    return transcript_of(NAME, turns, results.get("language_code"))


def _speakers(results: dict[str, Any]) -> dict[float, str | None]:
    """The speaker of the item that starts at each time."""
    labels = record(results.get("speaker_labels") or {}, "speaker_labels")
    found: dict[float, str | None] = {}
    for segment in records(labels.get("segments"), "segments"):
        for item in records(segment.get("items"), "items"):
            if (start_s := maybe_seconds(item, "start_time")) is not None:
                found[start_s] = label(item.get("speaker_label", segment.get("speaker_label")))
    return found


def _words(
    items: list[dict[str, Any]], speakers: dict[float, str | None], channel: int | None
) -> list[tuple[Word, str | None, int | None]]:
    words: list[tuple[Word, str | None, int | None]] = []
    for item in items:
        best = records(item.get("alternatives"), "alternatives")[:1]
        content = text(best[0].get("content"), "content") if best else ""
        start_s, end_s = maybe_seconds(item, "start_time"), maybe_seconds(item, "end_time")
        if item.get("type") == "punctuation" and words:
            word, speaker, of = words[-1]
            words[-1] = Word(word.text + content, word.start_s, word.end_s), speaker, of
            continue
        speaker = label(item.get("speaker_label")) or (speakers.get(start_s) if start_s is not None else None)
        own = number(item.get("channel_label"))
        words.append((Word(content, start_s, end_s), speaker, channel if own is None else own))
    return words


def _segments(results: dict[str, Any]) -> list[Turn]:
    turns = []
    for segment in records(results.get("audio_segments"), "audio_segments"):
        start_s, end_s = ordered(
            seconds(segment.get("start_time"), "start_time"), seconds(segment.get("end_time"), "end_time"), "audio_segments"
        )
        channel = number(segment.get("channel_label"))
        turns.append(Turn(start_s, end_s, label(segment.get("speaker_label")), text(segment.get("transcript"), "transcript"), (), channel))
    return turns
