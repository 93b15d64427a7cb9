"""A mono call's speech by role: split among its people, and the agent found, or the reason why that is not safe.

Only speech of which both are certain is released as the customer's. The order of the rules is that of the code: the first doubt is the
reason.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ser_tasks.audio.samples import Samples
from ser_tasks.audio.vad import Span
from ser_tasks.calls.turns import MonoFacts
from ser_tasks.schemas import SAMPLING_RATE_HZ
from ser_tasks.voices import agent
from ser_tasks.voices.agent import Verdict
from ser_tasks.voices.encoder import mood_free, voice_vectors
from ser_tasks.voices.split import Split, margins, split
from ser_tasks.voices.windows import windows

PEOPLE = 2
LEAST_S = 3.0
"""Speech of each person without which a split says nothing."""
LEAST_SEPARATION = 0.3
"""Of a split that is believed (`Split.separation`): one voice alone, split by force, stays below in nearly every case measured."""
STEADY = 0.95
"""Share of the speech that must go to the same people without the directions of mood."""
CERTAIN = 0.99
"""Posterior probability from which a window is released,"""
LEAST_MARGIN = 0.25
"""if its own vector is so much nearer to that person than to the other (`Split.margin`): neighbours alone do not make it certain."""
FIRST_TURN_S = 0.5
"""The first turn must be so long to count as who speaks first,"""
FIRST_TURN_MARGIN = 0.1
"""and, longer than LEAST_S, so much nearer to its person's later speech than to the other's: else it may be a prompt's voice."""

TURNS_HELP = "put turns with roles into the sidecar, or record two channels"
DIRECTION_HELP = "set SER_CALL_DIRECTION, or put direction or turns into the sidecar"
PROMPT_HELP = "put prompt_end_s into the sidecar, or set SER_PROMPT_S"

Roles = NDArray[np.object_]


@dataclass(frozen=True)
class Attribution:
    """Who speaks when on one channel."""

    spans: dict[str, list[Span]]
    """Speech of agent, customer and unknown, in order of time; all of it unknown where there is a doubt."""
    doubt: str | None
    """Why roles are not safe to say, with the way out; None where they are."""
    source: str | None = None
    """Where roles come from: turns (a sidecar's), transcript, first_speaker or talk_share, the strongest evidence."""
    confidence: float | None = None
    evidence: str | None = None
    """All evidence with its confidence, as ``first_speaker 0.95, talk_share 0.58``."""


def attribute(
    call: Samples,
    channel: int,
    spans: list[Span],
    probabilities: NDArray[np.float32],
    facts: MonoFacts,
    encode: Callable[[Samples, int, list[Span]], NDArray[np.float32]] = voice_vectors,
) -> Attribution:
    """Attributes the spans of speech on a channel that several people share. ``probabilities`` (detector windows,) are of that channel.

    ``encode`` is `voice_vectors`, or gives the same.
    """
    prompt_end = (facts.prompt_end_s or 0) * SAMPLING_RATE_HZ
    found = [window for span in spans for window in windows(span, probabilities)]
    people = [window for window in found if window.start >= prompt_end]
    if not people:
        return Attribution({"agent": [], "customer": [], "unknown": list(spans)}, None)
    try:
        if facts.problem:
            raise _DoubtError(f"{facts.problem}: correct it")
        number = facts.speakers or PEOPLE
        if facts.turns:
            known = _stated(people, facts, call.samples / SAMPLING_RATE_HZ)
        else:
            _check_evidence(number, facts.direction)
        vectors = encode(call, channel, people)
        if facts.turns:
            roles, verdict = _by_turns(people, split(people, vectors, number), known, facts.turns_source)
        else:
            roles, verdict = _by_voices(people, vectors, number, facts.direction)
    except _DoubtError as doubt:
        return Attribution({"agent": [], "customer": [], "unknown": list(spans)}, str(doubt))
    main = max(verdict.evidence, key=lambda each: abs(each.confidence - 0.5))
    return Attribution(_by_role(spans, people, roles), None, main.source, verdict.confidence, verdict.text)


class _DoubtError(Exception):
    """A reason not to say who speaks."""


