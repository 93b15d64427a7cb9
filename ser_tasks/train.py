"""Train: labelled clips → a bundle with its calibration, its scores on unseen speakers, and its card."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soxr
import torch
from rich.progress import Progress
from scipy.optimize import minimize_scalar
from torch import nn

from ser_tasks.bundle import ALL_UNSURE, Bundle, save_bundle
from ser_tasks.datasets import SIDES, Leak, read_corpora, refuse_leaks, split_by_speaker
from ser_tasks.datasets.conditions import CONDITIONS, Around
from ser_tasks.datasets.credits import CREDITS, UNKNOWN, licence_of_weights
from ser_tasks.datasets.telephone import RATE_HZ, mu_law, read_trimmed
from ser_tasks.features import feature_set, features_of
from ser_tasks.metrics import ece, ua, wa
from ser_tasks.model_card import licence_notice, model_card
from ser_tasks.models import make_model
from ser_tasks.schemas import EMOTIONS

DEFAULT_FEATURE_SET = {"cnn_lstm": "mfcc40", "crnn": "logmel8k"}
DEFAULT_EPOCHS = {"cnn_lstm": 30, "crnn": 10}
"""With these the shipped bundles were trained; other models take 20."""
LONGEST_S = 6.0
"""Clips are cut to this: the pipeline scores no longer segment."""
SHORTEST_CROP_S = 1.0
LONGEST_CROP_S = 3.0
BATCH = 32
COPIES = 3
"""Altered copies of each training clip, beside the clip itself: speed, silence around it, gain, then any of ``CONDITIONS``."""
SILENCE_S = 0.4
SPEED = (0.85, 1.18)
GAIN_DB = (-18.0, 12.0)
VOICES = 5
"""Other speakers' clips in babble."""
LEARNING_RATE = 2e-3
LABEL_SMOOTHING = 0.1
OFFSET_STD = 0.25
"""Of a random constant added to each normalised feature of a crop: another voice, another line."""
FEWEST_COVERED = 20
"""Segments that a threshold must leave covered on the calibration speakers to be believed."""


@dataclass
class Side:
    """One side of the split: clips, class indices, and features by copy (the unaltered one first) and clip."""

    clips: pd.DataFrame
    truth: np.ndarray
    features: list[list[np.ndarray]]


