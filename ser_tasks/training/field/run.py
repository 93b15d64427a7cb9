"""``ser field``: every row of the field on every corpus, honest beside leaky, fold by fold."""

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ser_tasks.evaluation.plan import Plan
from ser_tasks.models import MODELS, encoder_of, needs_encoder
from ser_tasks.progress import TerminalProgress, map_parallel
from ser_tasks.schemas import SAMPLING_RATE_HZ
from ser_tasks.scratch import atomic_write
from ser_tasks.training.baselines import is_baseline, telephone_signals
from ser_tasks.training.field.costs import cpu_s, folds_of
from ser_tasks.training.field.folds import NETWORK_PROTOCOLS, FoldWork, field_corpora, folds_of_system, prepare_features, run_fold, spec_for
from ser_tasks.training.field.report import write_field_report
from ser_tasks.training.field.rows import ROWS, FieldRow, System
from ser_tasks.training.field.table import field_table
from ser_tasks.training.functionals import FUNCTIONALS
from ser_tasks.training.leaderboard import size_and_speed

NEEDED = {"egemaps": ("opensmile",), "is09": ("opensmile",), "is10": ("opensmile",), "wavelet_packet": ("pywt",)}
NEEDED |= {"mfcc_wavelet_pitch": ("pywt",)}
"""Modules that functionals import, which the package does not install by itself."""
TIMED_CLIPS = 16


@dataclass(frozen=True)
class Planned:
    """A row of the field with the folds of its systems that can be run."""

    row: FieldRow
    works: list[FoldWork]
    missing: dict[str, str]
    """Why a system of the row cannot be run, by its name."""

    @property
    def pending(self) -> list[FoldWork]:
        """The folds that are not done, each once."""
        return list({work.file: work for work in self.works if not work.file.exists()}.values())


def field(
    data: list[Path],
    out: Path,
    plan: Plan,
    *,
    names: list[str] | None = None,
    epochs: int | None = None,
    announce: Callable[[str], None] = print,
) -> pd.DataFrame:
    """The field's table of the corpora in ``data``; writes it, its rows of tested clips and the report into ``out``.

    A fold that is in ``out/folds`` is not run again: a kill loses the folds that were running. ``epochs`` of networks, each row's own by
    default. Raises ``ValueError`` for unknown names, and before anything is computed where speakers or identical clips would be on both
    sides of an honest fold.
    """
    if unknown := sorted(set(names or ()) - set(ROWS)):
        raise ValueError(f"The field has no row {', '.join(unknown)}: choose of {', '.join(ROWS)}.")
    corpora = field_corpora(data)
    rows = [_of_epochs(ROWS[name], epochs) for name in names or ROWS]
    planned = [_plan_row(row, corpora, out / "folds", plan) for row in rows]
    for each in planned:
        announce(_estimate(each))
    announce(f"{len(planned)} rows: {_minutes(cpu_s(folds_of([work for each in planned for work in each.pending])))}, divided by --workers")
    table = pd.DataFrame()
    missing: dict[str, str] = {}
    for position, each in enumerate(planned):
        missing |= each.missing
        for system in {work.system: None for work in each.works} or [None]:
            _run_system(system, each, plan, f"{each.row.name} ({position + 1} of {len(planned)})")
            table = _write(planned[: position + 1], corpora, out, plan, missing)
    return table


def why_missing(system: System) -> str | None:
    """Why a system cannot be run; None where it can."""
    if needs_encoder(system.learner):
        return _why_no_encoder(system.learner)
    if system.learner in MODELS:
        return None
    if not is_baseline(system.learner):
        return "not in this version"
    _, functionals, *preparation = system.learner.split(":")
    modules = NEEDED.get(functionals, ()) + (("imblearn",) if preparation else ())
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    return f'needs {", ".join(missing)}: pip install -e ".[egemaps,field]"' if missing else None


def _why_no_encoder(model: str) -> str | None:
    try:
        encoder_of(model)
    except (FileNotFoundError, ValueError) as error:
        return str(error)
    return None


def _of_epochs(row: FieldRow, epochs: int | None) -> FieldRow:
    return row if epochs is None else replace(row, systems=tuple(replace(system, epochs=epochs) for system in row.systems))


