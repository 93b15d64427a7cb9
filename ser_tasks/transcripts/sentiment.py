"""Sentiment of words, from -1 to 1, by a lexicon: of what was said, never of how it sounded. English only.

VADER (Hutto and Gilbert, ICWSM 2014; MIT): 7,500 words rated by people, with rules for negation, emphasis and contrast. A turn's sentiment
is the mean of its sentences', as its authors advise for longer text. A text that is not known to be English has none.
"""

import functools
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from ser_tasks.transcripts.transcript import Turn

ROLES = ("agent", "customer", "unattributed")
REASONS = {
    "not_scored": "no speech of the call is scored",
    "language_unknown": "neither transcript nor sidecar states the language",
    "language_contradicted": "transcript and sidecar state different languages",
    "language_unsupported": "the language is not English, the only one that the lexicon has",
    "not_english": "stated as English, and it is not",
    "no_words": "the transcript has turns, and no words",
}
"""Why a transcript's words have no sentiment."""
NEGATIVE = -0.05
"""A turn at or below is negative: VADER's own limit."""
MOST_WORDS = 60
"""Of one sentence: text without punctuation is cut into pieces of so many."""
TESTED_WORDS = 20
"""From so many words on it is tested whether a text is English:"""
COMMON_SHARE = 0.1
"""at least this share of its words is in COMMON. Seven English transcripts of 60 words and more have 0.29 to 0.37."""
_FREQUENT = "the and you i to it that of my for have this are with not what can your but they would be we on at do if is it's i'm"
COMMON = frozenset(_FREQUENT.split())
"""Frequent words of English; few of them are words of another language."""

_ENGLISH = {"en", "eng", "english"}
_TAG = re.compile(r"[A-Za-z]{2,20}(?:[-_][A-Za-z0-9]{1,8}){0,3}")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")


@dataclass(frozen=True)
class WordSentiment:
    """Of the words of a call."""

    columns: dict[str, Any]
    of_turns: tuple[float | None, ...]
    """Of each turn, in order; None where it has no word or may not be scored."""


def columns_of(
    turns: Sequence[Turn], roles: Sequence[str], languages: tuple[str | None, str | None], scored: Collection[str]
) -> WordSentiment:
    """The sentiment of turns, each with the role of its speaker. ``languages`` are those that transcript and sidecar state; of roles that
    are not in ``scored`` no sentiment is made."""
    texts = [turn.text for turn in turns]
    language, reason = stated_language(*languages)
    reason = "not_scored" if not scored else reason or _not_english(texts)
    columns: dict[str, Any] = {"words_language": language, "words_sentiment_reason": reason} | EMPTY
    if reason:
        return WordSentiment(columns, (None,) * len(turns))
    values = tuple(sentiment(text) if role in scored else None for text, role in zip(texts, roles, strict=True))
    for role in ROLES:
        own = [(value, turn.start_s) for turn, of, value in zip(turns, roles, values, strict=True) if of == role and value is not None]
        if own:
            lowest, at_s = min(own)
            columns[f"{role}_words_sentiment"] = sum(value for value, _ in own) / len(own)
            columns[f"{role}_words_negative_share"] = sum(value <= NEGATIVE for value, _ in own) / len(own)
            columns[f"{role}_words_lowest_at_s"] = at_s if lowest <= NEGATIVE else None
    return WordSentiment(columns, values)


EMPTY = {f"{role}_words_{name}": None for role in ROLES for name in ("sentiment", "negative_share", "lowest_at_s")}
COLUMNS = ("words_language", "words_sentiment_reason", *EMPTY)


def stated_language(transcript: str | None, sidecar: str | None) -> tuple[str | None, str | None]:
    """The language of the words as stated, of the transcript before the sidecar's, and why they have no sentiment, if so: in REASONS."""
    stated = [tag.strip() for tag in (transcript, sidecar) if tag and _TAG.fullmatch(tag.strip())]
    if not stated:
        return None, "language_unknown"
    english = {_is_english(tag) for tag in stated}
    if len(english) > 1:
        return stated[0], "language_contradicted"
    return stated[0], None if english == {True} else "language_unsupported"


def sentiment(text: str) -> float | None:
    """The mean of the sentences' compound scores by VADER, -1 to 1; None without a word."""
    scores = [_score()(piece) for piece in _pieces(text.replace("’", "'")) if _WORD.search(piece)]
    return sum(scores) / len(scores) if scores else None


def _pieces(text: str) -> list[str]:
    """The sentences of a text, longer ones in pieces: VADER's time grows with the square of the words."""
    sentences = [sentence.split() for sentence in _SENTENCE_END.split(text)]
    return [" ".join(words[first : first + MOST_WORDS]) for words in sentences for first in range(0, len(words), MOST_WORDS)]


def _is_english(tag: str) -> bool:
    return re.split("[-_]", tag.lower())[0] in _ENGLISH


def _not_english(texts: Sequence[str]) -> str | None:
    words = [word.lower() for text in texts for word in _WORD.findall(text.replace("’", "'"))]
    if not words:
        return "no_words"
    known = sum(word in COMMON for word in words)
    return "not_english" if len(words) >= TESTED_WORDS and known < COMMON_SHARE * len(words) else None


@functools.cache
def _score() -> Callable[[str], float]:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    return lambda text: float(analyzer.polarity_scores(text)["compound"])
