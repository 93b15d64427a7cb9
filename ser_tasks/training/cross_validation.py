"""Cross-validation: a model is trained in each fold, and every clip is scored by the fold that did not train on its speaker."""

import functools
import hashlib
import multiprocessing
import re
import shutil
import time
from collections.abc import Callable, MutableMapping, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import torch
from rich.progress import Progress
from scipy.special import softmax

from ser_tasks.datasets import RATINGS, SPLITS, Leak, emotions_of, folds_of, read_corpora, refuse_leaks
from ser_tasks.datasets.conditions import CONDITIONS, REFERENCE
from ser_tasks.datasets.leaks import LEAKING
from ser_tasks.evaluation.evaluate import ClipScorer, ClipToScore, Evaluation, babblers, clips_to_score, measure, rows_of
from ser_tasks.evaluation.plan import Plan
from ser_tasks.inference.bundle import save_bundle
from ser_tasks.inference.line_profile import Line
from ser_tasks.progress import TerminalProgress
from ser_tasks.scratch import atomic_write
from ser_tasks.settings import code_version
from ser_tasks.training.baselines import MIN_PROBABILITY, BaselineSpec, baseline_probabilities, functionals_for
from ser_tasks.training.fit_pooled import reference_statistics
from ser_tasks.training.pooled_states import states_under
from ser_tasks.training.ratings import predicted_ratings
from ser_tasks.training.trainer import ModelSpec, index_of, is_pooled, learn, logits_of_states, pooled_features, prepare

Spec: TypeAlias = ModelSpec | BaselineSpec

LEAKY = "random-clips"
ON_LINE = "mu-law, by its line"
"""Condition of clips standardised by their corpus's statistics, as calls are by those of their line (models that take line profiles)."""
LINE_NEUTRAL = 0.8
"""Share of neutral clips in these statistics, as calls are mostly neutral."""
POLL_S = 0.5
CLIPS_PER_BATCH = 16
OnProgress = Callable[[str, int, int], None]
"""Called with what a fold is doing, the steps done, and the steps in all."""


@dataclass(frozen=True)
class Folding:
    """How clips are divided into folds."""

    split: str = "k-fold"
    """Name in ``SPLITS``."""
    n_folds: int = 6
    """Number of folds, of splits that have a number of them."""
    tested: tuple[str, ...] | None = None
    """Names of the corpora to test on, all if None; the others are only trained on."""


@dataclass(frozen=True)
class Fold:
    """One fold's work, as it is sent to a worker process."""

    name: str
    clips: pd.DataFrame
    """All clips, with their side."""
    spec: Spec
    conditions: list[str]
    babble: list[list[str]]
    """For each clip, files of babble."""
    folder: Path
    plan: Plan

    @property
    def rows_file(self) -> Path:
        """The fold's rows. A fold is done when this file exists."""
        return self.folder / "rows.parquet"


