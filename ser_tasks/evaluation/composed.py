"""Composed calls: two-sided phone calls made of labelled clips, whose emotion is known at every second.

A customer and an agent, two people of one corpus, take turns. The customer speaks clips of his own, neutral for the most part; the agent
speaks neutral ones. The call is coded as a telephone system records it: mu-law at 8 kHz, with noise and with each other's voice.

What a call holds is drawn by its number and the seed alone: the same clips give the same calls, whichever process writes them.
Clips are at -26 dBFS as in every evaluation, so loudness tells nothing of emotion. Where people have few clips, these come back:
all are used before one is used again, and never one twice in a row.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
from numpy.typing import NDArray

from ser_tasks.audio import open_audio
from ser_tasks.audio.samples import at_8_khz
from ser_tasks.datasets.leaks import person_of
from ser_tasks.datasets.telephone import SPEECH_LEVEL_DBFS, read_trimmed
from ser_tasks.schemas import SAMPLING_RATE_HZ
from ser_tasks.scratch import atomic_write

KINDS = ("none", "bursts", "rising", "throughout")
"""Where a call holds anger: nowhere, in one to three stretches, from some moment on and more and more, or evenly."""
ANGRY_KINDS = KINDS[1:]
HISS = "hiss"
"""White noise, where there is no other."""
LENGTHS_S = (120.0, 720.0)
"""Of the shortest and the longest call."""
LEAST_NEUTRAL, MOST_NEUTRAL = 0.6, 0.95
"""Share of the customer's speech."""
STEADY_SHARE = 0.2
"""Share of anger in the calls with anger throughout: one for all, so that calls of different length can be compared."""
LEAST_ANGER_S = 5.0
"""A call counts as one with anger from so much on."""
AGENT_SHARE = 0.4
"""Of the speech, on average."""
CLIPS_A_TURN = (1, 5)
"""Of the customer, the last excluded: clips of one emotion, with short pauses."""
LONGEST_NOISE_S = 3600.0
DAY = "2026-11-02"

Signal = NDArray[np.float32]


@dataclass(frozen=True)
class Turn:
    """One clip in a call."""

    role: str
    start_s: float
    end_s: float
    emotion: str
    clip: str


@dataclass(frozen=True)
class PhoneLine:
    """What the telephone line adds to a call."""

    snr_db: float
    """Level of speech against the noise on both channels."""
    noise: str
    """Name of the noise, or ``hiss``."""
    leak: str
    """``none``, ``crosstalk`` (each voice on the other's channel, at once) or ``echo`` (the agent's on the customer's, later)."""
    leak_below_db: float
    leak_late_s: float


@dataclass(frozen=True)
class ComposedCall:
    """One call: its people, its turns in order of time, and its line."""

    call_id: str
    kind: str
    corpus: str
    language: str | None
    customer: str
    agent: str
    turns: tuple[Turn, ...]
    line: PhoneLine
    seed: tuple[int, int]

    @property
    def key(self) -> str:
        """Where the recording lies."""
        return f"{DAY}/{self.call_id}.wav"

    @property
    def duration_s(self) -> float:
        return max(turn.end_s for turn in self.turns) + 0.5

    def facts(self) -> dict[str, Any]:
        """The truth of the call, one row: speech and anger in seconds, and ``onset_s``, where anger begins in a call that rises."""
        speech = [(turn.emotion, turn.end_s - turn.start_s, turn.start_s) for turn in self.turns if turn.role == "customer"]
        speech_s = sum(seconds for _, seconds, _ in speech)
        anger_s = sum(seconds for emotion, seconds, _ in speech if emotion == "anger")
        neutral_s = sum(seconds for emotion, seconds, _ in speech if emotion == "neutral")
        return {
            "call_id": self.call_id,
            "kind": self.kind,
            "corpus": self.corpus,
            "language": self.language,
            "customer": self.customer,
            "agent": self.agent,
            "duration_s": self.duration_s,
            "customer_speech_s": speech_s,
            "neutral_share": neutral_s / speech_s,
            "anger_s": anger_s,
            "has_anger": anger_s >= LEAST_ANGER_S,
            "onset_s": next(start_s for emotion, _, start_s in speech if emotion == "anger") if self.kind == "rising" else None,
            **asdict(self.line),
        }


