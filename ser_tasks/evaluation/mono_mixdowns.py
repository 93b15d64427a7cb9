"""Real calls of two people as mono mixes: how well their voices are told apart, and whether the right one is taken for the customer.

A recording of two channels, agent and customer, is mixed down to one; the speech that the detector finds on each channel is the truth, but
not where the other channel is 20 dB louder (crosstalk). A mono recording needs a transcript with roles beside it (.srt); its turns are the
truth, and nothing of them is used otherwise.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import soxr

from ser_tasks.audio.samples import Samples
from ser_tasks.audio.vad import WINDOW, detect_speech, speech_spans
from ser_tasks.calls.turns import MonoFacts
from ser_tasks.evaluation.composed import Signal
from ser_tasks.evaluation.mono_calls import FRAME_S, Mask, measure_mix
from ser_tasks.schemas import SAMPLING_RATE_HZ
from ser_tasks.transcripts.reader import read_transcript

ROLES = ("agent", "customer")
LOUDER_DB = 20.0
"""A channel so much below the other carries the other's voice."""


def mix_and_truth(file: Path, folder: Path, agent: int = 0) -> tuple[Signal, Mask]:
    """The mono mix at 8 kHz, float32 (samples,), and when ROLES speak, (2, frames of 10 ms); ``agent`` is the channel of the agent.

    Raises ValueError for other than two channels without a transcript.
    """
    read, rate_hz = soundfile.read(file, dtype="float32", always_2d=True)
    signal = soxr.resample(read, rate_hz, SAMPLING_RATE_HZ, "HQ").astype(np.float32).T
    frames = int(signal.shape[1] / SAMPLING_RATE_HZ / FRAME_S)
    if len(signal) == len(ROLES):
        channels = signal[[agent, 1 - agent]]
        return channels.mean(axis=0), _speech(channels, frames, folder)
    transcript = file.with_suffix(".srt")
    if len(signal) != 1 or not transcript.exists():
        raise ValueError(f"{file.name} has {len(signal)} channels and no {transcript.name}: use two channels, or a transcript with roles.")
    truth = np.zeros((len(ROLES), frames), bool)
    for turn in read_transcript(transcript.read_bytes()).turns:
        if turn.role in ROLES:
            truth[ROLES.index(turn.role), round(turn.start_s / FRAME_S) : round(turn.end_s / FRAME_S)] = True
    return signal[0], truth


def _speech(channels: Signal, frames: int, folder: Path) -> Mask:
    with Samples(len(channels), folder) as samples:
        samples.push(channels)
        found = detect_speech([samples])[0]
        truth = np.zeros((len(channels), frames), bool)
        step = round(FRAME_S * SAMPLING_RATE_HZ)
        for channel, probabilities in enumerate(found.probabilities):
            for span in speech_spans(probabilities, samples.samples):
                truth[channel, span.start // step : span.end // step] = True
    windows = np.minimum(np.arange(frames) * step // WINDOW, found.power.shape[1] - 1)
    level_db = 10 * np.log10(found.power[:, windows] + 1e-12)
    truth &= level_db > level_db[::-1] - LOUDER_DB
    return truth


def run(files: Sequence[Path], direction: str, folder: Path, agent: int = 0) -> pd.DataFrame:
    """One row of figures for each file; ``direction`` is what the sidecar would say."""
    rows = []
    for file in files:
        mix, truth = mix_and_truth(file, folder, agent)
        rows.append({"file": file.name} | measure_mix(mix, truth, MonoFacts(direction=direction), folder))
    return pd.DataFrame(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a row for each file."""
    import torch

    parser = argparse.ArgumentParser(description="Who speaks when on real calls mixed down to mono.")
    parser.add_argument("files", nargs="+", type=Path, help="recordings of two channels, or mono ones with a .srt that names roles")
    parser.add_argument("--direction", choices=("inbound", "outbound"), default="inbound")
    parser.add_argument("--agent", type=int, choices=(0, 1), default=0, help="the agent's channel")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        figures = run(chosen.files, chosen.direction, Path(folder), chosen.agent)
    print(figures.drop(columns=["cpu_s", "error_s"]).to_string(index=False, float_format=lambda value: f"{value:.3g}"))


if __name__ == "__main__":
    main()