def _plan_row(row: FieldRow, corpora: dict[str, pd.DataFrame], folder: Path, plan: Plan) -> Planned:
    missing = {system.name: row.waits or reason for system in row.systems if (reason := why_missing(system))}
    works = [
        work
        for system in row.systems
        if system.name not in missing
        for clips in corpora.values()
        for protocol in (NETWORK_PROTOCOLS if system.is_network else row.protocols)
        for work in folds_of_system(system, protocol, clips, folder, plan)
    ]
    return Planned(row, works, missing)


def _run_system(system: System | None, planned: Planned, plan: Plan, title: str) -> None:
    pending = [work for work in planned.pending if work.system == system]
    if not pending:
        return
    with TerminalProgress() as progress:
        for work in {work.clips["corpus"].iloc[0]: work for work in pending}.values():
            prepare_features(work.system, work.clips, plan, progress)
        map_parallel(run_fold, pending, plan.workers, progress, title)


def _write(planned: list[Planned], corpora: dict[str, pd.DataFrame], out: Path, plan: Plan, missing: dict[str, str]) -> pd.DataFrame:
    """The table and report of the systems whose folds on a corpus are all finished."""
    read: dict[Path, pd.DataFrame] = {}
    tested, systems = [], {}
    for each in planned:
        for work in _finished(each.works):
            systems[work.system.name] = work.system
            if work.file not in read:
                read[work.file] = pd.read_parquet(work.file)
            tested.append(read[work.file].assign(row=each.row.name))
    rows = pd.concat(tested, ignore_index=True) if tested else pd.DataFrame(columns=["row", "system", "corpus", "scoring_s", "fold_cpu_s"])
    clips = next(iter(corpora.values()))
    costs = [cost_of(system, clips, rows, out / "folds", plan) for system in systems.values()]
    table = field_table(rows, pd.DataFrame(costs, columns=["system", "parameters", "audio_h_per_h"]))
    write_field_report(table, rows, [each.row for each in planned], missing, out)
    return table


def _finished(works: list[FoldWork]) -> list[FoldWork]:
    """Folds of systems and corpora of which none is pending."""
    pending = {(work.system, work.clips["corpus"].iloc[0]) for work in works if not work.file.exists()}
    return [work for work in works if (work.system, work.clips["corpus"].iloc[0]) not in pending]


def cost_of(system: System, clips: pd.DataFrame, rows: pd.DataFrame, folder: Path, plan: Plan) -> dict[str, object]:
    """The system's parameters (None of a baseline) and audio-hours per CPU hour of one core: features and model, without decoding.

    Measured on clips of the first corpus once and kept in the folder.
    """
    encoder = f"-{encoder_of(system.learner)['sha256'][:16]}" if needs_encoder(system.learner) else ""
    stored = folder / f"cost-{system.learner.replace(':', '-')}{encoder}.parquet"
    if not stored.exists():
        if system.is_network:
            parameters, speed = size_and_speed(clips, spec_for(system, clips), plan)
        else:
            signals = telephone_signals(clips["file"].iloc[np.linspace(0, len(clips) - 1, TIMED_CLIPS, dtype=int)].tolist())
            compute = FUNCTIONALS[system.learner.split(":")[1]]
            compute(signals[:1])  # loads what it needs
            started = time.process_time()
            compute(signals)
            per_clip = (time.process_time() - started) / len(signals) + rows[rows["system"] == system.name]["scoring_s"].mean()
            parameters, speed = None, sum(map(len, signals)) / len(signals) / SAMPLING_RATE_HZ / per_clip
        with atomic_write(stored) as temporary:
            pd.DataFrame({"parameters": pd.array([parameters], "Int64"), "audio_h_per_h": [speed]}).to_parquet(temporary, index=False)
    measured = pd.read_parquet(stored).to_dict("records")[0]
    return {"system": system.name, "parameters": measured["parameters"], "audio_h_per_h": measured["audio_h_per_h"]}


def _estimate(planned: Planned) -> str:
    """How much CPU time a row takes, for one line of text."""
    pending = planned.pending
    missing = "".join(f"; {name}: {reason}" for name, reason in planned.missing.items())
    what = (
        f"{len(pending)} folds to run, {_minutes(cpu_s(folds_of(pending)))}" if planned.works else (planned.row.waits or "nothing to run")
    )
    return f"{planned.row.name}: {what}{missing}"


def _minutes(seconds: float) -> str:
    return f"some {seconds / 60:.0f} min of one core"
