"""What is counted of a transcript: nothing that was said, only how much, how fast and in which turns."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_tasks.audio.turn_taking import covered_s, turn_taking
from ser_tasks.transcripts.align import spans_of
from ser_tasks.transcripts.transcript import Turn

RESPONSES = ("agent", "customer")
MOSTLY = 0.5
"""A turn without a role has that of who, by the detector, speaks in more than this share of it."""
_WORD = re.compile(r"\w+(?:['’\u2010-]\w+)*")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Letters of languages that write words without spaces: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""
_QUESTION = re.compile(r"[?？؟]+")
COLUMNS = (
    "words_turns",
    "words_talk_ratio",
    *(f"{role}_words_per_minute" for role in ("agent", "customer", "unattributed")),
    *(f"words_{role}_longest_turn_s" for role in RESPONSES),
    *(f"words_{role}_response_s" for role in RESPONSES),
    *(f"{role}_questions" for role in ("agent", "customer", "unattributed")),
)


def words_in(turn: Turn) -> int | None:
    """The number of words of a turn; None where it is written without spaces and the service gives no words."""
    if turn.words:
        return sum(1 for word in turn.words if any(letter.isalnum() for letter in word.text))
    return None if _UNSPACED.search(turn.text) else len(_WORD.findall(turn.text))


def counted(turns: Sequence[Turn], roles: Sequence[str], duration_s: float) -> dict[str, Any]:
    """The columns that are counted of turns, each with the role of its speaker: agent, customer or unattributed."""
    stretches = [(turn.start_s, turn.end_s, role) for turn, role in zip(turns, roles, strict=True)]
    taking = turn_taking(stretches, duration_s)
    columns: dict[str, Any] = {"words_turns": _takeovers(roles), "words_talk_ratio": taking["talk_ratio"]}
    for role in RESPONSES:
        columns[f"words_{role}_longest_turn_s"] = taking[f"{role}_longest_turn_s"]
        columns[f"words_{role}_response_s"] = taking[f"{role}_response_s"]
    for role in ("agent", "customer", "unattributed"):
        own = [turn for turn, of in zip(turns, roles, strict=True) if of == role]
        seconds, numbers = covered_s((turn.start_s, turn.end_s) for turn in own), [words_in(turn) for turn in own]
        known = [number for number in numbers if number is not None]
        spoken = bool(seconds) and len(known) == len(numbers) and sum(known) > 0
        columns[f"{role}_words_per_minute"] = sum(known) * 60 / seconds if spoken else None
        columns[f"{role}_questions"] = sum(len(_QUESTION.findall(turn.text)) for turn in own) if own else None
    return columns


def _takeovers(roles: Sequence[str]) -> int:
    """Turns, where what one role says in several stretches, one after the other, is one."""
    return sum(1 for before, after in zip([None, *roles], roles, strict=False) if before != after)


def roles_of_turns(turns: Sequence[Turn], speech: dict[str, NDArray[np.bool_]], window_s: float, trusted: bool) -> list[str]:
    """The role of each turn: the transcript's own, if it is ``trusted``, else that of who speaks meanwhile, else unattributed.

    ``speech`` has a mask (windows,) for agent and customer.
    """
    roles = []
    for turn in turns:
        role = turn.role if trusted else None
        if role is None and speech:
            seconds = {who: _within(mask, turn, window_s) for who, mask in speech.items()}
            best = max(seconds, key=seconds.__getitem__)
            role = best if seconds[best] > MOSTLY * sum(seconds.values()) else None
        roles.append(role or "unattributed")
    return roles


def sure_roles(roles: Sequence[str], turns: Sequence[Turn], speech: dict[str, NDArray[np.bool_]], window_s: float) -> list[str]:
    """The role of each turn where who speaks meanwhile agrees with it, else unattributed; as they are without ``speech`` by role."""
    spoken = roles_of_turns(turns, speech, window_s, trusted=False) if speech else roles
    return [role if role == by_voice else "unattributed" for role, by_voice in zip(roles, spoken, strict=True)]


def _within(mask: NDArray[np.bool_], turn: Turn, window_s: float) -> float:
    return sum(float(mask[int(start / window_s) : int(np.ceil(end / window_s))].sum()) for start, end in spans_of([turn]))
