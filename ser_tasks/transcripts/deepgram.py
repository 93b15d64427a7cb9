"""Deepgram, pre-recorded audio: ``results.utterances`` where they were asked for, else the words of each channel.

https://developers.deepgram.com/reference/speech-to-text/listen-pre-recorded
"""

from typing import Any

from ser_tasks.transcripts.fields import label, maybe_seconds, number, ordered, record, records, seconds, text
from ser_tasks.transcripts.transcript import Transcript, Turn, Word, by_speaker, transcript_of

NAME = "deepgram"


def matches(document: Any) -> bool:
    results = document.get("results") if isinstance(document, dict) else None
    return isinstance(results, dict) and ("channels" in results or "utterances" in results)


def read(document: dict[str, Any]) -> Transcript:
    results = record(document["results"], "results")
    channels = records(results.get("channels"), "channels")
    turns = []
    for utterance in records(results.get("utterances"), "utterances"):
        start_s, end_s = ordered(seconds(utterance.get("start"), "start"), seconds(utterance.get("end"), "end"), "utterances")
        words = [_word(word) for word in records(utterance.get("words"), "words")]
        channel = number(utterance.get("channel"))
        turns.append(
            Turn(start_s, end_s, label(utterance.get("speaker")), text(utterance.get("transcript"), "transcript"), tuple(words), channel)
        )
    if not turns:
        for number_of, channel_results in enumerate(channels):
            for best in records(channel_results.get("alternatives"), "alternatives")[:1]:
                words_of = records(best.get("words"), "words")
                turns += by_speaker((_word(word), label(word.get("speaker")), number_of) for word in words_of)
    language = next((channel.get("detected_language") for channel in channels if channel.get("detected_language")), None)
    return transcript_of(NAME, turns, language)


def _word(word: dict[str, Any]) -> Word:
    return Word(text(word.get("punctuated_word") or word.get("word"), "word"), maybe_seconds(word, "start"), maybe_seconds(word, "end"))
