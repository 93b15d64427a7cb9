"""The league table: every model and baseline on every corpus, cross-validated by speaker, with its size and its speed."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator

from ser_tasks.datasets import emotions_of, read_corpora
from ser_tasks.features import feature_set, features_of
from ser_tasks.html_page import markdown_table
from ser_tasks.inference.bundle import load_bundle
from ser_tasks.inference.scorer import FRAMES_PER_BATCH
from ser_tasks.models import MODELS, make_model
from ser_tasks.schemas import SAMPLING_RATE_HZ
from ser_tasks.scratch import atomic_write
from ser_tasks.training.baselines import BASELINES, FUNCTIONALS, baseline_fitted, heard
from ser_tasks.training.cross_validation import evaluate_across
from ser_tasks.training.feature_cache import cache_folder
from ser_tasks.training.recipe import Recipe
from ser_tasks.training.trainer import Plan, recipe_of

LEARNERS = [*MODELS, *BASELINES]
TIMED_CLIPS = 128


def league(
    data: list[Path],
    out: Path,
    *,
    learners: list[str] | None = None,
    labels: tuple[str, ...] | None = None,
    n_folds: int = 6,
    epochs: int | None = None,
    workers: int = 1,
    seed: int = 0,
    cache: Path | None = None,
) -> pd.DataFrame:
    """One row a model and corpus: UA choosing among the corpus's emotions, over all, WA, ECE, clips, parameters, audio-hours per hour.

    All learners are trained on all corpora at once, in the same folds by speaker; each clip counts where it was tested. A learner's rows
    are kept in ``out/<learner>.parquet``, and found there when the league is called again. Writes ``league.parquet`` and ``league.md``.
    """
    if unknown := sorted(set(learners or ()) - set(LEARNERS)):
        raise ValueError(f"There is no model {', '.join(unknown)}: choose of {', '.join(LEARNERS)}.")
    out.mkdir(parents=True, exist_ok=True)
    found = []
    clips = pd.concat([corpus.clips for corpus in read_corpora(data)], ignore_index=True)
    known = labels or emotions_of(clips)
    for learner in learners or LEARNERS:
        stored = out / f"{learner.replace(':', '-')}.parquet"
        if not stored.exists():
            evaluation = evaluate_across(
                planned(learner, known, epochs, seed),
                data,
                labels=known,
                n_folds=n_folds,
                robustness=False,
                beside_leaky=False,
                workers=workers,
                seed=seed,
                cache=cache,
            )
            size, speed = _cost(learner, clips, known, seed, cache)
            own = [
                {"model": learner, "corpus": corpus, "labels": len(known), "folds": n_folds, "parameters": size, "audio_h_per_h": speed}
                | row
                for corpus, row in {"all": _overall(evaluation.metrics), **evaluation.metrics["by"]["corpus"]["groups"]}.items()
            ]
            with atomic_write(stored) as temporary:
                pd.DataFrame(own).astype({"parameters": "Int64"}).to_parquet(temporary, index=False)
        found.append(pd.read_parquet(stored))
    table = pd.concat(found, ignore_index=True)
    table.to_parquet(out / "league.parquet", index=False)
    (out / "league.md").write_text(league_markdown(table), encoding="utf-8")
    return table


def planned(name: str, labels: tuple[str, ...] | None, epochs: int | None = None, seed: int = 0, device: str = "cpu") -> Plan | str:
    """What ``name`` stands for: a model of ``MODELS`` as a Plan, a bundle's model as it was trained, or a baseline's own name."""
    if name in BASELINES:
        return name
    if name in MODELS:
        recipe, found = recipe_of(name, epochs=epochs), ()
    else:
        try:
            bundle = load_bundle(name)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{name!r} is none of {', '.join(LEARNERS)}, and no bundle either. {error}") from error
        recipe, found = recipe_of(bundle.model, bundle.feature_set, dict(bundle.feature_params), epochs), bundle.labels
        name = bundle.model
    return Plan(name, labels or found, recipe, name, seed=seed, device=device)


def league_markdown(table: pd.DataFrame) -> str:
    """The table as Markdown, the best on all corpora first."""
    corpora = [name for name in table["corpus"].unique() if name != "all"]
    whole = table[table["corpus"] == "all"].sort_values("ua", ascending=False)
    header = ["model", "parameters", "audio-hours/hour, one core", "UA", "ECE", *(f"UA {name}" for name in corpora)]
    rows = []
    for row in whole.itertuples():
        own = table[table["model"] == row.model].set_index("corpus")["ua_among_its_emotions"]
        size = "" if pd.isna(row.parameters) else f"{row.parameters:,}"
        scores = [row.ua, row.ece, *(own[name] for name in corpora)]
        rows.append([f"`{row.model}`", size, f"{row.audio_h_per_h:,.0f}", *(f"{score:.3f}" for score in scores)])
    return markdown_table(header, rows) + "\n"


def _overall(metrics: dict) -> dict:
    return {
        "ua": metrics["ua"],
        "ua_among_its_emotions": metrics["ua"],
        "wa": metrics["wa"],
        "ece": metrics["ece"],
        "emotions": len(metrics["labels"]),
        "n": metrics["n"],
    }


def _cost(learner: str, clips: pd.DataFrame, labels: tuple[str, ...], seed: int, cache: Path | None) -> tuple[int | None, float]:
    """Parameters (of neural models), and audio-hours that one core takes in an hour: features and model, decoding left out."""
    some = clips.iloc[np.linspace(0, len(clips) - 1, min(TIMED_CLIPS, len(clips)), dtype=int)]
    signals = heard(some["file"].tolist())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if learner in MODELS:
            recipe = recipe_of(learner)
            n_features = feature_set(recipe.feature_set).n_features(recipe.feature_params)
            module = make_model(learner, len(labels), n_features).eval()
            size = sum(parameter.numel() for parameter in module.parameters())
            took_s = min(_time_model(module, recipe, signals) for _ in range(3))
        else:
            model, _ = baseline_fitted(clips.assign(side="train"), learner, labels, cache or cache_folder(), seed)
            size, took_s = None, min(_time_baseline(model, learner, signals) for _ in range(2))
    finally:
        torch.set_num_threads(threads)
    return size, sum(map(len, signals)) / SAMPLING_RATE_HZ / took_s


def _time_model(module: torch.nn.Module, recipe: Recipe, signals: list[np.ndarray]) -> float:
    started = time.perf_counter()
    flat, lengths = features_of(recipe.feature_set, recipe.feature_params, signals, SAMPLING_RATE_HZ)
    rows = np.split(flat, np.cumsum(lengths)[:-1])
    order = np.argsort(lengths, kind="stable")
    at_once = max(1, FRAMES_PER_BATCH["cpu"] // int(lengths.max()))
    with torch.inference_mode():
        for start in range(0, len(order), at_once):
            members = order[start : start + at_once]
            x = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(rows[index]) for index in members], batch_first=True)
            module(x, torch.from_numpy(lengths[members]))
    return time.perf_counter() - started


def _time_baseline(model: BaseEstimator, learner: str, signals: list[np.ndarray]) -> float:
    started = time.perf_counter()
    model.predict_proba(np.nan_to_num(FUNCTIONALS[learner.partition(":")[2]](signals)))
    return time.perf_counter() - started