def train_bundle(
    data: list[Path],
    model: str,
    out: Path,
    labels: tuple[str, ...] = ("anger", "happiness", "neutral", "sadness"),
    *,
    feature_set_name: str | None = None,
    feature_params: dict[str, Any] | None = None,
    name: str | None = None,
    version: str = "1",
    epochs: int | None = None,
    seed: int = 0,
    target_error: float = 0.3,
    device: str = "cpu",
) -> dict[str, Any]:
    """Trains ``model`` on the corpora in the folders ``data``, writes the bundle as folder ``out``, and returns what happened.

    A folder of corpora stands for each of them (``read_corpora``). In every corpus each speaker is on one side only, and no clip is
    on two sides under different names: weights and normalisation come from the training speakers, temperature and
    ``unsure_below`` from the calibration speakers, and the test speakers give the scores and nothing else. The same seed on
    the same machine gives the same weights.

    The summary has ``bundle`` (folder), ``model_id``, ``scores``, ``corpora`` (what was found and dropped) and ``seconds``.
    Data that cannot be split, unknown labels and an ``out`` that exists raise ``ValueError`` or ``FileExistsError``.
    """
    started = time.perf_counter()
    name, epochs = name or model, epochs or DEFAULT_EPOCHS.get(model, 20)
    feature_name = feature_set_name or _default_feature_set(model)
    params = feature_set(feature_name).complete(feature_params or {})
    if unknown := sorted(set(labels) - set(EMOTIONS)):
        raise ValueError(f"Labels {', '.join(unknown)} are not in the taxonomy: it has {', '.join(EMOTIONS)}.")
    if Path(out).exists():
        raise FileExistsError(f"{out} exists: name another folder, or remove it.")

    corpora = read_corpora(data)
    clips = pd.concat([corpus.clips for corpus in corpora], ignore_index=True)
    clips = clips[clips["emotion"].isin(labels)].reset_index(drop=True)
    clips["side"] = split_by_speaker(clips, seed)
    leak = refuse_leaks(clips)
    for side in SIDES:
        if missing := sorted(set(labels) - set(clips.emotion[clips.side == side])):
            raise ValueError(f"No {side} speaker has {', '.join(missing)}: give corpora of 3 speakers or more, or fewer labels.")

    with Progress(transient=True) as progress, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sides = {
            side: _prepare(clips[clips.side == side], labels, feature_name, params, COPIES if side == "train" else 0, seed, progress)
            for side in SIDES
        }
        train_frames = np.concatenate(sides["train"].features[0])
        bundle = Bundle(
            name=name,
            version=version,
            model=model,
            labels=tuple(labels),
            feature_set=feature_name,
            feature_set_version=feature_set(feature_name).version,
            feature_params=params,
            mean=tuple(train_frames.mean(axis=0, dtype=np.float64).tolist()),
            std=tuple(np.maximum(train_frames.std(axis=0, dtype=np.float64), 1e-3).tolist()),
            temperature=1.0,
            unsure_below=ALL_UNSURE,
            target_error=target_error,
            licence=licence_of_weights([corpus.name for corpus in corpora]),
            module=make_model(model, len(labels), train_frames.shape[1]).to(device),
            training_data=tuple(_told(corpus.name, clips[clips.corpus == corpus.name], leak) for corpus in corpora),
        )
        _fit(bundle, sides["train"], feature_set(feature_name).hop_s, epochs, seed, progress)
    bundle.module.eval()

    bundle = _calibrated(bundle, sides["calibration"])
    scores = {side: _scores(bundle, sides[side]) for side in ("test", "calibration")}
    bundle = replace(bundle, scores={"epochs": epochs, "seed": seed, **scores})
    bundle = replace(bundle, card=model_card(bundle), licence_text=licence_notice(bundle))
    bundle.module.cpu()
    folder = save_bundle(bundle, out)
    return {
        "bundle": str(folder),
        "model_id": bundle.model_id,
        "scores": bundle.scores,
        "corpora": [corpus.summary() for corpus in corpora],
        "seconds": time.perf_counter() - started,
    }


