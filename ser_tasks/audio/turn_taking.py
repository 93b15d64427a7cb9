"""Turns of a conversation, from who speaks when: who takes the turn, for how long, and how fast the other answers.

A turn is all that one role says until the other takes over; the pauses within it count. Who speaks only while the other does, as in "mhm",
takes no turn.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

Stretch = tuple[float, float, str]
"""Start and end in seconds, and the role that speaks."""

SIDES = ("agent", "customer")
LONGEST_RESPONSE_S = 10.0
"""A longer pause is a hold, or a search, and no response."""


@dataclass
class Turn:
    """A turn of one role, in seconds."""

    start_s: float
    end_s: float
    role: str


def turns(stretches: Iterable[Stretch]) -> list[Turn]:
    """The turns in order of time; stretches of roles other than agent and customer are left out."""
    found: list[Turn] = []
    for start_s, end_s, role in sorted(stretches):
        if role not in SIDES:
            continue
        current = found[-1] if found else None
        if current is not None and role == current.role:
            current.end_s = max(current.end_s, end_s)
        elif current is None or end_s > current.end_s:
            found.append(Turn(start_s, end_s, role))
    return found


def responses_s(of: list[Turn], role: str) -> list[float]:
    """From the end of the other's turn to the start of this role's, seconds, below 0 where it starts earlier; holds left out."""
    pauses = (after.start_s - before.end_s for before, after in zip(of, of[1:], strict=False) if after.role == role)
    return [pause for pause in pauses if pause <= LONGEST_RESPONSE_S]


def turn_taking(stretches: Iterable[Stretch], duration_s: float) -> dict[str, Any]:
    """Turn-taking of a call: talk ratio, turns a minute, and for agent and customer the longest turn and the median response.

    Null unless both agent and customer speak.
    """
    spoken = [stretch for stretch in stretches if stretch[1] > stretch[0]]
    found = turns(spoken)
    seconds = {role: covered_s((start, end) for start, end, of in spoken if of == role) for role in SIDES}
    both = all(seconds.values())
    columns: dict[str, Any] = {
        "talk_ratio": seconds["agent"] / sum(seconds.values()) if both else None,
        "turns_per_minute": len(found) * 60 / duration_s if both and duration_s else None,
    }
    for role in SIDES:
        lengths, pauses = [turn.end_s - turn.start_s for turn in found if turn.role == role], responses_s(found, role)
        columns[f"{role}_longest_turn_s"] = max(lengths) if both and lengths else None
        columns[f"{role}_response_s"] = median(pauses) if both and pauses else None
    return columns


def covered_s(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds that spans cover together."""
    total, until = 0.0, 0.0
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total