def evaluate_across(
    spec: Spec, data: list[Path], plan: Plan, folding: Folding | None = None, *, robustness: bool = True, beside_leaky: bool = True
) -> Evaluation:
    """Cross-validates a model or a baseline on the corpora in ``data``, with the metrics of ``evaluate``.

    Empty ``spec.labels`` mean all emotions of the corpora. With ``beside_leaky``, ``metrics["leaky"]`` has the same for random clips,
    where training and test share speakers; its rows have another ``split``.
    """
    folding = folding or Folding()
    corpora = read_corpora(data)
    clips = pd.concat([corpus.clips for corpus in corpora], ignore_index=True)
    spec = replace(spec, labels=spec.labels or emotions_of(clips))
    content = (code_version(), spec, plan.seed, plan.device, folding.tested, robustness, list(clips["digest"]), list(clips["speaker"]))
    work = plan.cache / f"evaluation-{hashlib.sha256(repr(content).encode()).hexdigest()[:16]}"
    conditions = list(CONDITIONS) if robustness else [REFERENCE]
    folder = work / _file_name(f"{folding.split} {folding.n_folds}")
    rows, leak = cross_validate(clips, spec, folder, plan, folding, conditions)
    tested = clips if folding.tested is None else clips[clips["corpus"].isin(folding.tested)]
    leaking = leak.of(LEAKING)
    metrics = {"model": spec.model} | measure(rows, spec.labels, spec.target_error)
    metrics |= {
        "data": [corpus.summary() for corpus in corpora],
        "split": folding.split,
        "folds": int(rows["fold"].nunique()),
        "tested": list(folding.tested or sorted(clips["corpus"].unique())),
        "left_out_emotions": tested["emotion"][~tested["emotion"].isin(spec.labels)].value_counts().to_dict(),
        "left_out_clips_of_training_speakers": 0,
        "leaked_speakers": leaking.speakers or leaking.clips,
        "shared_between_sides": leak.describe(),
    }
    if beside_leaky and folding.split != LEAKY:
        random_clips = Folding(LEAKY, folding.n_folds, folding.tested)
        leaky, shared = cross_validate(clips, spec, work / LEAKY, replace(plan, allow_leak=True), random_clips)
        metrics["leaky"] = measure(leaky, spec.labels, spec.target_error) | {"split": LEAKY, "shared_between_sides": shared.describe()}
        rows = pd.concat([rows, leaky], ignore_index=True)
    shutil.rmtree(work, ignore_errors=True)
    return Evaluation(rows, metrics)


def cross_validate(
    clips: pd.DataFrame, spec: Spec, work: Path, plan: Plan, folding: Folding | None = None, conditions: list[str] | None = None
) -> tuple[pd.DataFrame, Leak]:
    """Rows as of ``evaluate``, with the fold that scored each, and everything that the folds' sides share.

    In each fold, weights, normalisation, temperature and threshold come from speakers other than those it is tested on. Finished folds
    are kept in the folder ``work``, which the caller removes: an interrupted cross-validation resumes from it. ``conditions`` are names in
    ``CONDITIONS``, the reference alone if None. Raises ``ValueError`` where a split's sides share what they must not, unless
    ``plan.allow_leak``.
    """
    folding, conditions = folding or Folding(), conditions or [REFERENCE]
    tested = list(folding.tested) if folding.tested is not None else None
    sides = folds_of(clips, folding.split, folding.n_folds, tested, plan.seed)
    leaks = [refuse_leaks(clips.assign(side=side), plan.allow_leak, SPLITS[folding.split].apart) for side in sides.values()]
    with TerminalProgress() as progress:
        babble = babblers(clips, plan.seed)
        if isinstance(spec, ModelSpec):
            prepare(clips, spec, plan, progress)
            for condition in conditions if is_pooled(spec.model) else ():
                states_under(clips, spec.model, spec.recipe, condition, babble, plan, progress)
        else:
            functionals_for(clips, spec.model, plan, progress)
        folds = [
            Fold(name, clips.assign(side=side), spec, conditions, babble, work / _file_name(name), replace(plan, workers=1))
            for name, side in sides.items()
        ]
        on_cpu = plan.device == "cpu" or isinstance(spec, BaselineSpec)
        _run([fold for fold in folds if not fold.rows_file.exists()], plan.workers if on_cpu else 1, progress)
    rows = pd.concat([pd.read_parquet(fold.rows_file).assign(split=folding.split) for fold in folds], ignore_index=True)
    return rows, _union(leaks)


def _run(folds: list[Fold], workers: int, progress: Progress) -> None:
    bars = {fold.name: progress.add_task(fold.name, total=None) for fold in folds}

    def show(name: str, activity: str, step: int, steps: int) -> None:
        progress.update(bars[name], description=f"{name}: {activity}", completed=step, total=steps)

    if workers < 2 or len(folds) < 2:
        for fold in folds:
            run_fold(fold, functools.partial(show, fold.name))
        return
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
        states = manager.dict()
        running = [pool.submit(run_fold, fold, functools.partial(_record, states, fold.name)) for fold in folds]
        while wait(running, POLL_S).not_done:
            for name, state in dict(states).items():
                show(name, *state)
            if failed := [future for future in running if future.done() and future.exception()]:
                for future in running:
                    future.cancel()
                failed[0].result()
        for future in running:
            future.result()


