"""Features of labelled clips, and of altered copies of them, computed once and kept in a folder."""

import functools
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soxr
from rich.progress import Progress

from ser_tasks.datasets.conditions import CONDITIONS, ConditionContext, a_law, band_limited, g711, room
from ser_tasks.datasets.telephone import LONGEST_S, read_trimmed
from ser_tasks.features import feature_set, features_of
from ser_tasks.progress import map_parallel
from ser_tasks.schemas import SAMPLING_RATE_HZ
from ser_tasks.scratch import atomic_folder

VERSION = 2
"""Of what this file makes of a clip: raise it with every change, and nobody trains on features of before."""
SILENCE_S = 0.4
SPEED = (0.85, 1.18)
GAIN_DB = (-18.0, 12.0)
ROOM_SHARE = 0.3
"""Of the altered copies, those heard from across a room."""
CLIPS_AT_ONCE = 64

LINES = {name: line for name, line in CONDITIONS.items() if not name.startswith("babble")} | {
    "A-law": a_law,
    "band-limited": band_limited,
}
"""What an altered copy may go through. Babble is other people's speech and is mixed in later: only then is it known who trains."""


@dataclass(frozen=True)
class Pool:
    """Features of clips, by copy: copy 0 is the clip over mu-law as it is, the others are altered."""

    frames: list[np.ndarray]
    """For each corpus, float16 ``(frames, features)``, memory-mapped: its copies one after the other."""
    starts: np.ndarray
    """Int64 ``(copies, clips)``: a clip's first frame in its corpus's frames."""
    lengths: np.ndarray
    """Int64 ``(copies, clips)``: its frames."""
    corpus: np.ndarray
    """Int64 ``(clips,)``: index into ``frames``."""

    def features(self, clip: int, copy: int = 0) -> np.ndarray:
        """Features float16 ``(frames, features)`` of one clip."""
        start = self.starts[copy, clip]
        return self.frames[self.corpus[clip]][start : start + self.lengths[copy, clip]]


def pool_of(
    clips: pd.DataFrame, feature_name: str, params: dict[str, Any], copies: int, folder: Path, workers: int, progress: Progress
) -> Pool:
    """The features of all clips, in their order, with so many altered copies of each.

    ``folder`` holds what was computed before: a corpus's features are found again whatever it is mixed with. It holds what speech can be
    made from, and is its owner's alone (mode 0700). A copy depends on the clip and its number, not on the other clips.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    names = sorted(clips["corpus"].unique())
    starts = np.zeros((copies + 1, len(clips)), np.int64)
    lengths, corpus, frames = starts.copy(), np.zeros(len(clips), np.int64), []
    for number, name in enumerate(names):
        chosen = (clips["corpus"] == name).to_numpy()
        own = clips[chosen]
        stored = folder / _key(own, feature_name, params, copies)
        if not stored.exists():
            _compute(own, feature_name, params, copies, stored, workers, progress)
        frames.append(np.load(stored / "frames.npy", mmap_mode="r"))
        flat = np.load(stored / "lengths.npy")
        lengths[:, chosen] = flat
        starts[:, chosen] = (np.cumsum(flat) - flat.ravel()).reshape(flat.shape)
        corpus[chosen] = number
    return Pool(frames, starts, lengths, corpus)


def cache_folder() -> Path:
    """Where features are kept if nothing else is said: ``ser-nightly`` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ser-nightly"


def _key(clips: pd.DataFrame, feature_name: str, params: dict[str, Any], copies: int) -> str:
    features = feature_set(feature_name)
    told = json.dumps([VERSION, feature_name, features.version, features.complete(params), copies, list(clips["digest"])])
    return f"{clips['corpus'].iloc[0]}-{feature_name}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def _compute(
    clips: pd.DataFrame, feature_name: str, params: dict[str, Any], copies: int, stored: Path, workers: int, progress: Progress
) -> None:
    """Writes the folder ``stored``, whole or not at all."""
    whole = list(zip(clips["file"], clips["digest"], strict=True))
    parts = [whole[start : start + CLIPS_AT_ONCE] for start in range(0, len(whole), CLIPS_AT_ONCE)]
    compute = functools.partial(features_of_copies, feature_name=feature_name, params=params, copies=copies)
    found = map_parallel(compute, parts, workers, progress, f"features of {clips['corpus'].iloc[0]}")
    try:
        with atomic_folder(stored) as temporary:
            np.save(temporary / "frames.npy", np.concatenate([part[copy][0] for copy in range(copies + 1) for part in found]))
            np.save(temporary / "lengths.npy", np.stack([np.concatenate([part[copy][1] for part in found]) for copy in range(copies + 1)]))
    except OSError:
        if not stored.exists():  # another training may have been quicker
            raise


def features_of_copies(clips: list[tuple[str, str]], feature_name: str, params: dict, copies: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each copy, float16 features of all clips (file, digest) end to end, and the frames of each; in a worker process."""
    signals = [read_trimmed(file)[: int(LONGEST_S * SAMPLING_RATE_HZ)] for file, _ in clips]
    found = []
    for copy in range(copies + 1):
        heard = [_copy(signal, digest, copy) for signal, (_, digest) in zip(signals, clips, strict=True)]
        flat, lengths = features_of(feature_name, params, heard, SAMPLING_RATE_HZ)
        found.append((flat.astype(np.float16), lengths))
    return found


def _copy(signal: np.ndarray, digest: str, copy: int) -> np.ndarray:
    """The signal as of another voice (pitch, formants and pace shifted together), with pauses, at another level, over some line."""
    if copy == 0:
        return g711(signal, ConditionContext(np.random.default_rng(0), []))
    rng = np.random.default_rng([copy, int(digest[:16], 16)])
    context = ConditionContext(rng, [])
    signal = soxr.resample(signal, SAMPLING_RATE_HZ * rng.uniform(*SPEED), SAMPLING_RATE_HZ, "HQ")
    if rng.random() < ROOM_SHARE:
        signal = room(signal, context)
    signal = np.pad(signal, rng.integers(0, int(SILENCE_S * SAMPLING_RATE_HZ), 2)) * np.float32(10 ** (rng.uniform(*GAIN_DB) / 20))
    return LINES[list(LINES)[rng.integers(len(LINES))]](signal, context)