@dataclass(frozen=True)
class Person:
    """Somebody whose clips calls are made of."""

    name: str
    corpus: str
    language: str | None
    clips: dict[str, tuple[str, ...]]
    """By emotion; two of each at least."""

    @property
    def may_be_customer(self) -> bool:
        return {"neutral", "anger"} <= self.clips.keys()


def people_of(clips: pd.DataFrame) -> list[Person]:
    """Those with two neutral clips at least, in order of their names. ``clips`` are as of ``Corpus.clips``."""
    people = []
    for name, own in clips.assign(person=person_of(clips)).sort_values(["person", "file"]).groupby("person"):
        by_emotion = {str(emotion): tuple(group["file"]) for emotion, group in own.groupby("emotion") if len(group) > 1}
        if "neutral" in by_emotion:
            people.append(Person(str(name), own["corpus"].iloc[0], own["language"].iloc[0], by_emotion))
    return people


def compose(
    people: Sequence[Person], seconds: Mapping[str, float], number: int, seed: int, noises: Sequence[str] = ()
) -> list[ComposedCall]:
    """``number`` calls. ``seconds`` are the clips' lengths, ``noises`` names of background noises (hiss, if there are none).

    One call in two is without anger, the others are of the three angry kinds in turn. Customers take turns, too, so that every kind has
    calls of each. Lengths are spread evenly, on a logarithmic scale, over the calls of each kind.
    Raises ValueError where there is no customer, or nobody to be the agent.
    """
    customers = [person for person in people if person.may_be_customer]
    if not customers or len(people) < 2:
        raise ValueError(
            f"Of {len(people)} people with two neutral clips, {len(customers)} have two of anger: a call needs a customer with both, and "
            "another person as agent. Give more clips."
        )
    kinds = [ANGRY_KINDS[index // 2 % len(ANGRY_KINDS)] if index % 2 else "none" for index in range(number)]
    durations_s, (shortest_s, longest_s) = np.zeros(number), LENGTHS_S
    for kind in KINDS:
        members = [index for index, each in enumerate(kinds) if each == kind]
        evenly = (np.arange(len(members)) + 0.5) / max(1, len(members))
        durations_s[members] = shortest_s * (longest_s / shortest_s) ** np.random.default_rng([seed, KINDS.index(kind)]).permutation(evenly)
    turns_taken = dict.fromkeys(KINDS, 0)
    calls = []
    for index, kind in enumerate(kinds):
        customer = customers[(turns_taken[kind] + KINDS.index(kind)) % len(customers)]
        turns_taken[kind] += 1
        calls.append(_call(_Script(index, kind, float(durations_s[index]), customer), people, seconds, seed, noises))
    return calls


@dataclass(frozen=True)
class _Script:
    """What a call is to be."""

    number: int
    kind: str
    duration_s: float
    customer: Person


def _call(script: _Script, people: Sequence[Person], seconds: Mapping[str, float], seed: int, noises: Sequence[str]) -> ComposedCall:
    customer = script.customer
    rng = np.random.default_rng([seed, script.number, 1])
    others = [person for person in people if person is not customer]
    near = [person for person in others if person.corpus == customer.corpus]
    same_language = [person for person in others if person.language == customer.language]
    candidates = near or same_language or others
    agent = candidates[rng.integers(len(candidates))]
    leak = str(rng.choice(["none", "crosstalk", "echo"]))
    line = PhoneLine(
        snr_db=float(rng.uniform(12, 35)),
        noise=str(rng.choice(list(noises))) if noises else HISS,
        leak=leak,
        leak_below_db=float(rng.uniform(25, 40) if leak == "crosstalk" else rng.uniform(12, 30)),
        leak_late_s=0.0 if leak == "crosstalk" else float(rng.uniform(0.03, 0.25)),
    )
    call = ComposedCall(
        call_id=f"call-{script.number:05}",
        kind=script.kind,
        corpus=customer.corpus,
        language=customer.language,
        customer=customer.name,
        agent=agent.name,
        turns=(),
        line=line,
        seed=(seed, script.number),
    )
    speech_s = (1 - AGENT_SHARE) * script.duration_s
    for _ in range(2):  # how much of a call is pauses shows once its turns are drawn
        rng = np.random.default_rng([seed, script.number, 2])
        emotions = _emotions_in_order(script.kind, customer, seconds, speech_s, rng)
        call = replace(call, turns=tuple(_turns(emotions, customer, agent, seconds, rng)))
        speech_s *= script.duration_s / call.duration_s
    return call


def _emotions_in_order(kind: str, customer: Person, seconds: Mapping[str, float], speech_s: float, rng: np.random.Generator) -> list[str]:
    """The emotion of each of the customer's clips."""
    counts = {
        emotion: round(share * speech_s / float(np.mean([seconds[clip] for clip in customer.clips[emotion]])))
        for emotion, share in _shares(kind, customer, speech_s, rng).items()
    }
    anger = counts.pop("anger", 0)
    others = np.repeat(np.array(list(counts), object), list(counts.values()))
    rng.shuffle(others)
    at = np.sort(_moments(kind, anger, rng) * len(others)).astype(int)
    return list(np.insert(others, at, "anger"))


def _shares(kind: str, customer: Person, speech_s: float, rng: np.random.Generator) -> dict[str, float]:
    """Share of the speech of each emotion, adding up to 1."""
    least_anger = min(1.5 * LEAST_ANGER_S / speech_s, 1 - LEAST_NEUTRAL)
    highest = {"none": MOST_NEUTRAL, "throughout": 1 - STEADY_SHARE}.get(kind, min(MOST_NEUTRAL, 1 - least_anger))
    rest = 1 - rng.uniform(LEAST_NEUTRAL, highest)
    anger = {"none": 0.0, "throughout": STEADY_SHARE}.get(kind, rng.uniform(max(rest / 2, min(rest, least_anger)), rest))
    further = sorted(customer.clips.keys() - {"anger", "neutral"})
    split = rng.dirichlet(np.ones(len(further))) if further else np.zeros(0)
    shares = {emotion: float(part) * (rest - anger) for emotion, part in zip(further, split, strict=True)} | (
        {"anger": anger} if anger else {}
    )
    return shares | {"neutral": 1 - sum(shares.values())}


def _moments(kind: str, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """When each clip of anger comes, as a share of the call's other clips."""
    if kind == "throughout":
        return (np.arange(count) + rng.uniform(0, 1, count)) / max(1, count)
    if kind == "rising":
        onset = rng.uniform(0.3, 0.7)
        return onset + (1 - onset) * np.sqrt(rng.uniform(0, 1, count))
    bursts = rng.uniform(0, 1, rng.integers(1, 4))
    return bursts[rng.integers(len(bursts), size=count)]


def _turns(emotions: list[str], customer: Person, agent: Person, seconds: Mapping[str, float], rng: np.random.Generator) -> list[Turn]:
    """The dialogue: the agent begins, and speaks again after each of the customer's turns. One turn in ten begins in the one before."""
    own = {emotion: _Deck(clips, rng) for emotion, clips in customer.clips.items()}
    agents = _Deck(agent.clips["neutral"], rng)
    turns: list[Turn] = []
    end_s = 0.5

    def speak(role: str, emotion: str, clips: list[str]) -> None:
        nonlocal end_s
        before = [turn.end_s for turn in turns if turn.role == role][-1:]
        start_s = end_s + (-0.4 if turns and rng.random() < 0.1 else rng.uniform(0.4, 1.2))
        start_s = max([start_s, *(last + 0.4 for last in before)])
        for clip in clips:
            turns.append(Turn(role, start_s, start_s + seconds[clip], emotion, clip))
            start_s = turns[-1].end_s + rng.uniform(0.1, 0.5)
        end_s = turns[-1].end_s

    position = 0
    while position < len(emotions):
        said_s = sum(turn.end_s - turn.start_s for turn in turns if turn.role == "customer")
        answered_s = sum(turn.end_s - turn.start_s for turn in turns if turn.role == "agent")
        clips = [agents.draw()]
        while answered_s + sum(seconds[clip] for clip in clips) < said_s * AGENT_SHARE / (1 - AGENT_SHARE):
            clips.append(agents.draw())
        speak("agent", "neutral", clips)
        emotion, most = emotions[position], int(rng.integers(*CLIPS_A_TURN))
        run = next((at for at, each in enumerate(emotions[position : position + most]) if each != emotion), most)
        run = min(run, len(emotions) - position)
        speak("customer", emotion, [own[emotion].draw() for _ in range(run)])
        position += run
    return sorted(turns, key=lambda turn: turn.start_s)


class _Deck:
    """Clips in a random order; dealt anew when all were drawn, and the first is then not the last one."""

    def __init__(self, clips: Sequence[str], rng: np.random.Generator):
        self._clips, self._rng, self._left, self._last = list(clips), rng, list[str](), ""

    def draw(self) -> str:
        if not self._left:
            self._left = [self._clips[index] for index in self._rng.permutation(len(self._clips))]
            if self._left[-1] == self._last:
                self._left.insert(0, self._left.pop())
        self._last = self._left.pop()
        return self._last


def samples_of(call: ComposedCall, read: Callable[[str], Signal], noise: Signal | None) -> Signal:
    """The call before coding, float32 (2, samples) at 8 kHz: agent, customer. ``read`` gives a clip's samples; ``noise`` None: hiss."""
    rng = np.random.default_rng([*call.seed, 3])
    voices = np.zeros((2, round(call.duration_s * SAMPLING_RATE_HZ)), np.float32)
    for turn in call.turns:
        first, voice = round(turn.start_s * SAMPLING_RATE_HZ), read(turn.clip)
        channel = 0 if turn.role == "agent" else 1
        voices[channel, first : first + len(voice)] += voice
    line = call.line
    gain, late = np.float32(10 ** (-line.leak_below_db / 20)), round(line.leak_late_s * SAMPLING_RATE_HZ)
    heard = voices.copy()
    if line.leak != "none":
        heard[1, late:] += gain * voices[0, : voices.shape[1] - late]
    if line.leak == "crosstalk":
        heard[0] += gain * voices[1]
    level = np.float32(10 ** ((SPEECH_LEVEL_DBFS - line.snr_db) / 20))
    for signal in heard:
        if noise is None:
            signal += level * rng.standard_normal(len(signal), dtype=np.float32)
        else:
            rms = np.sqrt(np.mean(np.square(noise)) + 1e-20)
            signal += np.resize(np.roll(noise, int(rng.integers(len(noise)))), len(signal)) * (level / rms)
    return np.clip(heard, -1, 32767 / 32768)


@dataclass(frozen=True)
class CallWriter:
    """Writes calls below a folder; picklable, so that worker processes can call it."""

    folder: Path
    noises: Mapping[str, Path]
    """Files by name."""

    def __call__(self, call: ComposedCall) -> Path:
        """Writes the recording and its sidecar, unless they are there, and returns the recording's path."""
        path = self.folder / call.key
        if path.exists():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        facts = {
            "call_id": call.call_id,
            "channels": {"0": "agent", "1": "customer"},
            "customer_id": call.customer,
            "agent_id": call.agent,
            "queue": call.corpus,
        }
        path.with_suffix(".json").write_text(json.dumps(facts | ({"language": call.language} if call.language else {})))
        noise = None if call.line.noise == HISS else read_noise(self.noises[call.line.noise])
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            soundfile.write(file, samples_of(call, read_clip, noise).T, SAMPLING_RATE_HZ, format="WAV", subtype="ULAW")
        return path


@functools.lru_cache(maxsize=512)
def read_clip(clip: str) -> Signal:
    """A clip at telephone level, trimmed."""
    return read_trimmed(clip)


@functools.lru_cache(maxsize=8)
def read_noise(file: Path) -> Signal:
    """Background noise at 8 kHz, mono: float32 (samples,). Raises AudioError."""
    with open_audio(file, max_duration_s=LONGEST_NOISE_S) as reader:
        blocks = [block.mean(axis=0) for block in at_8_khz(reader.blocks(), reader.info.sampling_rate_hz)]
    noise: Signal = np.concatenate(blocks).astype(np.float32)
    return noise


def seconds_of(clip: str) -> float:
    """A clip's length, trimmed."""
    return len(read_trimmed(clip)) / SAMPLING_RATE_HZ


def call_table(calls: Sequence[ComposedCall]) -> pd.DataFrame:
    """One row a call, as ``ComposedCall.facts``."""
    return pd.DataFrame([call.facts() for call in calls])


def turn_table(calls: Sequence[ComposedCall]) -> pd.DataFrame:
    """One row a clip in a call: call_id, role, start_s, end_s, emotion, clip (its file's name)."""
    rows = [{"call_id": call.call_id} | asdict(turn) | {"clip": Path(turn.clip).name} for call in calls for turn in call.turns]
    return pd.DataFrame(rows)