def _record(states: MutableMapping[str, tuple[str, int, int]], name: str, activity: str, step: int, steps: int) -> None:
    states[name] = (activity, step, steps)


def ignore_progress(activity: str, step: int, steps: int) -> None:
    """An ``OnProgress`` that does nothing."""


def run_fold(fold: Fold, on_progress: OnProgress = ignore_progress) -> None:
    """Trains and scores one fold and writes its rows, in a worker process."""
    fold.folder.mkdir(parents=True, exist_ok=True)
    labels = fold.spec.labels
    tested = fold.clips[(fold.clips["side"] == "test") & fold.clips["emotion"].isin(labels)]
    ratings: dict[str, np.ndarray] = {}
    if isinstance(fold.spec, ModelSpec) and is_pooled(fold.spec.model):
        probabilities, temperature, unsure_below, ratings = _by_states(fold, fold.spec, tested)
        conditions = [*fold.conditions, ON_LINE]
    elif isinstance(fold.spec, ModelSpec):
        probabilities, temperature, unsure_below, ratings = _by_model(fold, fold.spec, tested, on_progress)
        conditions = [*fold.conditions, ON_LINE] if fold.spec.recipe.by_line else fold.conditions
    else:
        of_reference, temperature, unsure_below = baseline_probabilities(fold.clips, fold.spec, fold.plan)
        probabilities, conditions = of_reference[:, None], [REFERENCE]
        with Progress(disable=True) as silent:
            functionals = functionals_for(fold.clips, fold.spec.model, fold.plan, silent)
        ratings = predicted_ratings(fold.clips, np.nan_to_num(functionals, nan=0.0, posinf=0.0, neginf=0.0), tested)
    rows = pd.concat(
        [
            rows_of(tested, probabilities[:, index], condition, labels, temperature, unsure_below).assign(
                **(ratings if condition == REFERENCE else {})
            )
            for index, condition in enumerate(conditions)
        ],
        ignore_index=True,
    ).assign(fold=fold.name)
    with atomic_write(fold.rows_file) as temporary:
        rows.to_parquet(temporary, index=False)


def _by_model(
    fold: Fold, spec: ModelSpec, tested: pd.DataFrame, on_progress: OnProgress
) -> tuple[np.ndarray, float, float, dict[str, np.ndarray]]:
    """Probabilities ``(tested clips, conditions, labels)``, temperature and threshold of the fold's own model, and ratings. Of one that is
    trained ``by_line``, the last condition is ``ON_LINE``.

    Ratings are regressed on the model's log probabilities of the calibration side: those of clips that it was trained on are too good.
    """
    last_report = 0.0

    def on_step(step: int, steps: int, loss: float) -> None:
        nonlocal last_report
        if time.monotonic() - last_report > POLL_S:
            last_report = time.monotonic()
            on_progress(f"training, loss {loss:.2f}", step, steps)

    with Progress(disable=True) as silent:
        pool = prepare(fold.clips, spec, fold.plan, silent)
    bundle, _ = learn(fold.clips, pool, spec, fold.plan, fold.folder / "training.pt", on_step)
    shutil.rmtree(fold.folder / "bundle", ignore_errors=True)
    folder = save_bundle(bundle, fold.folder / "bundle")
    scorer = ClipScorer(str(folder), bundle.model_id, fold.plan.device, fold.conditions, fold.plan.seed)

    def to_score(clips: pd.DataFrame) -> list[ClipToScore]:
        return clips_to_score(clips, [fold.babble[position] for position in fold.clips.index.get_indexer(clips.index)])

    def scored(scorer: ClipScorer, clips: list[ClipToScore]) -> np.ndarray:
        scores = []
        for start in range(0, len(clips), CLIPS_PER_BATCH):
            on_progress("scoring", start, len(clips))
            scores.append(scorer(clips[start : start + CLIPS_PER_BATCH]))
        return np.concatenate(scores)

    whole = to_score(tested)
    probabilities = scored(scorer, whole)
    ratings: dict[str, np.ndarray] = {}
    if not (rated := _rated(fold.clips, "calibration")).empty:
        outputs = np.zeros((len(fold.clips), len(bundle.labels)))
        of_rated = scored(replace(scorer, conditions=[REFERENCE]), to_score(rated))[:, 0]
        for clips, of_clips in ((rated, of_rated), (tested, probabilities[:, fold.conditions.index(REFERENCE)])):
            outputs[fold.clips.index.get_indexer(clips.index)] = np.log(of_clips.clip(MIN_PROBABILITY))
        ratings = predicted_ratings(fold.clips, outputs, tested, "calibration")
    if bundle.by_line:
        means_and_deviations = pooled_features(bundle, pool)
        lines = [_as_line(corpus, fold.clips, means_and_deviations, labels=spec.labels) for corpus in tested["corpus"].unique()]
        scorer = replace(scorer, conditions=[REFERENCE]).on_lines(lines)
        probabilities = np.concatenate([probabilities, scored(scorer, scorer.placed(tested, whole))], axis=1)
    return probabilities, bundle.temperature, bundle.unsure_below, ratings


