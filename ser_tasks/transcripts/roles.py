"""Roles by a transcript: who is on which channel, and who speaks when on a mono mix. Contradictions leave roles unknown."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ser_tasks.calls.turns import MonoFacts, RoleTurn
from ser_tasks.transcripts.transcript import Transcript

SOURCE = "transcript"
OF_CHANNEL = 0.8
"""Share of a channel's own speech, in turns of known roles, that must be of one role."""
LEAST_S = 2.0
"""Such speech without which a channel's role stays unknown."""
CONTRADICTED = 0.5
"""A channel's stated role is contradicted from this share of its own speech on that is, by the transcript, the other's;"""
CONTRADICTED_ALONE = 0.2
"""of the only channel that carries speech from this one: it may be a mix."""
DISAGREE = 0.1
"""Share of the time in turns of both that sidecar and transcript may give to different people."""
STEP_S = 0.05

BREATH_S = 0.3
"""Words further apart may be two people's: the detector's shortest silence."""
_GREETING = re.compile(
    r"(?:(?:hello|hi|good (?:morning|afternoon|evening|day)|and|um|uh)[,.! ]+){0,3}"
    r"(?:thanks?(?: you)?(?: very much| so much)? for (?:calling|contacting)(?! me| us| back)|welcome to"
    r"|how (?:can|may) (?:i|we) (?:help|assist)|you(?:'re| are) through to)\b"
)
"""What agents say first when they answer, in English. A name alone is none: customers say theirs, too; who is called back thanks for it."""

Mask = NDArray[np.bool_]
OTHER = {"agent": "customer", "customer": "agent"}


def shares(transcript: Transcript, speech: Mask, window_s: float) -> list[dict[str, float]]:
    """Of each channel of ``speech`` (channels, windows): seconds in which it alone speaks, by the one role whose turns lie there."""
    stated = {role: _mask([(t.start_s, t.end_s) for t in transcript.turns if t.role == role], speech.shape[1], window_s) for role in OTHER}
    alone = speech & (speech.sum(axis=0) == 1)
    only = {role: mask & ~stated[OTHER[role]] for role, mask in stated.items()}
    return [{role: float((channel & mask).sum() * window_s) for role, mask in only.items()} for channel in alone]


def channel_roles(transcript: Transcript, speech: Mask, window_s: float) -> list[str] | None:
    """The role of each channel by the turns that fall into its speech; None where that is not safe, or its own channels say otherwise."""
    found = []
    for seconds in shares(transcript, speech, window_s):
        total = sum(seconds.values())
        best = max(seconds, key=seconds.__getitem__)
        found.append(best if total >= LEAST_S and seconds[best] >= OF_CHANNEL * total else "unknown")
    tagged = {(turn.channel, turn.role) for turn in transcript.turns if turn.channel is not None and turn.role is not None}
    apart = any(channel >= len(found) or found[channel] not in (role, "unknown") for channel, role in tagged if channel is not None)
    return None if apart or not {"agent", "customer"} <= set(found) else found


def contradicted(roles: Sequence[str], transcript: Transcript, speech: Mask, window_s: float) -> int | None:
    """The first channel whose role, agent or customer, the transcript contradicts; None where it contradicts none."""
    of_channels = shares(transcript, speech, window_s)
    speaking = sum(1 for seconds in of_channels if sum(seconds.values()) >= LEAST_S)
    most = CONTRADICTED if speaking > 1 else CONTRADICTED_ALONE
    for channel, (role, seconds) in enumerate(zip(roles, of_channels, strict=True)):
        total = sum(seconds.values())
        if role in OTHER and total >= LEAST_S and seconds[OTHER[role]] >= most * total:
            return channel
    return None


def with_turns(facts: MonoFacts, transcript: Transcript) -> MonoFacts:
    """The facts of a mono call with the transcript's turns, where the sidecar has none and they name agent and customer.

    Where both have turns and disagree, that is a problem: the call is withheld.
    """
    turns = tuple(RoleTurn(turn.start_s, turn.end_s, turn.role or "unknown") for turn in transcript.turns)
    if facts.problem or not {"agent", "customer"} <= {turn.role for turn in turns}:
        return facts
    if not facts.turns:
        return replace(facts, turns=turns, turns_source=SOURCE)
    apart = _disagreement(facts.turns, turns)
    if apart <= DISAGREE:
        return facts
    return replace(facts, problem=f"the turns of sidecar and transcript disagree on who speaks in {apart:.0%} of the time")


def with_greeting(facts: MonoFacts, transcript: Transcript) -> MonoFacts:
    """The facts of a mono call with the direction inbound, where they state none and the call opens, in one breath, as an agent answers it.

    Whose voice that is, and that it is heard again, is for the voices to say: a prompt's greeting is not the agent's.
    """
    if facts.direction or facts.turns or not transcript.turns:
        return facts
    opening: list[str] = []
    end_s: float | None = None
    for word in transcript.turns[0].words:
        if word.start_s is None or word.end_s is None or (end_s is not None and word.start_s - end_s >= BREATH_S):
            break
        opening.append(word.text)
        end_s = word.end_s
    return replace(facts, direction="inbound") if _GREETING.match(" ".join(opening).lower()) else facts


def _disagreement(one: Sequence[RoleTurn], other: Sequence[RoleTurn]) -> float:
    """Share of the time in turns of agent or customer of both that is another's."""
    windows = int(max(turn.end_s for turn in (*one, *other)) / STEP_S) + 1

    def only(turns: Sequence[RoleTurn], role: str) -> Mask:
        own, others = (
            _mask([(turn.start_s, turn.end_s) for turn in turns if turn.role == each], windows, STEP_S) for each in (role, OTHER[role])
        )
        return own & ~others

    first, second = {role: only(one, role) for role in OTHER}, {role: only(other, role) for role in OTHER}
    apart = sum(int((first[role] & second[OTHER[role]]).sum()) for role in OTHER)
    same = sum(int((first[role] & second[role]).sum()) for role in OTHER)
    return apart / max(1, apart + same)


def _mask(spans: Sequence[tuple[float, float]], windows: int, window_s: float) -> Mask:
    mask = np.zeros(windows, bool)
    for start_s, end_s in spans:
        mask[round(start_s / window_s) : round(end_s / window_s)] = True
    return mask
