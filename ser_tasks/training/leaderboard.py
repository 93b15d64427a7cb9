"""The league table: all models and baselines on all corpora, cross-validated by speaker, with size and speed."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator

from ser_tasks.datasets import emotions_of, read_corpora
from ser_tasks.evaluation.plan import Plan
from ser_tasks.features import feature_set, features_of
from ser_tasks.html_page import markdown_table
from ser_tasks.inference.bundle import load_bundle
from ser_tasks.inference.scorer import FRAMES_PER_BATCH
from ser_tasks.models import MODELS, encoder_of, make_model, needs_encoder
from ser_tasks.schemas import SAMPLING_RATE_HZ
from ser_tasks.scratch import atomic_write
from ser_tasks.training.baselines import BASELINES, CHOICES, BaselineSpec, fitted_baseline, is_baseline, telephone_signals
from ser_tasks.training.cross_validation import Folding, Spec, evaluate_across
from ser_tasks.training.functionals import FUNCTIONALS
from ser_tasks.training.recipe import Recipe, recipe_of
from ser_tasks.training.trainer import ModelSpec

LEARNERS = [*MODELS, *BASELINES]
"""Of the league table by default; any other baseline is taken by name."""
TIMED_CLIPS = 128


def league(
    data: list[Path],
    out: Path,
    plan: Plan,
    *,
    learners: list[str] | None = None,
    labels: tuple[str, ...] | None = None,
    n_folds: int = 6,
    epochs: int | None = None,
) -> pd.DataFrame:
    """The league table: one row a model and corpus, with UA, UA among the corpus's emotions, WA, ECE, clips, parameters and speed.

    All learners are trained on all corpora together, in the same folds by speaker; each clip counts in the fold it was tested in. A
    learner's rows are kept in ``out/<learner>.parquet`` and are not computed again. Models that need a pretrained encoder are compared
    only where they are named. Writes ``league.parquet`` and ``league.md``.
    """
    if unknown := [name for name in learners or () if name not in MODELS and not is_baseline(name)]:
        raise ValueError(f"There is no model {', '.join(unknown)}: choose of {', '.join(LEARNERS)}, or any {CHOICES}.")
    out.mkdir(parents=True, exist_ok=True)
    clips = pd.concat([corpus.clips for corpus in read_corpora(data)], ignore_index=True)
    labels = labels or emotions_of(clips)
    tables = []
    for learner in learners or [name for name in LEARNERS if not needs_encoder(name)]:
        encoder = f"-{encoder_of(learner)['sha256'][:16]}" if needs_encoder(learner) else ""
        stored = out / f"{learner.replace(':', '-')}{encoder}.parquet"
        if not stored.exists():
            spec = spec_of(learner, labels, epochs)
            evaluation = evaluate_across(spec, data, plan, Folding(n_folds=n_folds), robustness=False, beside_leaky=False)
            parameters, speed = size_and_speed(clips, spec, plan)
            by_corpus = {"all": _overall(evaluation.metrics), **evaluation.metrics["by"]["corpus"]["groups"]}
            common = {"labels": len(labels), "folds": n_folds, "parameters": parameters, "audio_h_per_h": speed}
            rows = [{"model": learner, "corpus": corpus} | common | row for corpus, row in by_corpus.items()]
            with atomic_write(stored) as temporary:
                pd.DataFrame(rows).astype({"parameters": "Int64"}).to_parquet(temporary, index=False)
        tables.append(pd.read_parquet(stored))
    table = pd.concat(tables, ignore_index=True)
    table.to_parquet(out / "league.parquet", index=False)
    (out / "league.md").write_text(league_markdown(table), encoding="utf-8")
    return table


def spec_of(name: str, labels: tuple[str, ...] | None, epochs: int | None = None) -> Spec:
    """The specification of a model of ``MODELS``, of a baseline, or of a bundle's model with the bundle's features and labels."""
    if is_baseline(name):
        return BaselineSpec(name, labels or ())
    if name in MODELS:
        return ModelSpec(name, labels or (), recipe_of(name, epochs=epochs), name)
    try:
        bundle = load_bundle(name)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name!r} is none of {', '.join(LEARNERS)}, no {CHOICES}, and no bundle either. {error}") from error
    recipe = recipe_of(bundle.model, bundle.feature_set, dict(bundle.feature_params), epochs)
    return ModelSpec(bundle.model, labels or bundle.labels, recipe, bundle.model)


def league_markdown(table: pd.DataFrame) -> str:
    """The table as Markdown, the best on all corpora first."""
    corpora = [name for name in table["corpus"].unique() if name != "all"]
    whole = table[table["corpus"] == "all"].sort_values("ua", ascending=False)
    header = ["model", "parameters", "audio-hours/hour, one core", "UA", "ECE", *(f"UA {name}" for name in corpora)]
    rows = []
    for row in whole.to_dict("records"):
        by_corpus = table[table["model"] == row["model"]].set_index("corpus")["ua_among_its_emotions"]
        parameters = "" if pd.isna(row["parameters"]) else f"{row['parameters']:,}"
        scores = [row["ua"], row["ece"], *(by_corpus[name] for name in corpora)]
        rows.append([f"`{row['model']}`", parameters, f"{row['audio_h_per_h']:,.0f}", *(f"{score:.3f}" for score in scores)])
    return markdown_table(header, rows) + "\n"


def _overall(metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        "ua": metrics["ua"],
        "ua_among_its_emotions": metrics["ua"],
        "wa": metrics["wa"],
        "ece": metrics["ece"],
        "emotions": len(metrics["labels"]),
        "n": metrics["n"],
    }


def size_and_speed(clips: pd.DataFrame, spec: Spec, plan: Plan) -> tuple[int | None, float]:
    """Number of parameters (None for a baseline), and audio-hours per CPU hour of one core: features and model, without decoding."""
    some = clips.iloc[np.linspace(0, len(clips) - 1, min(TIMED_CLIPS, len(clips)), dtype=int)]
    signals = telephone_signals(some["file"].tolist())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if isinstance(spec, ModelSpec):
            n_features = feature_set(spec.recipe.feature_set).n_features(spec.recipe.feature_params)
            module = make_model(spec.model, len(spec.labels), n_features).eval()
            parameters = sum(parameter.numel() for parameter in module.parameters())
            took_s = min(_time_model(module, spec.recipe, signals) for _ in range(3))
        else:
            model, _ = fitted_baseline(clips.assign(side="train"), spec, plan)
            parameters, took_s = None, min(_time_baseline(model, spec.model, signals) for _ in range(2))
    finally:
        torch.set_num_threads(threads)
    return parameters, sum(map(len, signals)) / SAMPLING_RATE_HZ / took_s


def _time_model(module: torch.nn.Module, recipe: Recipe, signals: list[np.ndarray]) -> float:
    started = time.process_time()
    flat, lengths = features_of(recipe.feature_set, recipe.feature_params, signals, SAMPLING_RATE_HZ)
    rows = np.split(flat, np.cumsum(lengths)[:-1])
    order = np.argsort(lengths, kind="stable")
    batch = max(1, FRAMES_PER_BATCH["cpu"] // int(lengths.max()))
    with torch.inference_mode():
        for start in range(0, len(order), batch):
            members = order[start : start + batch]
            x = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(rows[index]) for index in members], batch_first=True)
            module(x, torch.from_numpy(lengths[members]))
    return time.process_time() - started


def _time_baseline(model: BaseEstimator, learner: str, signals: list[np.ndarray]) -> float:
    started = time.process_time()
    model.predict_proba(np.nan_to_num(FUNCTIONALS[learner.split(":")[1]](signals)))
    return time.process_time() - started
