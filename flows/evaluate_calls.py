"""Evaluation on composed calls: labelled clips become phone calls, which go through a whole night, from the recordings to SQL."""

import hashlib
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ser_tasks.evaluation.call_metrics import calls_with_scores, measure_calls, segments_with_truth
from ser_tasks.evaluation.composed import CallWriter, ComposedCall, call_table, compose, people_of, seconds_of, turn_table
from ser_tasks.evaluation.evaluate import clips_of_model, corpora_heard
from ser_tasks.evaluation.plan import Plan
from ser_tasks.inference.bundle import Bundle, load_bundle
from ser_tasks.inference.line_profile import ALL
from ser_tasks.lake import catalog
from ser_tasks.pipeline.progress import NightProgress, SampleProgress
from ser_tasks.pipeline.run import Night
from ser_tasks.pipeline.spec import make_spec
from ser_tasks.progress import TerminalProgress, map_parallel
from ser_tasks.settings import Settings, code_version

KEPT_SETTINGS = (
    *("priors", "line_by", "min_segment_s", "max_segment_s", "precision"),
    *("frames_per_batch", "worker_memory_mb", "recording_limit_s", "scratch"),
)
"""Settings that count for composed calls, too: of the scores and of the machine."""
DEFAULT_CALLS = 200


@dataclass(frozen=True)
class CallEvaluation:
    """Metrics, and the tables they are computed from."""

    calls: pd.DataFrame
    """One row a call: its truth, and what the lake has of it."""
    segments: pd.DataFrame
    """One row a scored segment of a customer, with its true emotion."""
    turns: pd.DataFrame
    """One row a clip in a call: the truth."""
    metrics: dict[str, Any]


def evaluate_calls(
    model: str,
    data: list[Path],
    plan: Plan,
    *,
    number: int = DEFAULT_CALLS,
    noise: Path | None = None,
    adapt: bool = True,
    unheard_only: bool = False,
) -> CallEvaluation:
    """Composes ``number`` calls of the corpora in ``data``, scores them as a night does, and compares the lake with the truth.

    Which clips are used is decided as in ``evaluate``. ``noise`` is a folder of recordings of background noise. With ``adapt`` and a model
    that takes a line profile, the night adapts to these calls before it scores, as the first night of a lake does.
    Calls and lake lie in ``plan.cache`` until the end: an interrupted evaluation resumes. Raises what ``clips_of_model`` and ``compose``
    raise, ValueError for a folder without noise and a model without anger, and what a night raises where a chunk fails.
    """
    settings = night_settings(model)
    bundle = load_bundle(model, settings.priors)
    if "anger" not in bundle.labels:
        raise ValueError(f"{bundle.model_id} has no label anger, which composed calls are about: choose another --model.")
    chosen = clips_of_model(bundle, data, plan.allow_leak, unheard_only)
    noises = noise_files(noise, settings)
    content = (code_version(), number, plan.seed, sorted(noises), list(chosen.clips["digest"]), list(chosen.clips["speaker"]))
    work = plan.cache / f"calls-{hashlib.sha256(repr(content).encode()).hexdigest()[:16]}"
    work.mkdir(parents=True, exist_ok=True, mode=0o700)
    with TerminalProgress() as progress:
        calls = _compose(chosen.clips, number, plan, noises, progress)
        writer = CallWriter(work / "recordings", noises)
        map_parallel(writer, calls, plan.workers, progress, "composing calls")
    run, scored, segments = _night(work, f"lake-{bundle.model_id}-{'adapted' if adapt else 'raw'}", settings, plan, adapt)
    truth, turns = call_table(calls), turn_table(calls)
    by_call = calls_with_scores(truth, scored, segments)
    segments = segments_with_truth(segments, turns)
    metrics = (
        {"model": bundle.model_id, "seed": plan.seed, "noise": sorted(noises), "run": run}
        | measure_calls(by_call, segments, corpora_heard(chosen.all_clips, bundle))
        | chosen.summary()
        | {"adapted": _adapted(bundle, by_call, run)}
    )
    shutil.rmtree(work)
    return CallEvaluation(by_call, segments, turns, metrics)


def night_settings(model: str) -> Settings:
    """The settings of a night over composed calls: nothing that an installation sets about its own calls, keys and retention counts."""
    own = Settings()
    return Settings.model_construct(model=model, **{name: getattr(own, name) for name in KEPT_SETTINGS})


def noise_files(folder: Path | None, settings: Settings) -> dict[str, Path]:
    """The recordings of noise in a folder, by name. Raises ValueError where there are none, FileNotFoundError for a missing folder."""
    if folder is None:
        return {}
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}: give one with recordings of background noise.")
    files = {path.name: path for path in sorted(folder.iterdir()) if path.suffix.lower() in settings.recording_suffixes}
    if not files:
        raise ValueError(f"{folder} holds no recording: give a folder of background noise, or leave --noise out.")
    return files


def _compose(clips: pd.DataFrame, number: int, plan: Plan, noises: dict[str, Path], progress: TerminalProgress) -> list[ComposedCall]:
    people = people_of(clips)
    used = sorted({clip for person in people for own in person.clips.values() for clip in own})
    seconds = dict(zip(used, map_parallel(seconds_of, used, 1, progress, "measuring clips"), strict=True))
    return compose(people, seconds, number, plan.seed, sorted(noises))


def _night(work: Path, lake_name: str, settings: Settings, plan: Plan, adapt: bool) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    """A night over the recordings: some of its run's row, and the calls and segments of its lake, by SQL."""
    lake = str(work / lake_name)
    spec = make_spec(str(work / "recordings"), lake, settings, plan.device, plan.workers)
    run: dict[str, Any] = {"refused": None}
    with Night(spec) as night:
        planned = night.list_and_plan()
        if adapt and planned.chunks and night.lacks_profile():
            run["refused"] = night.adapt(SampleProgress(_say)).lines[ALL].refused
        with NightProgress(planned.recordings, len(planned.chunks), _say) as progress:
            for day, chunk_id in planned.chunks:
                progress.chunk_done(chunk_id, night.publish(night.extract(day, chunk_id, progress.batch_done)))
        night.write_run(night.check())
    with catalog.connect(lake) as connection:
        lines = connection.sql("SELECT line, segments, callers, refused FROM profiles ORDER BY line").to_arrow_table().to_pandas()
        scored = connection.sql("SELECT * FROM call_emotions").to_arrow_table().to_pandas()
        segments = (
            connection.sql("SELECT * FROM segments WHERE role = 'customer' AND emotion IS NOT NULL ORDER BY call_id, start_s")
            .to_arrow_table()
            .to_pandas()
        )
    run["lines"] = lines.astype(object).where(lines.notna(), None).to_dict("records")
    return run, scored, segments


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _adapted(bundle: Bundle, calls: pd.DataFrame, run: dict[str, Any]) -> str:
    """How the calls were standardised, in words."""
    if not bundle.takes_lines:
        return "scored raw: the model takes no line profile"
    if calls["line"].isna().all():
        return "scored raw" + (f": {run['refused']}" if run["refused"] else "")
    return "standardised by a line profile of these very calls, made without labels"
