"""Train: labelled clips → a bundle with its calibration, its scores on unseen speakers, and its card."""

import functools
import hashlib
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax

from ser_tasks.datasets import SIDES, Corpus, Leak, read_corpora, refuse_leaks, split_by_speaker
from ser_tasks.datasets.conditions import CONDITIONS, REFERENCE
from ser_tasks.datasets.credits import CREDITS, UNKNOWN
from ser_tasks.evaluation.evaluate import measure, rows_of
from ser_tasks.inference.bundle import DIGEST_HEX_DIGITS, Bundle, save_bundle
from ser_tasks.progress import TerminalProgress
from ser_tasks.settings import code_version
from ser_tasks.training.calibrate import TARGET_ERROR, best_temperature, threshold
from ser_tasks.training.cross_validation import cross_validate
from ser_tasks.training.feature_cache import Pool, cache_folder
from ser_tasks.training.fit import even_weights
from ser_tasks.training.model_card import licence_notice, model_card
from ser_tasks.training.trainer import Plan, learn, logits_of, pool_for, recipe_of

PASS_WEIGHTS = (2.0, 1.0)
"""In the temperature: of the cross-validation by speaker, and of the one by corpus."""
FOUR = ("anger", "happiness", "neutral", "sadness")


def train_bundle(
    data: list[Path],
    model: str,
    out: Path,
    labels: tuple[str, ...] = FOUR,
    *,
    feature_set_name: str | None = None,
    feature_params: dict[str, Any] | None = None,
    name: str | None = None,
    version: str = "1",
    epochs: int | None = None,
    folds: int = 0,
    seed: int = 0,
    target_error: float = TARGET_ERROR,
    allow_leak: bool = False,
    device: str = "cpu",
    workers: int = 1,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Trains ``model`` on the corpora in the folders ``data``, writes the bundle as folder ``out``, and returns what happened.

    A folder of corpora stands for each of them (``read_corpora``). Without ``folds`` each speaker is on one of three sides: weights and
    normalisation come from the training speakers, temperature and ``unsure_below`` from the calibration speakers, and the test speakers
    give the scores and nothing else. With so many ``folds`` the scores are those of a cross-validation by speaker; temperature and
    ``unsure_below`` then come from its logits of speakers that each fold did not hear, and the weights from everybody. No clip is on
    two sides under different names, unless ``allow_leak``.

    The same seed on the same machine gives the same weights. What was computed lies in ``cache`` (``cache_folder()`` if not given), so
    that a killed training, called again, goes on where it was. The summary has ``bundle`` (folder), ``model_id``, ``scores``, ``history``
    (the mean loss of each epoch), ``corpora`` (what was found and dropped), ``rows`` (of the scored clips) and ``seconds``. Data that can't
    be split, unknown labels and an ``out`` that exists raise ``ValueError`` or ``FileExistsError``.
    """
    started = time.perf_counter()
    cache = cache or cache_folder()
    recipe = recipe_of(model, feature_set_name, feature_params, epochs)
    plan = Plan(model, tuple(labels), recipe, name or model, version, seed, target_error, device)
    if Path(out).exists():
        raise FileExistsError(f"{out} exists: name another folder, or remove it.")
    corpora = read_corpora(data)
    clips = pd.concat([corpus.clips for corpus in corpora], ignore_index=True)
    work = cache / f"training-{_mark(clips, plan, folds)}"

    if folds:
        kept = clips["emotion"].isin(labels)
        crossed = functools.partial(
            cross_validate, clips, plan, plan.labels, cache=cache, allow_leak=allow_leak, workers=workers, seed=seed
        )
        rows, leak = crossed(work=work / "folds", n_folds=folds, conditions=list(CONDITIONS))
        foreign = crossed(work=work / "corpora", split="leave-one-corpus-out")[0] if len(corpora) > 1 else None
        clips = clips.assign(side="train")
    else:
        clips = clips.assign(side=split_by_speaker(clips, seed))
        leak = refuse_leaks(clips, allow_leak)
        kept = clips["emotion"].isin(labels)
        for side in SIDES:
            if missing := sorted(set(labels) - set(clips.emotion[clips.side == side])):
                raise ValueError(f"No {side} speaker has {', '.join(missing)}: give corpora of 3 speakers or more, or fewer labels.")

    with TerminalProgress() as progress:
        pool = pool_for(clips, plan, cache, workers, progress)
        task = progress.add_task("training", total=None)

        def show(step: int, steps: int, loss: float) -> None:
            epoch, of = -(-step * recipe.epochs // steps), recipe.epochs
            progress.update(task, completed=step, total=steps, description=f"epoch {epoch} of {of}, loss {loss:.2f}")

        bundle, history = learn(clips, pool, plan, work / "training.pt", show)
    if folds:
        passes = [rows[rows["condition"] == REFERENCE], *([foreign] if foreign is not None else [])]
        bundle = _calibrated_across(bundle, passes)
        scores = {"test": _scores(passes[0], bundle), "robustness": measure(rows, labels, target_error)["robustness"]}
        names = ("unheard speakers", "unheard corpora")
        scores["calibration"] = {
            name: _rounded(measure(_recalibrated(own, bundle), labels, target_error)) for name, own in zip(names, passes, strict=False)
        }
        if foreign is not None:
            scores["unheard_corpora"] = _scores(foreign, bundle)
            rows = pd.concat([rows, foreign], ignore_index=True)
    else:
        sides = {side: _side_rows(clips[kept & (clips.side == side)], bundle, pool) for side in ("test", "calibration")}
        rows, scores = sides["test"], {side: _scores(own, bundle) for side, own in sides.items()}
    clips = clips[kept | (clips.side == "train")]
    heard = clips[clips.side != "test"]
    bundle = replace(
        bundle,
        training_data=tuple(_told(corpus, clips[clips.corpus == corpus.name], leak) for corpus in corpora),
        training_clips=frozenset(heard["digest"].str[:DIGEST_HEX_DIGITS]),
        scores={"epochs": recipe.epochs, "seed": seed, "folds": folds, **scores},
    )
    bundle = replace(bundle, card=model_card(bundle), licence_text=licence_notice(bundle))
    folder = save_bundle(bundle, out)
    shutil.rmtree(work, ignore_errors=True)
    return {
        "bundle": str(folder),
        "model_id": bundle.model_id,
        "scores": bundle.scores,
        "history": history,
        "corpora": [corpus.summary() for corpus in corpora],
        "rows": rows,
        "seconds": time.perf_counter() - started,
    }


def _calibrated_across(bundle: Bundle, passes: list[pd.DataFrame]) -> Bundle:
    """The bundle calibrated on rows of unheard speakers and of unheard corpora: callers are strangers both ways.

    To the temperature, unheard corpora weigh half as much; the threshold is one that keeps the target on each of both."""
    truths = [own["emotion"].map(list(bundle.labels).index).to_numpy() for own in passes]
    speakers = [(own["corpus"] + "/" + own["speaker"]).to_numpy() for own in passes]
    logits = [_logits(own, bundle) for own in passes]
    even = [even_weights(who, truth) for who, truth in zip(speakers, truths, strict=True)]
    weights = np.concatenate([share * own / len(own) for share, own in zip(PASS_WEIGHTS, even, strict=False)])
    temperature = best_temperature(np.concatenate(logits), np.concatenate(truths), weights)
    thresholds = [
        threshold(softmax(own / temperature, axis=1), truth, weight, who, bundle.target_error)
        for own, truth, weight, who in zip(logits, truths, even, speakers, strict=True)
    ]
    return replace(bundle, temperature=temperature, unsure_below=max(thresholds))


def _logits(rows: pd.DataFrame, bundle: Bundle) -> np.ndarray:
    """Logits, up to a constant of each row, of what its own fold's temperature made of them."""
    given = rows[[f"p_{label}" for label in bundle.labels]].to_numpy(np.float64)
    return np.log(np.maximum(given, 1e-30)) * rows["temperature"].to_numpy()[:, None]


def _recalibrated(rows: pd.DataFrame, bundle: Bundle) -> pd.DataFrame:
    """The rows as the bundle's own temperature and threshold make them."""
    probabilities = torch.softmax(torch.from_numpy(_logits(rows, bundle) / bundle.temperature), dim=1).numpy()
    columns = {f"p_{label}": probabilities[:, index] for index, label in enumerate(bundle.labels)}
    confidence = probabilities.max(axis=1)
    return rows.assign(**columns, confidence=confidence, unsure=confidence < bundle.unsure_below, temperature=bundle.temperature)


def _mark(clips: pd.DataFrame, plan: Plan, folds: int) -> str:
    """Of one training, so that it finds what it left when it was killed."""
    told = json.dumps([code_version(), repr(plan), folds, clips[["corpus", "speaker", "emotion", "digest"]].to_csv()])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _side_rows(clips: pd.DataFrame, bundle: Bundle, pool: Pool) -> pd.DataFrame:
    logits = torch.from_numpy(logits_of(bundle, pool, clips.index.to_numpy()))
    probabilities = torch.softmax(logits / bundle.temperature, dim=1).numpy()
    return rows_of(clips, probabilities, REFERENCE, bundle.labels, bundle.temperature, bundle.unsure_below)


def _scores(rows: pd.DataFrame, bundle: Bundle) -> dict[str, dict[str, Any]]:
    """Scores over all clips, and over those of each corpus."""
    groups = {"all": rows} | dict(list(rows.groupby("corpus", sort=True)))
    return {name: _rounded(measure(own, bundle.labels, bundle.target_error)) for name, own in groups.items()}


def _rounded(metrics: dict[str, Any]) -> dict[str, Any]:
    """What the card tells of them."""
    interval = metrics["intervals_95"]
    return {
        "segments": metrics["n"],
        **{name: round(metrics[name], 4) for name in ("ua", "wa", "ece", "coverage")},
        "ua_interval_95": [round(end, 4) for end in interval["ua"]] if interval else None,
        "error_covered": None if metrics["error_covered"] is None else round(metrics["error_covered"], 4),
        "recall": {label: round(row["recall"], 4) for label, row in metrics["per_class"].items() if row["n"]},
    }


def _told(corpus: Corpus, clips: pd.DataFrame, leak: Leak) -> dict[str, Any]:
    """What the bundle says about one corpus of its training data."""
    credit = CREDITS.get(corpus.name.lower())
    return {
        "corpus": corpus.name,
        "licence": credit.licence if credit else UNKNOWN,
        "clips": {side: int((clips.side == side).sum()) for side in SIDES},
        "speakers": {side: sorted(clips.speaker[clips.side == side].unique()) for side in SIDES},
        "shared_sentences": sum(name.startswith(f"{corpus.name}/") for name in leak.sentences),
    }
