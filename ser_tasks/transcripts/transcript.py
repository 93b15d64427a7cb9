"""What a transcript is, whichever service made it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ser_tasks.calls.roles import roles_of
from ser_tasks.calls.turns import MOST_TURNS

PAUSE_S = 1.0
"""Words of one speaker that are so far apart are two turns: a turn holds no long silence."""
MOST_WORDS = 400_000
"""Of one transcript: ten times those of a 4-hour call."""


class TranscriptError(ValueError):
    """A transcript cannot be read. The text has the value, the rule and the way out, and nothing that was said."""


@dataclass(frozen=True)
class Word:
    """One word, as written, and when it was said; times are None where the service gives none."""

    text: str
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True)
class Turn:
    """A stretch of one person's speech, in seconds from the start of the recording."""

    start_s: float
    end_s: float
    speaker: str | None
    """As the service names the person, such as spk_0; None where it does not say."""
    text: str
    words: tuple[Word, ...] = ()
    """Empty where the service gives the text alone."""
    channel: int | None = None
    """Channel of the recording, from 0; None where the service does not say."""
    role: str | None = None
    """agent or customer; None where the transcript does not say."""


@dataclass(frozen=True)
class Transcript:
    """The turns of a call, in order of their start; those of several people may overlap."""

    format: str
    """The name of the reader in FORMATS."""
    turns: tuple[Turn, ...]
    language: str | None = None
    redact: tuple[tuple[float, float], ...] = ()
    """Stretches that nobody may hear, seconds, in order."""

    @property
    def end_s(self) -> float:
        return max((turn.end_s for turn in self.turns), default=0.0)


def transcript_of(
    format_name: str,
    turns: Iterable[Turn],
    language: object = None,
    redact: tuple[tuple[float, float], ...] = (),
    named: dict[str, str] | None = None,
    textless: bool = False,
) -> Transcript:
    """A transcript with its turns in order and their roles. ``named`` has words for speakers, as ``{"spk_0": "Agent"}``; turns without
    text are left out unless ``textless``.

    Raises TranscriptError where there are too many turns or words.
    """
    ordered = sorted((turn for turn in turns if textless or turn.text.strip()), key=lambda turn: (turn.start_s, turn.end_s))
    if len(ordered) > MOST_TURNS:
        raise TranscriptError(f"It has {len(ordered):,} turns, more than {MOST_TURNS:,}: it cannot be of one call. Check the file.")
    words = sum(len(turn.words) for turn in ordered)
    if words > MOST_WORDS:
        raise TranscriptError(f"It has {words:,} words, more than {MOST_WORDS:,}: it cannot be of one call. Check the file.")
    roles = _roles([turn.speaker for turn in ordered if turn.speaker], named or {})
    with_roles = tuple(replace(turn, role=roles.get(turn.speaker or "")) for turn in ordered)
    return Transcript(format_name, with_roles, language if isinstance(language, str) and language.strip() else None, redact)


def by_speaker(words: Iterable[tuple[Word, str | None, int | None]]) -> list[Turn]:
    """Turns of words with their speakers and channels: cut where speaker or channel change, and at pauses.

    Words without times belong to the turn of the word before them, or to that of the first word with times.
    """
    turns: list[Turn] = []
    run: list[Word] = []
    of: tuple[str | None, int | None] = None, None
    for word, speaker, channel in words:
        known = [each.end_s for each in run if each.end_s is not None]
        apart = bool(known) and word.start_s is not None and word.start_s - max(known) > PAUSE_S
        if run and known and (apart or (word.start_s is not None and (speaker, channel) != of)):
            turns += _turn(run, *of)
            run = []
        if not run or not known:
            of = speaker, channel
        run.append(word)
    return turns + _turn(run, *of)


def joined(words: Iterable[Word]) -> str:
    """The text of words: punctuation follows its word without a space."""
    return re.sub(r"\s+([.,!?;:…])", r"\1", " ".join(word.text for word in words if word.text))


def _turn(words: list[Word], speaker: str | None, channel: int | None) -> list[Turn]:
    starts = [word.start_s for word in words if word.start_s is not None]
    ends = [word.end_s for word in words if word.end_s is not None]
    if not starts or not ends:
        return []
    start_s = min(starts)
    return [Turn(start_s, max([*ends, start_s]), speaker, joined(words), tuple(words), channel)]


def _roles(speakers: list[str], named: dict[str, str]) -> dict[str, str]:
    """The role of each speaker whose name is a word for agent or customer: ``AGENT``, ``Agent 1``, ``csr``."""
    words = {speaker: re.sub(r"[\s_#-]*\d+$", "", named.get(speaker, speaker)) for speaker in dict.fromkeys(speakers)}
    numbers = dict(enumerate(words))
    roles = roles_of({number: words[speaker] for number, speaker in numbers.items()})
    return {numbers[number]: role for number, role in roles.items() if role in ("agent", "customer")}