def _check_evidence(number: int, direction: str | None) -> None:
    """Calls without turns that no split could help end here, before their voices are compared: that takes most of the time."""
    if number not in (PEOPLE, PEOPLE + 1):
        speak = "1 person speaks" if number == 1 else f"{number} people speak"
        raise _DoubtError(f"{speak} by the sidecar, and only turns say who is the agent: {TURNS_HELP}")
    if direction is None:
        raise _DoubtError(f"nothing says safely which of two voices is the agent's (the share of talk is not enough): {DIRECTION_HELP}")


def _by_voices(found: list[Span], vectors: NDArray[np.float32], number: int, direction: str | None) -> tuple[Roles, Verdict]:
    """The role of each window by two voices, beside which there may be a prompt's, and by who speaks first."""
    shared = split(found, vectors, number)
    person, keep = shared.person, np.ones(len(found), bool)
    if number == PEOPLE + 1:
        keep = ~_prompt(shared)
        person = np.unique(person[keep], return_inverse=True)[1]
    rest, part = [window for window, kept in zip(found, keep, strict=True) if kept], vectors[keep]
    seconds, margin = _check(rest, part, person)
    certainty = np.where(margin >= LEAST_MARGIN, shared.certainty[keep], 0)
    evidence = [_first(rest, part, person, certainty, direction), agent.talk_share(seconds)]
    verdict = agent.verdict(each for each in evidence if each)
    if not verdict.roles:
        raise _DoubtError(f"nothing says safely which of two voices is the agent's (confidence {verdict.confidence:.2f}): {DIRECTION_HELP}")
    roles = np.full(len(found), "unknown", object)
    roles[keep] = _certain(rest, person, certainty, np.array(verdict.roles, object)[person])
    return roles, verdict


def _prompt(shared: Split) -> NDArray[np.bool_]:
    """Windows of the voice of three that speaks before both others, and never again: a prompt."""
    first, last = int(shared.person[0]), int(np.flatnonzero(shared.person == shared.person[0])[-1])
    others = np.flatnonzero(shared.person != first)
    if not len(others) or last > others[0]:
        raise _DoubtError(f"three voices speak by the sidecar, and none of them only at the start, as a prompt does: {TURNS_HELP}")
    prompt: NDArray[np.bool_] = shared.person == first
    return prompt


def _check(found: list[Span], vectors: NDArray[np.float32], person: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.floating]]:
    """Seconds of each of two people, and windows' margins, where their voices are safely told apart, with the directions of mood or not."""
    lengths = np.array([window.seconds for window in found])
    seconds: NDArray[np.float64] = np.bincount(person, lengths, minlength=PEOPLE).astype(np.float64)
    if len(seconds) != PEOPLE or seconds.min() < LEAST_S:
        raise _DoubtError(f"one of the voices has less than {LEAST_S:.0f} s of speech, or there is only one: {TURNS_HELP}")
    margin = margins(vectors.astype(np.float64), lengths, person, PEOPLE)
    apart = float(np.average(margin, weights=lengths))
    if apart < LEAST_SEPARATION:
        raise _DoubtError(f"the voices are too alike (separation {apart:.2f} of at least {LEAST_SEPARATION}): {TURNS_HELP}")
    same = float(np.average(split(found, mood_free(vectors), PEOPLE).person == person, weights=lengths))
    if max(same, 1 - same) < STEADY:
        raise _DoubtError(
            f"the split may follow the mood: without it, {max(same, 1 - same):.0%} of the speech goes to the same voices: {TURNS_HELP}"
        )
    return seconds, margin


def _first(
    found: list[Span], vectors: NDArray[np.float32], person: NDArray[np.intp], certainty: NDArray[np.floating], direction: str | None
) -> agent.Evidence | None:
    """Who speaks first, if the first turn is long enough and of a voice that is heard again."""
    changes = np.flatnonzero(person != person[0])
    end = int(changes[0])
    length_s = sum(window.seconds for window in found[:end])
    if length_s < FIRST_TURN_S or certainty[:end].max() < CERTAIN:
        return None
    first, later, other = vectors[:end].sum(axis=0), vectors[end:][person[end:] == person[0]], vectors[person != person[0]]
    if not len(later) or _cosine(first, later.sum(axis=0)) - _cosine(first, other.sum(axis=0)) < FIRST_TURN_MARGIN:
        raise _DoubtError(f"who speaks first is not heard again for certain, and may be a prompt's voice: {PROMPT_HELP}")
    return agent.first_speaker(int(person[0]), direction)


