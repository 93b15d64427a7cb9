"""Google Cloud Speech-to-Text, version 1 and 2, of one file or a batch: ``results`` with alternatives; times as ``"1.200s"``.

https://cloud.google.com/speech-to-text/docs/reference/rest/v2/BatchRecognizeResults
"""

from typing import Any

from ser_tasks.transcripts.fields import label, number, records, seconds, text
from ser_tasks.transcripts.transcript import Transcript, TranscriptError, Turn, Word, by_speaker, transcript_of

NAME = "google"


def matches(document: Any) -> bool:
    return _results(document) is not None


def read(document: dict[str, Any]) -> Transcript:
    results = records(_results(document), "results")
    spoken = [(result, best) for result in results for best in records(result.get("alternatives"), "alternatives")[:1]]
    tagged = [each for each in spoken if any(_speaker(word) for word in _words(each[1]))]
    last = tagged[-1:] if tagged and not any("speakerLabel" in w or "speaker_label" in w for w in _words(tagged[-1][1])) else []
    words: list[tuple[Word, str | None, int | None]] = []
    untimed: list[Turn] = []
    end_s = 0.0
    for result, best in last or spoken:  # in version 1 the last result repeats all words, with their speakers
        channel = number(_either(result, "channelTag"))
        channel = channel - 1 if channel else None
        found = [(_word(word), _speaker(word), channel) for word in _words(best)]
        words += found
        until = _either(result, "resultEndTime", "resultEndOffset")
        start_s, end_s = end_s, seconds(until, "resultEndTime") if until is not None else end_s
        said = text(best.get("transcript"), "transcript")
        if not found and said.strip():
            if until is None:
                raise TranscriptError("A result has no times: ask for enableWordTimeOffsets, and transcribe again.")
            untimed.append(Turn(min(start_s, end_s), end_s, None, said, (), channel))
    turns = [turn for channel in dict.fromkeys(each[2] for each in words) for turn in by_speaker(w for w in words if w[2] == channel)]
    language = next((code for result in results if (code := _either(result, "languageCode"))), None)
    return transcript_of(NAME, turns + untimed, language)


def _results(document: Any) -> list[Any] | None:
    """The list of results, wherever the document has it: at the top, in the response of an operation, or for the one file of a batch."""
    for _ in range(6):
        if not isinstance(document, dict):
            break
        inner = document.get("results")
        if isinstance(inner, list) and (
            not inner or isinstance(inner[0], dict) and ("alternatives" in inner[0] or "channelTag" in inner[0])
        ):
            return inner
        if isinstance(inner, dict) and len(inner) == 1 and isinstance(only := next(iter(inner.values())), dict):
            document = only.get("inlineResult") or only.get("inline_result") or only
            continue
        document = next((document[name] for name in ("response", "transcript") if isinstance(document.get(name), dict)), None)
    return None


def _either(item: dict[str, Any], *names: str) -> Any:
    """A field by any of its names, as JSON or as protobuf writes them: channelTag and channel_tag."""
    for name in names:
        for written in (name, "".join(f"_{c.lower()}" if c.isupper() else c for c in name)):
            if item.get(written) is not None:
                return item[written]
    return None


def _words(best: dict[str, Any]) -> list[dict[str, Any]]:
    return records(best.get("words"), "words")


def _speaker(word: dict[str, Any]) -> str | None:
    found = label(_either(word, "speakerLabel", "speakerTag"))
    return None if found == "0" else found


def _word(word: dict[str, Any]) -> Word:
    end = _either(word, "endTime", "endOffset")
    if end is None:
        return Word(text(word.get("word"), "word"))
    start = _either(word, "startTime", "startOffset")  # a time of 0 is left out
    start_s = seconds(start, "startTime") if start is not None else 0.0
    return Word(text(word.get("word"), "word"), start_s, seconds(end, "endTime"))
