"""Cross-validation: a model is learned anew in each fold, and every clip is scored by the one that knew nothing of its speaker."""

import functools
import hashlib
import multiprocessing
import re
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.progress import Progress

from ser_tasks.datasets import SPLITS, Leak, emotions_of, folds_of, read_corpora, refuse_leaks
from ser_tasks.datasets.conditions import CONDITIONS, REFERENCE
from ser_tasks.datasets.leaks import LEAKING
from ser_tasks.evaluation.evaluate import Evaluation, babblers, measure, rows_of, score_clips
from ser_tasks.inference.bundle import save_bundle
from ser_tasks.progress import TerminalProgress
from ser_tasks.scratch import atomic_write
from ser_tasks.settings import code_version
from ser_tasks.training.baselines import BASELINES, baseline_probabilities, functionals_for
from ser_tasks.training.calibrate import TARGET_ERROR
from ser_tasks.training.feature_cache import cache_folder
from ser_tasks.training.trainer import Plan, learn, pool_for

LEAKY = "random-clips"
POLL_S = 0.5
Report = Callable[[str, int, int], None]
"""Of a fold: what it does, steps done, steps in all."""


@dataclass(frozen=True)
class Fold:
    """One fold's work, as it is sent to a worker process."""

    name: str
    clips: pd.DataFrame
    """All clips, with their side."""
    plan: Plan | None
    """Of a model; None for a baseline."""
    learner: str
    labels: tuple[str, ...]
    conditions: list[str]
    others: list[list[str]]
    """For each clip, files of babble."""
    folder: Path
    cache: Path
    seed: int

    @property
    def done(self) -> Path:
        """The fold's rows: the file is the only mark that the fold is done."""
        return self.folder / "rows.parquet"


def evaluate_across(
    learner: str | Plan,
    data: list[Path],
    *,
    labels: tuple[str, ...] | None = None,
    split: str = "k-fold",
    n_folds: int = 6,
    tested: list[str] | None = None,
    robustness: bool = True,
    beside_leaky: bool = True,
    allow_leak: bool = False,
    workers: int = 1,
    seed: int = 0,
    cache: Path | None = None,
) -> Evaluation:
    """Cross-validates a Plan, or a baseline by name, on the corpora in ``data``: the figures of ``evaluate``, of models learned here.

    ``labels`` are those of the Plan, or given, or else all emotions that the corpora have. With ``beside_leaky`` the same is done
    over random clips, whose sides share speakers: its figures are in ``metrics["leaky"]``, its rows have another ``split``.
    """
    cache = cache or cache_folder()
    corpora = read_corpora(data)
    clips = pd.concat([corpus.clips for corpus in corpora], ignore_index=True)
    labels = (learner.labels if isinstance(learner, Plan) else labels) or emotions_of(clips)
    if isinstance(learner, Plan):
        learner = replace(learner, labels=labels)
    told = (code_version(), learner, labels, tested, seed, robustness, list(clips["digest"]), list(clips["speaker"]))
    mark = hashlib.sha256(repr(told).encode())
    work = cache / f"evaluation-{mark.hexdigest()[:16]}"
    crossed = functools.partial(cross_validate, clips, learner, labels, cache=cache, tested=tested, workers=workers, seed=seed)
    conditions = list(CONDITIONS) if robustness else [REFERENCE]
    rows, leak = crossed(
        work=work / _slug(f"{split} {n_folds}"), split=split, n_folds=n_folds, conditions=conditions, allow_leak=allow_leak
    )
    target_error = learner.target_error if isinstance(learner, Plan) else TARGET_ERROR
    metrics = {"model": learner.model if isinstance(learner, Plan) else learner} | measure(rows, labels, target_error)
    told = clips if tested is None else clips[clips["corpus"].isin(tested)]
    metrics |= {
        "data": [corpus.summary() for corpus in corpora],
        "split": split,
        "folds": int(rows["fold"].nunique()),
        "tested": tested or sorted(clips["corpus"].unique()),
        "left_out_emotions": told["emotion"][~told["emotion"].isin(labels)].value_counts().to_dict(),
        "left_out_clips_of_training_speakers": 0,
        "leaked_speakers": leak.of(LEAKING).speakers or leak.of(LEAKING).clips,
        "shared_between_sides": leak.told(),
    }
    if beside_leaky and split != LEAKY:
        leaky, shared = crossed(work=work / LEAKY, split=LEAKY, n_folds=n_folds, allow_leak=True)
        metrics["leaky"] = measure(leaky, labels, target_error) | {"split": LEAKY, "shared_between_sides": shared.told()}
        rows = pd.concat([rows, leaky], ignore_index=True)
    shutil.rmtree(work, ignore_errors=True)
    return Evaluation(rows, metrics)


