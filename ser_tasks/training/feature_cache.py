"""Features of labelled clips and of augmented copies of them, computed once and kept in a folder."""

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soxr
from rich.progress import Progress

from ser_tasks.datasets.conditions import CONDITIONS, ConditionContext, a_law, band_limited, g711, room
from ser_tasks.datasets.telephone import LONGEST_S, read_trimmed
from ser_tasks.evaluation.plan import Plan
from ser_tasks.evaluation.texts import texts_of
from ser_tasks.features import feature_set, features_of
from ser_tasks.features.words import place_words
from ser_tasks.progress import map_parallel
from ser_tasks.schemas import SAMPLING_RATE_HZ
from ser_tasks.scratch import atomic_folder
from ser_tasks.training.recipe import Recipe
from ser_tasks.training.voices import SPEED, other_voice

VERSION = 2
"""Version of the copies' processing: raise it with every change here, so that no training uses features computed before."""
SILENCE_S = 0.4
GAIN_DB = (-18.0, 12.0)
ROOM_SHARE = 0.3
"""Share of the augmented copies with the echo of a room."""
CLIPS_PER_TASK = 64
"""Clips that a worker process computes at once."""
LARGEST = float(np.finfo(np.float16).max)
"""The power of a mel band may be larger."""

LINES = {name: line for name, line in CONDITIONS.items() if not name.startswith("babble")} | {
    "A-law": a_law,
    "band-limited": band_limited,
}
"""Conditions of augmented copies. Babble needs other speakers' clips, so it is mixed in during training, from the training side only."""


@dataclass(frozen=True)
class Pool:
    """Features of clips, by copy: copy 0 is the clip over mu-law, the others are augmented."""

    frames: list[np.ndarray]
    """For each corpus, float16 ``(frames, features)``, memory-mapped: its copies one after the other."""
    starts: np.ndarray
    """Int64 ``(copies, clips)``: a clip's first frame in its corpus's frames."""
    lengths: np.ndarray
    """Int64 ``(copies, clips)``: number of frames."""
    corpus: np.ndarray
    """Int64 ``(clips,)``: index into ``frames``."""
    states: np.ndarray | None = None
    """Of models on pooled states, in place of frames: float32 ``(copies, clips, n_pooled)``."""

    def features(self, clip: int, copy: int = 0) -> np.ndarray:
        """Features float16 ``(frames, features)`` of one clip."""
        start = self.starts[copy, clip]
        frames: np.ndarray = self.frames[self.corpus[clip]][start : start + self.lengths[copy, clip]]
        return frames


def pool_of(clips: pd.DataFrame, recipe: Recipe, plan: Plan, progress: Progress) -> Pool:
    """The recipe's features of all clips, in their order, and of all augmented copies of each.

    They are kept in ``plan.cache``, corpus by corpus, so that a corpus's features are computed once whatever it is combined with. Speech
    can be reconstructed from them: the folder has mode 0700. A copy depends on the clip and the copy's number, not on the other clips.
    """
    plan.cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    names = sorted(clips["corpus"].unique())
    starts = np.zeros((recipe.all_copies + 1, len(clips)), np.int64)
    lengths, corpus, frames = starts.copy(), np.zeros(len(clips), np.int64), []
    for number, name in enumerate(names):
        chosen = (clips["corpus"] == name).to_numpy()
        of_corpus = clips[chosen]
        stored = plan.cache / features_key(of_corpus, recipe)
        if not stored.exists():
            compute_features(of_corpus, recipe, stored, plan.workers, progress)
        frames.append(np.load(stored / "frames.npy", mmap_mode="r"))
        flat = np.load(stored / "lengths.npy")
        lengths[:, chosen] = flat
        starts[:, chosen] = (np.cumsum(flat) - flat.ravel()).reshape(flat.shape)
        corpus[chosen] = number
    return Pool(frames, starts, lengths, corpus)


def features_key(clips: pd.DataFrame, recipe: Recipe) -> str:
    """Identifies the features of one corpus's clips by all that they depend on; names their folder."""
    features = feature_set(recipe.feature_set)
    params = features.complete(recipe.feature_params)
    copies = [recipe.copies, recipe.voices] if recipe.voices else recipe.copies
    content: list[object] = [VERSION, recipe.feature_set, features.version, params, copies, list(clips["digest"])]
    if features.words:
        content.append(texts_of(clips))
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return f"{clips['corpus'].iloc[0]}-{recipe.feature_set}-{digest[:16]}"


def compute_features(clips: pd.DataFrame, recipe: Recipe, stored: Path, workers: int, progress: Progress) -> None:
    """Writes the features of one corpus's clips as the folder ``stored``, atomically."""
    texts = texts_of(clips) if feature_set(recipe.feature_set).words else [""] * len(clips)
    whole = list(zip(clips["file"], clips["digest"], texts, strict=True))
    batches = [whole[start : start + CLIPS_PER_TASK] for start in range(0, len(whole), CLIPS_PER_TASK)]
    compute = functools.partial(features_of_copies, recipe=recipe)
    computed = map_parallel(compute, batches, workers, progress, f"features of {clips['corpus'].iloc[0]}")
    copies = range(recipe.all_copies + 1)
    try:
        with atomic_folder(stored) as temporary:
            np.save(temporary / "frames.npy", np.concatenate([batch[copy][0] for copy in copies for batch in computed]))
            np.save(temporary / "lengths.npy", np.stack([np.concatenate([batch[copy][1] for batch in computed]) for copy in copies]))
    except OSError:
        if not stored.exists():  # a concurrent training may have written it first
            raise


def features_of_copies(clips: list[tuple[str, str, str]], recipe: Recipe) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each copy, float16 features of all clips (file, digest, words) end to end, and the frames of each; in a worker process."""
    signals = [read_trimmed(file)[: int(LONGEST_S * SAMPLING_RATE_HZ)] for file, _, _ in clips]
    copies = []
    for copy in range(recipe.all_copies + 1):
        altered = [_copy(signal, digest, copy, copy > recipe.copies) for signal, (_, digest, _) in zip(signals, clips, strict=True)]
        flat, lengths = features_of(recipe.feature_set, recipe.feature_params, altered, SAMPLING_RATE_HZ)
        if feature_set(recipe.feature_set).words:
            place_words(flat, lengths, [text for _, _, text in clips])
        copies.append((flat.clip(-LARGEST, LARGEST).astype(np.float16), lengths))
    return copies


def _copy(signal: np.ndarray, digest: str, copy: int, voice: bool) -> np.ndarray:
    """The signal at another speed (which shifts pitch and formants) or in another voice, padded with silence, at another level, under a
    random condition."""
    if copy == 0:
        return g711(signal, ConditionContext(np.random.default_rng(0), []))
    rng = np.random.default_rng([copy, int(digest[:16], 16)])
    context = ConditionContext(rng, [])
    signal = other_voice(signal, rng) if voice else soxr.resample(signal, SAMPLING_RATE_HZ * rng.uniform(*SPEED), SAMPLING_RATE_HZ, "HQ")
    if rng.random() < ROOM_SHARE:
        signal = room(signal, context)
    signal = np.pad(signal, rng.integers(0, int(SILENCE_S * SAMPLING_RATE_HZ), 2)) * np.float32(10 ** (rng.uniform(*GAIN_DB) / 20))
    return LINES[list(LINES)[rng.integers(len(LINES))]](signal, context)