def _rated(clips: pd.DataFrame, side: str) -> pd.DataFrame:
    """The clips of a side that have a rating."""
    ratings = [name for name in RATINGS if name in clips]
    return clips[(clips["side"] == side) & clips[ratings].notna().any(axis=1)]


def _as_line(corpus: str, clips: pd.DataFrame, pooled: np.ndarray, labels: Sequence[str]) -> Line:
    """A corpus as a line, from the pooled features of all clips (clips, features)."""
    mean, deviation = _line_of(corpus, clips, pooled, labels)
    return Line(corpus, 0, 0, 0, 0.0, mean=mean.astype(np.float32), deviation=deviation.astype(np.float32))


def _by_states(fold: Fold, spec: ModelSpec, tested: pd.DataFrame) -> tuple[np.ndarray, float, float, dict[str, np.ndarray]]:
    """The same of a model on pooled states, of the first 6 s of each clip, and ratings; its last condition is ``ON_LINE``."""
    clips = fold.clips
    with Progress(disable=True) as silent:
        pool = prepare(clips, spec, fold.plan, silent)
        chosen = clips.index.get_indexer(tested.index)
        states = [
            states_under(clips, spec.model, spec.recipe, condition, fold.babble, fold.plan, silent)[chosen] for condition in fold.conditions
        ]
    bundle, _ = learn(clips, pool, spec, fold.plan)
    logits = [logits_of_states(bundle, under) for under in states]
    on_line = np.empty_like(logits[0])
    assert pool.states is not None
    for corpus in tested["corpus"].unique():
        members = (tested["corpus"] == corpus).to_numpy()
        on_line[members] = logits_of_states(bundle, states[0][members], _line_of(corpus, clips, pool.states[0], spec.labels))
    probabilities = softmax(np.stack([*logits, on_line], axis=1) / bundle.temperature, axis=2)
    return probabilities, bundle.temperature, bundle.unsure_below, predicted_ratings(clips, pool.states[0], tested)


def _line_of(corpus: str, clips: pd.DataFrame, pooled: np.ndarray, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Statistics of a corpus as if it were a line, of pooled features ``(clips, n)`` of all clips.

    They are of its clips on the training side, or of all of a corpus that has none there: the tested speakers' own clips are no line where
    others of their corpus are known, as that would centre each speaker on himself.
    """
    own = (clips["corpus"] == corpus) & clips["emotion"].isin(labels)
    trained = own & (clips["side"] == "train")
    members = (trained if trained.any() else own).to_numpy()
    truth = clips["emotion"][members].map(list(labels).index).to_numpy()
    neutral = index_of(labels, "neutral")
    return reference_statistics(pooled[members].astype(np.float64), truth, neutral, LINE_NEUTRAL)


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text)


def _union(leaks: list[Leak]) -> Leak:
    return Leak(*(sorted(set().union(*(getattr(leak, kind) for leak in leaks))) for kind in ("speakers", "sentences", "clips")))
