"""Pooled states of clips by a frozen encoder: under telephone conditions, and of noisy copies for training. Computed once and kept."""

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import soxr
import torch
from rich.progress import Progress

from ser_tasks.datasets import speaker_ids
from ser_tasks.datasets.conditions import CONDITIONS, REFERENCE, ConditionContext, babble, noise
from ser_tasks.datasets.telephone import LONGEST_S, mu_law, read_trimmed
from ser_tasks.evaluation.evaluate import BABBLE_VOICES, ClipToScore, clip_rng, clips_to_score
from ser_tasks.evaluation.plan import Plan
from ser_tasks.features import feature_set, features_of
from ser_tasks.models import PooledLinear, encoder_of, make_model
from ser_tasks.progress import map_parallel
from ser_tasks.schemas import SAMPLING_RATE_HZ
from ser_tasks.scratch import atomic_write
from ser_tasks.training.feature_cache import CLIPS_PER_TASK
from ser_tasks.training.fit import half_precision
from ser_tasks.training.recipe import Recipe
from ser_tasks.training.voices import other_voice

VERSION = 2
"""Version of the processing here: raise it with every change, so that no training uses states computed before."""
FRAMES_PER_BATCH = 4096
COPY_SNR_DB = (3.0, 20.0)
VOICE_SPEED = (0.75, 1.35)
"""Speed of the voices of a babble copy, which shifts their pitch and formants."""


def _noise_copy(signal: np.ndarray, context: ConditionContext) -> np.ndarray:
    return noise(signal, context, context.rng.uniform(*COPY_SNR_DB))


def _babble_copy(signal: np.ndarray, context: ConditionContext) -> np.ndarray:
    voices = [soxr.resample(other, SAMPLING_RATE_HZ * context.rng.uniform(*VOICE_SPEED), SAMPLING_RATE_HZ) for other in context.others]
    return babble(signal, ConditionContext(context.rng, voices), context.rng.uniform(*COPY_SNR_DB))


def _voice_copy(signal: np.ndarray, context: ConditionContext) -> np.ndarray:
    return mu_law(other_voice(signal, context.rng))


Alter: TypeAlias = Callable[[np.ndarray, ConditionContext], np.ndarray]
COPIES: dict[str, Alter] = {"noise copy": _noise_copy, "babble copy": _babble_copy}
"""Augmented copies for training, by name. The voices of a babble copy are other clips of the clip's own speaker at other speeds, so that
no speaker of another side of a split enters it."""
VOICE_COPIES: dict[str, Alter] = {"voice copy": _voice_copy}
"""The same of a recipe's ``voices``."""


@dataclass(frozen=True)
class StatesOfClips:
    """Computes the states of clips under one condition; picklable, so that worker processes can call it."""

    model: str
    recipe: Recipe
    condition: str
    """Name in ``CONDITIONS``, ``COPIES`` or ``VOICE_COPIES``."""
    seed: int
    device: str

    def __call__(self, clips: list[ClipToScore]) -> np.ndarray:
        """Pooled states float32 ``(clips, n_pooled)`` of the first 6 s of each clip, in bfloat16 where that is faster."""
        alter = (CONDITIONS | COPIES | VOICE_COPIES)[self.condition]
        read = functools.lru_cache(maxsize=256)(read_trimmed)
        longest = int(LONGEST_S * SAMPLING_RATE_HZ)
        signals = [
            alter(
                read(clip.file)[:longest],
                ConditionContext(clip_rng(clip.digest, self.condition, self.seed), [read(other) for other in clip.babble]),
            )
            for clip in clips
        ]
        flat, lengths = features_of(self.recipe.feature_set, self.recipe.feature_params, signals, SAMPLING_RATE_HZ)
        frames = np.split(flat, np.cumsum(lengths)[:-1])
        module = _encoder(self.model, self.recipe.feature_set, json.dumps(self.recipe.feature_params)).to(self.device)
        states = np.empty((len(clips), module.N_POOLED), np.float32)
        order, first = np.argsort(lengths, kind="stable"), 0
        while first < len(order):
            widths = lengths[order[first:]] * np.arange(1, len(order) - first + 1)
            members = order[first : first + max(1, int(np.searchsorted(widths, FRAMES_PER_BATCH, side="right")))]
            x = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(frames[clip]) for clip in members], batch_first=True)
            with torch.inference_mode(), torch.autocast(self.device, torch.bfloat16, enabled=half_precision(self.device)):
                pooled = module.pooled(x.to(self.device), torch.from_numpy(lengths[members]).to(self.device))
            states[members] = pooled.float().cpu().numpy()
            first += len(members)
        return states


