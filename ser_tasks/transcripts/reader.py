"""Reads a transcript, whichever service made it: the format is detected by content, never by name."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ser_tasks.transcripts import (
    amazon_bedrock,
    amazon_call_analytics,
    amazon_pca,
    amazon_transcribe,
    assemblyai,
    azure,
    cues,
    deepgram,
    google,
    plain_turns,
    whisperx,
)
from ser_tasks.transcripts.fields import ranges
from ser_tasks.transcripts.transcript import Transcript, TranscriptError

LIMIT_BYTES = 32 << 20
"""Larger files are no transcript of one call: with every word's time, 4 hours take some 12 MB."""

JSON_FORMATS: dict[str, tuple[Callable[[Any], bool], Callable[[dict[str, Any]], Transcript]]] = {
    amazon_call_analytics.NAME: (amazon_call_analytics.matches, amazon_call_analytics.read),
    amazon_pca.NAME: (amazon_pca.matches, amazon_pca.read),
    amazon_bedrock.NAME: (amazon_bedrock.matches, amazon_bedrock.read),
    amazon_transcribe.NAME: (amazon_transcribe.matches, amazon_transcribe.read),
    azure.NAME: (azure.matches, azure.read),
    deepgram.NAME: (deepgram.matches, deepgram.read),
    google.NAME: (google.matches, google.read),
    assemblyai.NAME: (assemblyai.matches, assemblyai.read),
    whisperx.NAME: (whisperx.matches, whisperx.read),
    plain_turns.NAME: (plain_turns.matches, plain_turns.read),
}
"""Whether a document is of a format, and its reader; the first that matches reads."""
TEXT_FORMATS: dict[str, tuple[Callable[[str], bool], Callable[[str], Transcript]]] = {
    cues.VTT: (cues.is_vtt, cues.read_vtt),
    cues.SRT: (cues.is_srt, cues.read_srt),
}
FORMATS = (*JSON_FORMATS, *TEXT_FORMATS)


def read_transcript(data: bytes) -> Transcript:
    """The transcript in a file's bytes: UTF-8, or UTF-16 with a byte order mark.

    Raises TranscriptError where it is too large, is of no known format, or cannot be read.
    """
    if len(data) > LIMIT_BYTES:
        raise TranscriptError(f"It has more than {LIMIT_BYTES:,} bytes: a transcript of one call is smaller. Check the file.")
    written = _decoded(data)
    if written.lstrip()[:1] in ("{", "["):
        return _of_document(_json(written))
    for matches, read in TEXT_FORMATS.values():
        if matches(written):
            return read(written)
    raise TranscriptError(f"It has {len(data):,} bytes of no known format: the formats are {', '.join(FORMATS)}.")


def _of_document(document: Any) -> Transcript:
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    for matches, read in JSON_FORMATS.values():
        if matches(document):
            found = read(document)
            stated = ranges(document.get("redact"))
            return replace(found, redact=tuple(sorted((*found.redact, *stated))))
    raise TranscriptError(f"It is JSON of no known format: the formats are {', '.join(FORMATS)}.")


def _decoded(data: bytes) -> str:
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        written = data.decode(encoding)
    except UnicodeDecodeError:
        raise TranscriptError(f"Its {len(data):,} bytes are not UTF-8 text: save it as UTF-8.") from None
    return written.replace("\r\n", "\n").replace("\r", "\n").lstrip("\ufeff\n ")


def _json(written: str) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a number")

    try:
        return json.loads(written, parse_constant=refuse)
    except RecursionError:
        raise TranscriptError("It is JSON that is nested too deeply: a transcript is not. Check the file.") from None
    except ValueError as error:
        where = f" at character {error.pos:,}" if isinstance(error, json.JSONDecodeError) else ""
        raise TranscriptError(f"It is no whole JSON document{where}: it may be cut off. Export the transcript again.") from None
