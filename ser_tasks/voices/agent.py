"""Who is the agent: evidence that is not the voice, each piece with its source and a confidence, and what follows from all of it.

The confidences of ``first_speaker`` and ``talk_share`` are assumptions about call centres, not measurements: an agent greets the caller of
an inbound call, and who is called says hello first. A centre where that does not hold must not set SER_CALL_DIRECTION.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ser_tasks.audio.vad import Span
from ser_tasks.calls.turns import RoleTurn
from ser_tasks.schemas import SAMPLING_RATE_HZ

SURE = 0.9
"""Roles are released from this confidence on."""
FIRST_SPEAKER = 0.95
"""Confidence that the first to speak after the prompt is the agent (inbound), or the customer (outbound)."""
TALK_SHARE = 0.6
"""Confidence that somebody who speaks three quarters or more of the time is the agent; 0.5 at one half."""
COVERED = 0.8
"""Stated turns are used where they cover this share of the speech that was found,"""
SPOKEN = 0.6
"""where speech fills this share of them (turns hold pauses),"""
AGREED = 0.8
"""and where voices agree with them in this share of the speech that both have."""
WITHIN = 0.8
"""A window has the role of the turns that cover this share of it, if no other role's cover any."""

Roles = NDArray[np.object_]


@dataclass(frozen=True)
class Evidence:
    """One reason to take a person for the agent."""

    source: str
    """turns, first_speaker or talk_share."""
    confidence: float
    """That the person the evidence is of is the agent: below 0.5, that the other one is."""
    person: int


@dataclass(frozen=True)
class Verdict:
    """The agent of two people, or of several by their turns."""

    roles: tuple[str, ...]
    """Of each person: agent, customer or unknown. Empty where it is not safe to say."""
    confidence: float
    evidence: tuple[Evidence, ...]

    @property
    def text(self) -> str:
        """As the column ``roles_evidence`` has it."""
        return ", ".join(f"{each.source} {max(each.confidence, 1 - each.confidence):.2f}" for each in self.evidence)


def first_speaker(person: int, direction: str | None) -> Evidence | None:
    """Evidence of who speaks first, after the prompt; None where it is unknown who called."""
    if direction is None:
        return None
    return Evidence("first_speaker", FIRST_SPEAKER if direction == "inbound" else 1 - FIRST_SPEAKER, person)


def talk_share(seconds: NDArray[np.floating]) -> Evidence:
    """Weak evidence: the agent explains, and speaks more. ``seconds`` are those of two people."""
    person = int(seconds.argmax())
    share = float(seconds[person] / seconds.sum())
    return Evidence("talk_share", 0.5 + (TALK_SHARE - 0.5) * min((share - 0.5) / 0.25, 1.0), person)


def verdict(evidence: Iterable[Evidence]) -> Verdict:
    """Which of two people is the agent, if the evidence, taken as independent, is sure of it (log odds add up)."""
    pieces = tuple(evidence)
    log_odds = sum((1 if each.person == 0 else -1) * float(np.log(each.confidence / (1 - each.confidence))) for each in pieces)
    first = 1 / (1 + np.exp(-log_odds))
    confidence = float(max(first, 1 - first))
    roles = ("agent", "customer") if first > 0.5 else ("customer", "agent")
    return Verdict(roles if confidence >= SURE else (), confidence, pieces)


def role_seconds(windows: list[Span], turns: tuple[RoleTurn, ...]) -> dict[str, NDArray[np.float64]]:
    """Seconds of each window in which turns of agent, customer and unknown roles lie, (windows,) each; turns of a role may overlap."""
    starts = np.array([window.start for window in windows]) / SAMPLING_RATE_HZ
    ends = np.array([window.end for window in windows]) / SAMPLING_RATE_HZ
    seconds = {}
    for role in ("agent", "customer", "unknown"):
        merged = _merged([turn for turn in turns if turn.role == role])
        covered = [np.clip(np.minimum(ends, end) - np.maximum(starts, start), 0, None) for start, end in merged]
        seconds[role] = np.sum(covered, axis=0) if covered else np.zeros(len(windows))
    return seconds


def stated_roles(windows: list[Span], turns: tuple[RoleTurn, ...]) -> Roles:
    """The role of each window by stated turns (WITHIN), unknown where they leave it open, (windows,)."""
    seconds = role_seconds(windows, turns)
    lengths = np.array([window.seconds for window in windows])
    roles = np.full(len(windows), "unknown", object)
    for role, other in (("agent", "customer"), ("customer", "agent")):
        roles[(seconds[role] >= WITHIN * lengths) & (seconds[other] == 0) & (seconds["unknown"] == 0)] = role
    return roles


def coverage(windows: list[Span], turns: tuple[RoleTurn, ...]) -> tuple[float, float]:
    """Share of the windows' speech that lies in turns, and share of the turns' time that lies in windows."""
    anybody = tuple(RoleTurn(turn.start_s, turn.end_s, "agent") for turn in turns)
    within_s = float(role_seconds(windows, anybody)["agent"].sum())
    spoken_s, stated_s = sum(window.seconds for window in windows), sum(end - start for start, end in _merged(anybody))
    return within_s / max(spoken_s, 1e-9), within_s / max(stated_s, 1e-9)


def _merged(turns: Iterable[RoleTurn]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for turn in sorted(turns, key=lambda turn: turn.start_s):
        if merged and turn.start_s <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], turn.end_s)
        else:
            merged.append((turn.start_s, turn.end_s))
    return merged