def states_under(
    clips: pd.DataFrame, model: str, recipe: Recipe, condition: str, others: list[list[str]], plan: Plan, progress: Progress
) -> np.ndarray:
    """Pooled states float32 ``(clips, n_pooled)`` of all clips under a condition. ``others`` are files of babble for each clip.

    They are kept in ``plan.cache``, corpus by corpus. Speech cannot be reconstructed from them.
    """
    plan.cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    compute = StatesOfClips(model, recipe, condition, plan.seed, plan.device)
    uses_others = condition.startswith("babble")
    whole = clips_to_score(clips, others if uses_others else [[] for _ in others])
    states: list[np.ndarray | None] = [None] * len(clips)
    for corpus in sorted(clips["corpus"].unique()):
        members = np.flatnonzero(clips["corpus"] == corpus)
        of_corpus = [whole[member] for member in members]
        stored = plan.cache / f"{corpus}-{model}-{_key(of_corpus, compute)}.npy"
        if not stored.exists():
            batches = [of_corpus[start : start + CLIPS_PER_TASK] for start in range(0, len(of_corpus), CLIPS_PER_TASK)]
            workers = plan.workers if plan.device == "cpu" else 1
            computed = map_parallel(compute, batches, workers, progress, f"{model}, {corpus}, {condition}")
            _store(stored, np.concatenate(list(computed)))
        for member, state in zip(members, np.load(stored), strict=True):
            states[member] = state
    return np.stack([state for state in states if state is not None])


def copies_of(clips: pd.DataFrame, model: str, recipe: Recipe, plan: Plan, progress: Progress) -> np.ndarray:
    """States float32 ``(1 + recipe.all_copies, clips, n_pooled)``: of the clips over mu-law, of noise and babble copies by turns, and of
    copies in other voices."""
    own_voices = own_clips(clips, plan.seed)
    names = [REFERENCE, *(list(COPIES)[number % len(COPIES)] for number in range(recipe.copies)), *["voice copy"] * recipe.voices]
    seeds = [0, *(1000 * plan.seed + number // len(COPIES) for number in range(recipe.copies))]
    seeds += [1000 * plan.seed + number for number in range(recipe.voices)]
    return np.stack(
        [
            states_under(clips, model, recipe, name, own_voices, Plan(seed, plan.device, plan.workers, plan.cache), progress)
            for name, seed in zip(names, seeds, strict=True)
        ]
    )


def own_clips(clips: pd.DataFrame, seed: int) -> list[list[str]]:
    """For each clip, files of up to 5 other clips of the same speaker, drawn with the clip's digest as seed."""
    speakers = speaker_ids(clips).to_numpy()
    files, chosen = clips["file"].to_numpy(), []
    by_speaker = {speaker: np.flatnonzero(speakers == speaker) for speaker in np.unique(speakers)}
    for index, (digest, speaker) in enumerate(zip(clips["digest"], speakers, strict=True)):
        candidates = files[by_speaker[speaker][by_speaker[speaker] != index]]
        rng = clip_rng(digest, "own clips", seed)
        chosen.append(rng.choice(candidates, min(BABBLE_VOICES, len(candidates)), replace=False).tolist())
    return chosen


def _key(clips: list[ClipToScore], compute: StatesOfClips) -> str:
    recipe = compute.recipe
    features = feature_set(recipe.feature_set)
    content = [
        VERSION,
        features.version,
        features.complete(recipe.feature_params),
        recipe.feature_set,
        compute.condition,
        compute.seed if compute.condition != REFERENCE else 0,
        _encoder_digest(compute.model, recipe.feature_set, json.dumps(recipe.feature_params)),
        [(clip.digest, [Path(file).name for file in clip.babble]) for clip in clips],
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _encoder(model: str, features: str, params: str) -> PooledLinear:
    """The model with its pretrained encoder; where its encoder is not pretrained, a random one, always the same."""
    return _encoder_of(model, features, params, encoder_of(model).get("sha256"))


@functools.lru_cache(maxsize=2)
def _encoder_of(model: str, features: str, params: str, sha256: str | None) -> PooledLinear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = make_model(model, 1, feature_set(features).n_features(json.loads(params)), sha256)
    if not isinstance(module, PooledLinear):
        raise ValueError(f"Model {model!r} has no pooled states.")
    return module.eval()


def _encoder_digest(model: str, features: str, params: str) -> str:
    return _digest_of(_encoder(model, features, params))


@functools.lru_cache(maxsize=2)
def _digest_of(module: PooledLinear) -> str:
    tensors = module.encoder.state_dict().values()
    return hashlib.sha256(b"".join(tensor.cpu().numpy().tobytes() for tensor in tensors)).hexdigest()


def _store(path: Path, states: np.ndarray) -> None:
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.save(file, states)
