"""WebVTT and SRT: cues with times and text, whose speakers are voice tags (``<v Agent>``), ``[Agent]`` or ``Agent:``.

https://www.w3.org/TR/webvtt1/
"""

import html
import re

from ser_tasks.transcripts.fields import label, ordered, seconds
from ser_tasks.transcripts.transcript import Transcript, TranscriptError, Turn, transcript_of

VTT, SRT = "webvtt", "srt"
_ARROW = re.compile(r"\s*(?P<start>[\d:.,]+)\s*-->\s*(?P<end>[\d:.,]+)(?:[ \t].*)?")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?[ \t]+([^>]*)>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|</>|<\d[\d:.]*>|\{\\[^}]*\}")
_BRACKETS = re.compile(r"\s*[\[(]([^\])]{1,40})[\])]\s*:?\s*")
_NAME = re.compile(r"(?:-\s*)?([^\W\d_][\w .'-]{0,39}?)\s*:\s+(?=\S)")


def is_vtt(written: str) -> bool:
    return bool(re.match(r"WEBVTT(?:[ \t\n]|\Z)", written))


def is_srt(written: str) -> bool:
    return any(_ARROW.fullmatch(line) for line in written.split("\n", 50)[:50])


def read_vtt(written: str) -> Transcript:
    return _read(VTT, written.partition("\n")[2])


def read_srt(written: str) -> Transcript:
    return _read(SRT, written)


def _read(format_name: str, written: str) -> Transcript:
    """Blocks between blank lines. One without an arrow (NOTE, STYLE, REGION, a header) holds no cue."""
    turns: list[Turn] = []
    for block in re.split(r"\n[ \t]*\n+", written):
        lines = [line for line in block.split("\n") if line.strip()]
        at = next((index for index, line in enumerate(lines[:2]) if "-->" in line), None)
        if at is None:
            continue
        match = _ARROW.fullmatch(lines[at])
        if match is None:
            raise TranscriptError("A cue's times cannot be read: write them as 00:00:01.200 --> 00:00:02.500. Export the transcript again.")
        times = ordered(seconds(match["start"], "a cue's start"), seconds(match["end"], "a cue's end"), "a cue")
        body: list[str] = []
        for line in lines[at + 1 :]:
            if _ARROW.fullmatch(line):  # the blank line between two cues is missing
                turns += _turns(times, body[:-1] if body and body[-1].strip().isdigit() else body)
                match = _ARROW.fullmatch(line)
                assert match is not None
                times, body = ordered(seconds(match["start"], "a cue's start"), seconds(match["end"], "a cue's end"), "a cue"), []
            else:
                body.append(line)
        turns += _turns(times, body)
    return transcript_of(format_name, turns)


def _turns(times: tuple[float, float], body: list[str]) -> list[Turn]:
    """The turns of one cue: one for each voice tag in it; they share its time by their lengths."""
    joined = "\n".join(body)
    marks = list(_VOICE.finditer(joined))
    if not marks:
        return [Turn(*times, *_named(_plain(joined)))]
    pieces = [(None, joined[: marks[0].start()])] if joined[: marks[0].start()].strip() else []
    for index, mark in enumerate(marks):
        end = marks[index + 1].start() if index + 1 < len(marks) else len(joined)
        pieces.append((label(html.unescape(mark[1])), joined[mark.end() : end]))  # type: ignore[arg-type]
    said = [(speaker, _plain(piece)) for speaker, piece in pieces]
    total = sum(len(piece) for _, piece in said) or 1
    turns, done = [], 0
    for speaker, piece in said:
        start_s = times[0] + (times[1] - times[0]) * done / total
        done += len(piece)
        turns.append(Turn(start_s, times[0] + (times[1] - times[0]) * done / total, speaker, piece))
    return turns


def _named(said: str) -> tuple[str | None, str]:
    """The speaker that a cue begins with, and what is said."""
    for pattern in (_BRACKETS, _NAME):
        if (match := pattern.match(said)) and said[match.end() :].strip():
            return label(match[1]), said[match.end() :]
    return None, said


def _plain(said: str) -> str:
    return " ".join(html.unescape(_TAG.sub("", said)).split())
