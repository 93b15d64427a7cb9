"""Two-sided calls whose voices cross over: echoes and mono mixes, from turns of known speakers."""

from pathlib import Path

import numpy as np
import soundfile

from ser_tasks.audio.samples import Samples
from ser_tasks.datasets import read_labels_csv
from ser_tasks.datasets.telephone import mu_law, read_trimmed
from tests.factories.audio import RATE_HZ, write

CODECS = ("pcm", "ulaw", "gsm610.wav", "opus.opus")


def acted_call(corpus: Path, seed: int, turns: int = 6) -> np.ndarray:
    """A clean call (2, samples) of two speakers of a corpus, agent and customer; in a third of the turns both speak."""
    rng = np.random.default_rng(seed)
    clips = read_labels_csv(corpus).clips
    files = [clips[clips.speaker == speaker].file.tolist() for speaker in rng.choice(sorted(clips.speaker.unique()), 2, replace=False)]
    placed: list[tuple[int, int, np.ndarray]] = []
    end = RATE_HZ // 2
    for turn in range(turns):
        agent, customer = (np.concatenate([read_trimmed(file) for file in rng.choice(own, rng.integers(1, 4))]) for own in files)
        placed.append((0, end, agent))
        pause = -len(agent) // 2 if turn % 3 == 1 else int(rng.uniform(0.2, 1) * RATE_HZ)
        start = end + len(agent) + pause
        placed.append((1, start, customer))
        end = max(start + len(customer), end + len(agent)) + int(rng.uniform(0.2, 1) * RATE_HZ)
    call = np.zeros((2, end + RATE_HZ // 2), np.float32)
    for channel, start, voice in placed:
        call[channel, start : start + len(voice)] += voice
    return call


def late(samples: np.ndarray, ms: float, below_db: float = 0.0) -> np.ndarray:
    """The samples (samples,) a time later, or earlier if it is negative, and quieter; as long as before."""
    lag = round(ms * RATE_HZ / 1000)
    moved = np.pad(samples, (max(lag, 0), max(-lag, 0)))[max(-lag, 0) :][: len(samples)]
    return (moved * 10 ** (-below_db / 20)).astype(np.float32)


def with_echo(call: np.ndarray, below_db: float, late_ms: float) -> np.ndarray:
    """The call with the first channel's voice on the second, too."""
    return np.stack([call[0], call[1] + late(call[0], late_ms, below_db)])


def reverberant(samples: np.ndarray, seed: int = 5) -> np.ndarray:
    """The samples (samples,) as a microphone in a room with 0.3 s of reverberation hears them, at the same level."""
    time_s = np.arange(round(0.3 * RATE_HZ)) / RATE_HZ
    response = np.random.default_rng(seed).standard_normal(len(time_s)) * 10 ** (-10 * time_s)
    heard = np.convolve(samples, response)[: len(samples)]
    return (heard * samples.std() / heard.std()).astype(np.float32)


def drifting(samples: np.ndarray, ppm: float) -> np.ndarray:
    """The samples (samples,) by a clock that is wrong by so many parts in a million."""
    at = np.arange(len(samples))
    return np.interp(at * (1 - ppm * 1e-6), at, samples).astype(np.float32)


def with_noise(call: np.ndarray, level_dbfs: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(call.shape)
    return (call + noise * 10 ** (level_dbfs / 20)).astype(np.float32)


def coded(call: np.ndarray, codec: str, folder: Path) -> np.ndarray:
    """Each channel after a codec of its own (one of CODECS), as long as before."""
    if codec == "pcm":
        return call
    if codec == "ulaw":
        return np.stack([mu_law(channel) for channel in call])
    decoded = [soundfile.read(write(folder / codec, np.clip(channel, -1, 0.99)[None]), dtype="float32")[0] for channel in call]
    return np.stack([np.pad(channel, (0, max(0, call.shape[1] - len(channel))))[: call.shape[1]] for channel in decoded])


def samples_of(call: np.ndarray) -> Samples:
    samples = Samples(len(call), Path())
    samples.push(call)
    return samples
