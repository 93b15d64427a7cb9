"""Mono phone calls of two people made of labelled clips, and how well voices are told apart on them: diarization error under emotion.

The recipe. Two people of one corpus, every second pair of one gender, take turns of one to three clips; a turn begins 0.4 s before to 1.0 s
after the one before it ends, so that three turns in ten overlap. ``calm``: both speak clips labelled neutral or calm. ``emotional``: both
speak clips of all their emotions. The agent begins. The customer is up to 6 dB louder or quieter. A third of the calls has an echo of all
that is said, 30 to 250 ms late and 15 to 30 dB below; a third has a third person's voice, 25 to 40 dB below. Noise is 12 to 35 dB below.
Both voices are added up and coded as mu-law at 8 kHz. What a call holds is drawn by its number and the seed alone.

The measures. Reference: a person speaks where their clip is within 35 dB of its loudest 20 ms, or in a pause of less than 0.3 s.
Diarization error rate: missed, false and confused seconds by all seconds of speech of each person, 0.25 s around each change in the
reference left out (a collar), overlap counted, people mapped as fits best. Agent's share: of the seconds that are released as the
customer's, those in which the agent speaks and the customer does not. A call is safe to release if its error is at most 12 %.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ser_tasks.audio.samples import Samples
from ser_tasks.audio.vad import Span, detect_speech, segments, speech_spans
from ser_tasks.calls.turns import MonoFacts
from ser_tasks.datasets import read_corpora
from ser_tasks.datasets.leaks import person_of
from ser_tasks.datasets.telephone import SILENCE_BELOW_PEAK_DB, SPEECH_LEVEL_DBFS, mu_law
from ser_tasks.evaluation.composed import HISS, Signal, Turn, read_clip, read_noise
from ser_tasks.schemas import SAMPLING_RATE_HZ
from ser_tasks.voices.encoder import voice_vectors
from ser_tasks.voices.mono import PEOPLE, attribute
from ser_tasks.voices.split import split
from ser_tasks.voices.windows import windows

CONDITIONS = ("calm", "emotional")
CALM = ("neutral", "calm")
LEAST_CLIPS = 4
"""Of a person, for a call."""
DURATION_S = 110.0
OVERLAP_S, PAUSE_S = 0.4, 1.0
SPREAD_DB = 6.0
LEAKS = ("none", "echo", "crosstalk")
FRAME_S = 0.01
COLLAR_S = 0.25
BRIDGED_S = 0.3
SAFE_DER = 0.12
MIN_SEGMENT_S, MAX_SEGMENT_S = 1.0, 6.0

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class MonoCall:
    """One call: its people, its turns in order of time, and its line."""

    number: int
    condition: str
    corpus: str
    agent: str
    customer: str
    one_gender: bool
    turns: tuple[Turn, ...]
    customer_gain_db: float
    snr_db: float
    noise: str
    leak: str
    leak_clips: tuple[str, ...]
    leak_below_db: float
    leak_late_s: float
    seed: tuple[int, ...]


def compose(clips: pd.DataFrame, condition: str, number: int, seed: int = 0, noises: Sequence[str] = ()) -> list[MonoCall]:
    """``number`` calls of a condition from clips of one corpus, as of ``Corpus.clips``. Raises ValueError where it has too few people."""
    usable = clips.assign(person=person_of(clips))
    if condition == "calm":
        usable = usable[usable["emotion"].isin(CALM)]
    by_person = {str(person): group for person, group in usable.groupby("person") if len(group) >= LEAST_CLIPS}
    if len(by_person) < PEOPLE:
        raise ValueError(f"{len(by_person)} people have {LEAST_CLIPS} clips for {condition} calls: a call needs {PEOPLE}.")
    return [_call(by_person, condition, index, seed, noises) for index in range(number)]


def _call(by_person: dict[str, pd.DataFrame], condition: str, number: int, seed: int, noises: Sequence[str]) -> MonoCall:
    rng = np.random.default_rng([seed, number, CONDITIONS.index(condition)])
    gender = {person: group["gender"].iloc[0] for person, group in by_person.items()}
    pairs = [(one, other) for one in by_person for other in by_person if one != other]
    wanted = [pair for pair in pairs if (gender[pair[0]] == gender[pair[1]]) == (number % 2 == 0)] or pairs
    agent, customer = wanted[rng.integers(len(wanted))]
    turns = _turns({"agent": by_person[agent], "customer": by_person[customer]}, rng)
    third = [person for person in by_person if person not in (agent, customer)]
    leak = LEAKS[number // 2 % len(LEAKS)]
    if leak == "crosstalk" and third:
        files = by_person[third[rng.integers(len(third))]]["file"]
        leak_clips = tuple(files.iloc[rng.permutation(len(files))[:12]])
    else:
        leak_clips = ()
    return MonoCall(
        number=number,
        condition=condition,
        corpus=by_person[agent]["corpus"].iloc[0],
        agent=agent,
        customer=customer,
        one_gender=gender[agent] == gender[customer],
        turns=tuple(turns),
        customer_gain_db=float(rng.uniform(-SPREAD_DB, SPREAD_DB)),
        snr_db=float(rng.uniform(12, 35)),
        noise=str(rng.choice(list(noises))) if noises else HISS,
        leak=leak,
        leak_clips=leak_clips,
        leak_below_db=float(rng.uniform(25, 40) if leak == "crosstalk" else rng.uniform(15, 30)),
        leak_late_s=float(rng.uniform(0.03, 0.25)),
        seed=(seed, number),
    )


def _turns(own: dict[str, pd.DataFrame], rng: np.random.Generator) -> list[Turn]:
    decks = {role: _dealt(group, rng) for role, group in own.items()}
    turns: list[Turn] = []
    end_s, last = 0.5, {"agent": 0.0, "customer": 0.0}
    while end_s < DURATION_S:
        role = "customer" if turns and turns[-1].role == "agent" else "agent"
        start_s = max(end_s + rng.uniform(-OVERLAP_S, PAUSE_S), last[role] + 0.2) if turns else end_s
        for _ in range(rng.integers(1, 4)):
            clip, emotion = decks[role]()
            end_s = start_s + len(read_clip(clip)) / SAMPLING_RATE_HZ
            turns.append(Turn(role, start_s, end_s, emotion, clip))
            start_s = end_s + rng.uniform(0.1, 0.5)
        last[role] = end_s
    return turns


def _dealt(clips: pd.DataFrame, rng: np.random.Generator) -> Callable[[], tuple[str, str]]:
    """Deals clips in a random order, and anew when all were dealt."""
    left: list[int] = []

    def deal() -> tuple[str, str]:
        if not left:
            left.extend(rng.permutation(len(clips)).tolist())
        row = clips.iloc[left.pop()]
        return str(row["file"]), str(row["emotion"])

    return deal


def voices_of(call: MonoCall) -> Signal:
    """Agent and customer as they reach the line, before it, float32 (2, samples)."""
    length = round((max(turn.end_s for turn in call.turns) + 0.5) * SAMPLING_RATE_HZ)
    voices = np.zeros((2, length), np.float32)
    for turn in call.turns:
        first, voice = round(turn.start_s * SAMPLING_RATE_HZ), read_clip(turn.clip)
        voices[int(turn.role == "customer"), first : first + len(voice)] += voice[: length - first]
    voices[1] *= np.float32(10 ** (call.customer_gain_db / 20))
    return voices


def samples_of(call: MonoCall, noise: Signal | None) -> Signal:
    """The recording, float32 (samples,) at 8 kHz, coded; ``noise`` None: hiss."""
    rng = np.random.default_rng([*call.seed, 3])
    mix: Signal = voices_of(call).sum(axis=0)
    leak = np.float32(10 ** (-call.leak_below_db / 20))
    if call.leak == "echo":
        late = round(call.leak_late_s * SAMPLING_RATE_HZ)
        mix[late:] += leak * mix[: len(mix) - late].copy()
    elif call.leak_clips:
        other = np.concatenate([np.pad(read_clip(clip), (0, SAMPLING_RATE_HZ)) for clip in call.leak_clips])
        mix += leak * np.resize(other, len(mix))
    level = np.float32(10 ** ((SPEECH_LEVEL_DBFS - call.snr_db) / 20))
    if noise is None:
        mix += level * rng.standard_normal(len(mix), dtype=np.float32)
    else:
        rms = np.sqrt(np.mean(np.square(noise)) + 1e-20)
        mix += np.resize(np.roll(noise, int(rng.integers(len(noise)))), len(mix)) * (level / rms)
    return mu_law(mix * np.float32(0.7))


def reference(call: MonoCall) -> Mask:
    """Who speaks in each frame of 10 ms: agent, customer (2, frames)."""
    frame, bridged = round(FRAME_S * SAMPLING_RATE_HZ), round(BRIDGED_S / FRAME_S)
    length = round((max(turn.end_s for turn in call.turns) + 0.5) / FRAME_S)
    speaks = np.zeros((2, length), bool)
    for turn in call.turns:
        voice = read_clip(turn.clip)
        power = np.square(voice[: len(voice) // frame * frame].reshape(-1, frame)).mean(axis=1)
        loud = np.flatnonzero(power > power.max() * 10 ** (-SILENCE_BELOW_PEAK_DB / 10))
        first = round(turn.start_s / FRAME_S)
        for one, other in zip(loud, [*loud[1:], loud[-1] + 1], strict=True):
            end = other if other - one <= bridged else one + 1
            speaks[int(turn.role == "customer"), first + one : first + end] = True
    return speaks


def errors(truth: Mask, stated: Mask) -> tuple[int, int]:
    """Frames in error and frames of speech, outside the collars: numerator and denominator of the diarization error rate."""
    collar = round(COLLAR_S / FRAME_S)
    counted = np.ones(truth.shape[1], bool)
    for person in truth:
        for change in np.flatnonzero(np.diff(person.astype(np.int8))):
            counted[max(0, change + 1 - collar) : change + 1 + collar] = False
    truth, stated = truth[:, counted], stated[:, counted]
    most, right = np.maximum(truth.sum(axis=0), stated.sum(axis=0)), [(truth & stated[order]).sum(axis=0) for order in ([0, 1], [1, 0])]
    return min(int((most - each).sum()) for each in right), int(truth.sum())


def measure(call: MonoCall, noise: Signal | None, folder: Path) -> dict[str, Any]:
    """One row of figures of a call, in seconds; ``cpu_s`` is that of detection and of all that tells voices apart."""
    line = {"corpus": call.corpus, "condition": call.condition, "number": call.number, "one_gender": call.one_gender, "leak": call.leak}
    return line | measure_mix(samples_of(call, noise), reference(call), MonoFacts(direction="inbound"), folder)


def measure_mix(mix: Signal, truth: Mask, facts: MonoFacts, folder: Path) -> dict[str, Any]:
    """Figures of a mono mix (samples,) of agent and customer, of whom ``truth`` (2, frames of 10 ms) says when they speak."""
    with Samples(1, folder) as samples:
        samples.push(mix[None])
        begun = time.process_time()
        probabilities = detect_speech([samples])[0].probabilities[0]
        spans = speech_spans(probabilities, samples.samples)
        found = [window for span in spans for window in windows(span, probabilities)]
        vectors = voice_vectors(samples, 0, found)
        result = attribute(samples, 0, spans, probabilities, facts, encode=lambda *_: vectors)
        cpu_s = time.process_time() - begun
        person = split(found, vectors, PEOPLE).person
        audio_s = samples.samples / SAMPLING_RATE_HZ
    stated = np.stack([_frames([window for window, of in zip(found, person, strict=True) if of == each], truth) for each in range(PEOPLE)])
    wrong, speech = errors(truth, stated)
    customer = [span for stretch in result.spans["customer"] for span in segments(stretch, probabilities, MIN_SEGMENT_S, MAX_SEGMENT_S)]
    released = _frames(customer, truth)
    return {
        "audio_s": audio_s,
        "cpu_s": cpu_s,
        "error_s": wrong * FRAME_S,
        "speech_s": speech * FRAME_S,
        "der": wrong / max(1, speech),
        "released": result.doubt is None,
        "doubt": result.doubt,
        "released_s": float(released.sum() * FRAME_S),
        "agent_s": float((released & truth[0] & ~truth[1]).sum() * FRAME_S),
        "customer_s": float(truth[1].sum() * FRAME_S),
    }


def _frames(spans: list[Span], truth: Mask) -> Mask:
    frame = round(FRAME_S * SAMPLING_RATE_HZ)
    mask = np.zeros(truth.shape[1], bool)
    for span in spans:
        mask[span.start // frame : span.end // frame] = True
    return mask


def table(calls: pd.DataFrame) -> pd.DataFrame:
    """Figures by corpus and condition, and of all calls of a condition: shares from 0 to 1, and audio-hours an hour on one core."""
    groups = [((corpus, condition), group) for (corpus, condition), group in calls.groupby(["corpus", "condition"])]
    groups += [(("all", str(condition)), group) for condition, group in calls.groupby("condition")]
    return pd.DataFrame([{"corpus": corpus, "condition": condition} | _figures(group) for (corpus, condition), group in groups])


def _figures(calls: pd.DataFrame) -> dict[str, Any]:
    safe = calls[calls["der"] <= SAFE_DER]
    one, two = calls[calls["one_gender"]], calls[~calls["one_gender"]]
    return {
        "calls": len(calls),
        "hours": calls["audio_s"].sum() / 3600,
        "der": calls["error_s"].sum() / calls["speech_s"].sum(),
        "der_one_gender": one["error_s"].sum() / max(one["speech_s"].sum(), 1e-9),
        "der_two_genders": two["error_s"].sum() / max(two["speech_s"].sum(), 1e-9),
        "released": calls["released"].mean(),
        "safe": len(safe) / len(calls),
        "safe_released": safe["released"].mean() if len(safe) else float("nan"),
        "agent_share": calls["agent_s"].sum() / max(calls["released_s"].sum(), 1e-9),
        "worst_agent_share": float((calls["agent_s"] / calls["released_s"].clip(lower=1e-9)).max()),
        "customer_speech_kept": calls["released_s"].sum() / max(calls.loc[calls["released"], "customer_s"].sum(), 1e-9),
        "speed": calls["audio_s"].sum() / calls["cpu_s"].sum(),
    }


def run(data: Sequence[Path], number: int, seed: int, noises: dict[str, Path], folder: Path) -> pd.DataFrame:
    """Figures of ``number`` calls of each corpus and condition, one row a call."""
    rows = []
    for corpus in read_corpora(data):
        for condition in CONDITIONS:
            for call in compose(corpus.clips, condition, number, seed, sorted(noises)):
                noise = None if call.noise == HISS else read_noise(noises[call.noise])
                rows.append(measure(call, noise, folder))
    return pd.DataFrame(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table of `run`."""
    import tempfile

    import torch

    parser = argparse.ArgumentParser(description="Diarization error under emotion, on mono calls composed of labelled clips.")
    parser.add_argument("data", nargs="+", type=Path, help="folders of labelled corpora")
    parser.add_argument("--number", type=int, default=40, help="calls of each corpus and condition")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--noise", type=Path, help="folder of background noises")
    parser.add_argument("--csv", type=Path, help="where to write the figures of each call")
    chosen = parser.parse_args(arguments)
    noises = {file.stem: file for file in sorted(chosen.noise.iterdir()) if file.suffix in (".wav", ".flac")} if chosen.noise else {}
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        calls = run(chosen.data, chosen.number, chosen.seed, noises, Path(folder))
    if chosen.csv:
        calls.to_csv(chosen.csv, index=False)
    print(table(calls).to_string(index=False, float_format=lambda value: f"{value:.4g}"))


if __name__ == "__main__":
    main()