def _stated(found: list[Span], facts: MonoFacts, duration_s: float) -> Roles:
    """The role of each window by stated turns, which are held against the speech."""
    if facts.turns[-1].end_s > duration_s + 1:
        raise _DoubtError(
            f"turns go on to {facts.turns[-1].end_s:,.1f} s, and the recording lasts {duration_s:,.1f} s: they may be another call's"
        )
    covered, spoken = agent.coverage(found, facts.turns)
    if covered < agent.COVERED or spoken < agent.SPOKEN:
        raise _DoubtError(
            f"turns cover {covered:.0%} of the speech (of at least {agent.COVERED:.0%}), and speech fills {spoken:.0%} of them (of at "
            f"least {agent.SPOKEN:.0%}): they may be another call's, or shifted"
        )
    return agent.stated_roles(found, facts.turns)


def _by_turns(found: list[Span], shared: Split, roles: Roles, source: str) -> tuple[Roles, Verdict]:
    """Roles by stated turns, held against the voices."""
    lengths, known = np.array([window.seconds for window in found]), roles != "unknown"
    of_person = {}
    for person in np.unique(shared.person):
        own = {role: float(lengths[(shared.person == person) & (roles == role)].sum()) for role in ("agent", "customer")}
        of_person[person] = max(own, key=own.__getitem__)
    by_voice = np.array([of_person[person] for person in shared.person], object)
    agreed = float(np.average((by_voice == roles)[known], weights=lengths[known])) if known.any() else 0.0
    if agreed < agent.AGREED or len(set(of_person.values())) < min(2, len(of_person)) and set(roles[known]) == {"agent", "customer"}:
        raise _DoubtError(f"voices agree with the turns in {agreed:.0%} of the speech (of at least {agent.AGREED:.0%}): correct the turns")
    roles[(by_voice != roles) & (shared.certainty >= CERTAIN)] = "unknown"
    return roles, Verdict((), agreed, (agent.Evidence(source, agreed, 0),))


def _certain(found: list[Span], person: NDArray[np.intp], certainty: NDArray[np.floating], roles: Roles) -> Roles:
    """Roles, unknown for windows that are not certain or that touch, without a pause, one of another person."""
    kept = roles.copy()
    kept[certainty < CERTAIN] = "unknown"
    for index, (before, after) in enumerate(zip(found, found[1:], strict=False)):
        if after.start <= before.end and person[index] != person[index + 1]:
            kept[[index, index + 1]] = "unknown"
    return kept


def _by_role(spans: list[Span], found: list[Span], roles: Roles) -> dict[str, list[Span]]:
    """The spans of speech cut by role: windows of one role in one span become one, with the pause between them; the rest is unknown."""
    cut: dict[str, list[Span]] = {"agent": [], "customer": [], "unknown": []}
    index = 0
    for span in spans:
        inside: list[tuple[Span, str]] = []
        while index < len(found) and found[index].start < span.end:
            inside.append((found[index], roles[index]))
            index += 1
        position = span.start
        for number, (window, role) in enumerate(inside):
            joins = number > 0 and inside[number - 1][1] == role
            start = position if joins or number == 0 else max(position, window.start)
            end = span.end if number == len(inside) - 1 else window.end
            if start > position:
                _add(cut["unknown"], Span(position, start))
            _add(cut[role], Span(start, end))
            position = end
        if not inside:
            _add(cut["unknown"], span)
    return cut


def _add(spans: list[Span], span: Span) -> None:
    if span.end <= span.start:
        return
    if spans and spans[-1].end == span.start:
        spans[-1] = Span(spans[-1].start, span.end)
    else:
        spans.append(span)


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other) + 1e-9))