def best_temperature(logits: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """The temperature, 0.05 to 20, whose ``softmax(logits / temperature)`` has the least weighted cross-entropy (Guo et al., 2017)."""
    given, wanted, counts = torch.from_numpy(logits).double(), torch.from_numpy(truth), torch.from_numpy(weights)

    def loss(log_temperature: float) -> float:
        losses = nn.functional.cross_entropy(given / np.exp(log_temperature), wanted, reduction="none")
        return float((losses * counts).sum() / counts.sum())

    return float(np.exp(minimize_scalar(loss, bounds=np.log((0.05, 20.0)), method="bounded").x))


def threshold(probabilities: np.ndarray, truth: np.ndarray, weights: np.ndarray, target_error: float) -> float:
    """The lowest confidence from which at most ``target_error`` of the segments, by weight, are labelled wrongly.

    At least 20 segments (or half of fewer than 40) must be that sure, else it is 1: everything is unsure.
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum((probabilities.argmax(axis=1) != truth)[order] * weights[order])
    n_covered = np.arange(1, len(truth) + 1)
    ends_a_tie = np.append(np.diff(confidence[order]) != 0, True)
    good = (wrong <= target_error * np.cumsum(weights[order])) & ends_a_tie & (n_covered >= min(FEWEST_COVERED, len(truth) // 2))
    return float(confidence[order][np.flatnonzero(good)[-1]]) if good.any() else ALL_UNSURE


def _default_feature_set(model: str) -> str:
    if model not in DEFAULT_FEATURE_SET:
        raise ValueError(f"Model {model!r} has no feature set of its own ({', '.join(DEFAULT_FEATURE_SET)} have): name one.")
    return DEFAULT_FEATURE_SET[model]


def _prepare(
    clips: pd.DataFrame, labels: tuple[str, ...], feature_name: str, params: dict, copies: int, seed: int, progress: Progress
) -> Side:
    """Reads the clips of one side and computes all features that it will need."""
    clips = clips.reset_index(drop=True)
    described = f"reading {clips.side[0]} clips"
    signals = [read_trimmed(path)[: int(LONGEST_S * RATE_HZ)] for path in progress.track(clips.file, description=described)]
    speakers = (clips["corpus"] + "/" + clips["speaker"]).to_numpy()
    rng = np.random.default_rng(seed)
    features = []
    for copy in progress.track(range(1 + copies), description=f"features of {clips.side[0]} clips"):
        heard = [mu_law(signal) for signal in signals]
        if copy:
            heard = [
                _altered(signal, _others(signals, speakers, speaker, rng), rng) for signal, speaker in zip(signals, speakers, strict=True)
            ]
        flat, lengths = features_of(feature_name, params, heard, RATE_HZ)
        features.append(np.split(flat, np.cumsum(lengths)[:-1]))
    return Side(clips, np.array([labels.index(emotion) for emotion in clips.emotion]), features)


def _others(signals: list[np.ndarray], speakers: np.ndarray, speaker: str, rng: np.random.Generator) -> list[np.ndarray]:
    """Clips of other speakers of the same side, for babble."""
    drawn = rng.integers(len(signals), size=2 * VOICES)
    return [signals[index] for index in drawn if speakers[index] != speaker][:VOICES]


def _altered(signal: np.ndarray, others: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """The signal as of another voice (pitch, formants and pace shifted together), with pauses, at another level, over some line."""
    signal = soxr.resample(signal, RATE_HZ * rng.uniform(*SPEED), RATE_HZ, "HQ")
    signal = np.pad(signal, rng.integers(0, int(SILENCE_S * RATE_HZ), 2)) * np.float32(10 ** (rng.uniform(*GAIN_DB) / 20))
    line = CONDITIONS[list(CONDITIONS)[rng.integers(len(CONDITIONS))]]
    return line(signal, Around(rng, others))


def _fit(bundle: Bundle, train: Side, hop_s: float, epochs: int, seed: int, progress: Progress) -> None:
    """Trains the bundle's module in place: AdamW on one learning-rate cycle.

    The clips of a speaker's emotion weigh together what those of any other speaker's emotion weigh.
    """
    rng = np.random.default_rng(seed)
    module = bundle.module.train()
    device = next(module.parameters()).device
    mean, std = np.float32(bundle.mean), np.float32(bundle.std)
    loss_of = nn.CrossEntropyLoss(label_smoothing=LABEL_SMOOTHING, reduction="none")
    weights = torch.from_numpy(_weights(train))
    optimiser = torch.optim.AdamW(module.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    n_batches = -(-len(train.truth) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=epochs * n_batches)
    task = progress.add_task("training", total=epochs * n_batches)
    for epoch in range(epochs):
        copy_of = rng.integers(len(train.features), size=len(train.truth))
        crops = [_crop(train.features[copy][index], hop_s, rng) for index, copy in enumerate(copy_of)]
        for members in _batches([len(crop) for crop in crops], rng):
            x = [_masked(_offset((crops[index] - mean) / std, rng), rng) for index in members]
            lengths = torch.tensor([len(row) for row in x])
            stacked = nn.utils.rnn.pad_sequence([torch.from_numpy(row) for row in x], batch_first=True).to(device)
            losses = loss_of(module(stacked, lengths), torch.from_numpy(train.truth[members]).to(device))
            loss = (losses * weights[members].to(device)).mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            progress.update(task, advance=1, description=f"epoch {epoch + 1} of {epochs}, loss {loss.item():.2f}")


def _calibrated(bundle: Bundle, side: Side) -> Bundle:
    """The bundle with temperature and ``unsure_below`` from this side, on which a speaker of many clips counts as one of few."""
    weights = _weights(side).astype(np.float64)
    bundle = replace(bundle, temperature=best_temperature(_logits(bundle, side), side.truth, weights))
    return replace(bundle, unsure_below=threshold(_probabilities(bundle, side), side.truth, weights, bundle.target_error))


def _weights(side: Side) -> np.ndarray:
    """One float32 weight a clip, of mean 1: the inverse of how many clips its speaker has of its emotion."""
    clips = side.clips.assign(truth=side.truth)
    weights = 1 / clips.groupby(["corpus", "speaker", "truth"])["truth"].transform("size").to_numpy()
    return (weights / weights.mean()).astype(np.float32)


def _crop(features: np.ndarray, hop_s: float, rng: np.random.Generator) -> np.ndarray:
    """A random stretch of 1 to 3 s, or all of a shorter clip."""
    shortest = min(len(features), int(SHORTEST_CROP_S / hop_s))
    longest = min(len(features), int(LONGEST_CROP_S / hop_s))
    length = rng.integers(shortest, longest + 1)
    start = rng.integers(0, len(features) - length + 1)
    return features[start : start + length]


def _offset(normalised: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return normalised + rng.normal(0, OFFSET_STD, normalised.shape[1]).astype(np.float32)


def _masked(normalised: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """SpecAugment (Park et al., 2019): one stretch of up to 1/8 of the features and one of 1/5 of the frames set to the mean."""
    n_frames, n_features = normalised.shape
    width, stretch = rng.integers(0, n_features // 8 + 1), rng.integers(0, n_frames // 5 + 1)
    lowest, first = rng.integers(0, n_features - width + 1), rng.integers(0, n_frames - stretch + 1)
    normalised[:, lowest : lowest + width] = 0
    normalised[first : first + stretch] = 0
    return normalised


def _batches(lengths: list[int], rng: np.random.Generator) -> list[np.ndarray]:
    """Batches in random order, of clips of similar length, drawn anew each epoch."""
    blurred = np.array(lengths) * rng.uniform(0.8, 1.25, len(lengths))
    ordered = np.argsort(blurred, kind="stable")
    batches = [ordered[start : start + BATCH] for start in range(0, len(ordered), BATCH)]
    return [batches[index] for index in rng.permutation(len(batches))]


@torch.inference_mode()
def _probabilities(bundle: Bundle, side: Side) -> np.ndarray:
    """Probabilities float32 ``(clips, labels)`` of the unaltered clips, in order."""
    device = next(bundle.module.parameters()).device
    clips = side.features[0]
    order = np.argsort([len(clip) for clip in clips], kind="stable")
    probabilities = np.empty((len(clips), len(bundle.labels)), np.float32)
    for start in range(0, len(order), BATCH):
        members = order[start : start + BATCH]
        x = nn.utils.rnn.pad_sequence([torch.from_numpy(clips[index]) for index in members], batch_first=True).to(device)
        lengths = torch.tensor([len(clips[index]) for index in members])
        probabilities[members] = bundle.probabilities(x, lengths).cpu().numpy()
    return probabilities


def _logits(bundle: Bundle, side: Side) -> np.ndarray:
    """Logits up to a constant of each row, which softmax does not see: the logarithm of probabilities at temperature 1."""
    return np.log(np.maximum(_probabilities(replace(bundle, temperature=1.0), side), 1e-30))


def _scores(bundle: Bundle, side: Side) -> dict[str, dict[str, Any]]:
    """Scores over all clips of a side, and over those of each corpus."""
    probabilities = _probabilities(bundle, side)
    scores = {}
    for corpus in ["all", *sorted(side.clips.corpus.unique())]:
        chosen = np.ones(len(side.truth), bool) if corpus == "all" else (side.clips.corpus == corpus).to_numpy()
        truth, given = side.truth[chosen], probabilities[chosen]
        predicted, sure = given.argmax(axis=1), given.max(axis=1) >= bundle.unsure_below
        scores[corpus] = {
            "segments": len(truth),
            "ua": round(ua(truth, predicted), 4),
            "wa": round(wa(truth, predicted), 4),
            "ece": round(ece(truth, given), 4),
            "coverage": round(float(sure.mean()), 4),
            "error_covered": round(float((predicted != truth)[sure].mean()), 4) if sure.any() else None,
            "recall": {
                label: round(float((predicted[truth == index] == index).mean()), 4)
                for index, label in enumerate(bundle.labels)
                if (truth == index).any()
            },
        }
    return scores


def _told(corpus: str, clips: pd.DataFrame, leak: Leak) -> dict[str, Any]:
    """What the bundle says about one corpus of its training data."""
    credit = CREDITS.get(corpus.lower())
    return {
        "corpus": corpus,
        "licence": credit.licence if credit else UNKNOWN,
        "clips": {side: int((clips.side == side).sum()) for side in SIDES},
        "speakers": {side: sorted(clips.speaker[clips.side == side].unique()) for side in SIDES},
        "shared_sentences": sum(name.startswith(f"{corpus}/") for name in leak.sentences),
    }