def cross_validate(
    clips: pd.DataFrame,
    learner: str | Plan,
    labels: tuple[str, ...],
    work: Path,
    cache: Path,
    *,
    split: str = "k-fold",
    n_folds: int = 6,
    tested: list[str] | None = None,
    conditions: list[str] | None = None,
    allow_leak: bool = False,
    workers: int = 1,
    seed: int = 0,
) -> tuple[pd.DataFrame, Leak]:
    """Rows as ``evaluate`` has them, with the fold that scored each, and all that the folds' sides share.

    ``learner`` is a Plan, or the name of a baseline. In each fold weights, normalisation, temperature and threshold come from speakers
    other than those it is tested on. Finished folds are kept in the folder ``work``, which is the caller's to remove: a killed
    cross-validation goes on where it was. A split whose sides share what they promise to keep apart raises ``ValueError``, unless
    ``allow_leak``.
    """
    plan = learner if isinstance(learner, Plan) else None
    name = plan.model if plan else str(learner)
    if not plan and name not in BASELINES:
        raise ValueError(f"{name!r} is no baseline: choose one of {', '.join(BASELINES)}.")
    sides = folds_of(clips, split, n_folds, tested, seed)
    leaks = [refuse_leaks(clips.assign(side=side), allow_leak, SPLITS[split].apart) for side in sides.values()]
    with TerminalProgress() as progress:
        if plan:
            pool_for(clips, plan, cache, workers, progress)
        else:
            functionals_for(clips, name, cache, workers, progress)
        others = babblers(clips, seed)
        folds = [
            Fold(fold, clips.assign(side=side), plan, name, labels, conditions or [REFERENCE], others, work / _slug(fold), cache, seed)
            for fold, side in sides.items()
        ]
        _run([fold for fold in folds if not fold.done.exists()], workers, plan.device if plan else "cpu", progress)
    rows = pd.concat([pd.read_parquet(fold.done).assign(split=split) for fold in folds], ignore_index=True)
    return rows, _together(leaks)


def _run(folds: list[Fold], workers: int, device: str, progress: Progress) -> None:
    bars = {fold.name: progress.add_task(fold.name, total=None) for fold in folds}

    def show(name: str, told: tuple[str, int, int]) -> None:
        what, step, steps = told
        progress.update(bars[name], description=f"{name}: {what}", completed=step, total=steps)

    if device != "cpu" or workers < 2 or len(folds) < 2:
        for fold in folds:
            run_fold(fold, lambda *told, name=fold.name: show(name, told))
        return
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
        told = manager.dict()
        running = [pool.submit(run_fold, fold, functools.partial(_tell, told, fold.name)) for fold in folds]
        while wait(running, POLL_S).not_done:
            for name, state in dict(told).items():
                show(name, state)
            if failed := [future for future in running if future.done() and future.exception()]:
                for future in running:
                    future.cancel()
                failed[0].result()
        for future in running:
            future.result()


def _tell(told: dict, name: str, what: str, step: int, steps: int) -> None:
    told[name] = (what, step, steps)


def run_fold(fold: Fold, report: Report = lambda what, step, steps: None) -> None:
    """Learns and scores one fold and writes its rows, in a worker process."""
    fold.folder.mkdir(parents=True, exist_ok=True)
    clips = fold.clips
    tested = clips[(clips["side"] == "test") & clips["emotion"].isin(fold.labels)]
    if fold.plan:
        probabilities, temperature, unsure_below = _by_model(fold, tested, report)
    else:
        probabilities, temperature, unsure_below = baseline_probabilities(clips, fold.learner, fold.labels, fold.cache, fold.seed)
        probabilities = probabilities[:, None]
    rows = pd.concat(
        [
            rows_of(tested, probabilities[:, index], condition, fold.labels, temperature, unsure_below)
            for index, condition in enumerate(fold.conditions[: probabilities.shape[1]])
        ],
        ignore_index=True,
    ).assign(fold=fold.name)
    with atomic_write(fold.done) as temporary:
        rows.to_parquet(temporary, index=False)


def _by_model(fold: Fold, tested: pd.DataFrame, report: Report) -> tuple[np.ndarray, float, float]:
    """Probabilities ``(tested clips, conditions, labels)``, temperature and threshold of the fold's own model."""
    last = [0.0]

    def training(step: int, steps: int, loss: float) -> None:
        if time.monotonic() - last[0] > POLL_S:
            last[0] = time.monotonic()
            report(f"training, loss {loss:.2f}", step, steps)

    with Progress(disable=True) as silent:
        pool = pool_for(fold.clips, fold.plan, fold.cache, 1, silent)
    bundle, _ = learn(fold.clips, pool, fold.plan, fold.folder / "training.pt", training)
    shutil.rmtree(fold.folder / "bundle", ignore_errors=True)
    folder = save_bundle(bundle, fold.folder / "bundle")
    scorer = (str(folder), bundle.model_id, fold.plan.device, None, "float32")
    positions = fold.clips.index.get_indexer(tested.index)
    whole = [(row.file, row.digest, fold.others[position]) for row, position in zip(tested.itertuples(), positions, strict=True)]
    found = []
    for start in range(0, len(whole), 16):
        report("scoring", start, len(whole))
        found.append(score_clips(whole[start : start + 16], fold.conditions, scorer, fold.seed))
    return np.concatenate(found), bundle.temperature, bundle.unsure_below


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name)


def _together(leaks: list[Leak]) -> Leak:
    return Leak(*(sorted(set().union(*(getattr(leak, kind) for leak in leaks))) for kind in ("speakers", "sentences", "clips")))
