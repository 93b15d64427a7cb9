"""Adapt: a sample of one's own calls -> the line profile by which a model's input is standardised.

The sample goes through the extraction of a night, so whoever may not be scored is not in it. Only statistics of many callers leave this
module: pooled features of single segments stay in memory.
"""

import secrets
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ser_tasks.inference.base_rates import estimated
from ser_tasks.inference.bundle import Bundle, shared_bundle
from ser_tasks.inference.line_profile import ALL, Line, LineProfile, facts_in, line_names, profile_id
from ser_tasks.inference.line_statistics import Sample, line_of_sample
from ser_tasks.inference.scorer import choose_device, pool_files, score_files
from ser_tasks.inference.scores import at_equal_rates
from ser_tasks.lake import erased, key_chain, manifest, profiles
from ser_tasks.pipeline.extract import Batch, Extracted
from ser_tasks.pipeline.fork_server import cores
from ser_tasks.pipeline.lines import line_facts, profile_rows, standards_of
from ser_tasks.pipeline.listing import Listing, Recording
from ser_tasks.pipeline.opt_out import withheld_before, without_opted_out
from ser_tasks.pipeline.progress import SampleProgress
from ser_tasks.pipeline.spec import RunSpec, make_spec
from ser_tasks.pipeline.worker_pool import WorkerPool
from ser_tasks.scratch import scratch_folder
from ser_tasks.settings import Settings, code_version
from ser_tasks.storage import open_store

SAMPLE_DAYS = 31
"""A sample is drawn from the newest days of the store, so that it is of the line as it is."""
DEFAULT_HOURS = 2.0


def adapt(
    recordings: str,
    lake: str,
    settings: Settings,
    hours: float = DEFAULT_HOURS,
    device: str = "auto",
    workers: int | None = None,
    progress: SampleProgress | None = None,
) -> LineProfile:
    """Makes a profile of ``hours`` hours of the store's newest calls and writes it to the lake.

    It counts for recordings that are planned from now on; the first of a model for all. Where the line ``all`` has no statistics,
    nothing is written. Raises what ``make_spec`` raises, and ValueError where the model takes no line profile.
    """
    spec = make_spec(recordings, lake, settings, device, workers)
    if not shared_bundle(spec.model, settings.priors).takes_lines:
        raise ValueError(f"The model {spec.model_id} takes no line profile: choose another --model.")
    store, counts_from = open_store(spec.lake_uri), spec.started_at if spec.profiles else None
    with scratch_folder(settings.scratch) as scratch, WorkerPool(workers or cores(), settings.worker_memory_mb) as pool:
        keys = key_chain.check(store, settings)
        deleted, gone = manifest.deleted_days(store), erased.read(store, *keys.people)
        listing = Listing(open_store(spec.recordings_uri), settings, scratch / "listing.duckdb", None, deleted, gone, keys.recordings)
        listing.opted_out = withheld_before(store, listing.days())
        sample = listing.sample(hours * 3600, SAMPLE_DAYS, only_kept=False)
        profile = make_profile(sample, spec, keys.of(settings), pool, scratch, counts_from, progress)
    if profile.lines[ALL].refused is None:
        profiles.write(store, profile_rows(profile, code_version()))
    return profile


def make_profile(
    recordings: list[Recording],
    spec: RunSpec,
    settings: Settings,
    workers: WorkerPool,
    scratch: Path,
    counts_from: datetime | None,
    progress: SampleProgress | None = None,
) -> LineProfile:
    """The profile of a sample of recordings, with a line for each combination of the facts that ``spec.settings.line_by`` names.

    ``settings`` hold the keys of the lake, by which people on the opt-out list are recognised.
    A line without enough speech of enough callers is in it, too, with the reason. Where ``all`` is one, calls are scored raw.
    """
    folder = scratch / f"sample-{secrets.token_hex(4)}"
    folder.mkdir()
    device = choose_device(spec.device).type
    with progress or SampleProgress() as shown:
        shown.begin(recordings)
        extracted = workers.extract(recordings, spec, folder, shown.batch_done)
        batches = [without_opted_out(batch, spec.opt_out, settings) for batch in extracted]
        with_frames = [batch for batch in batches if batch.frames_files]
        sample, results = _pooled(with_frames, spec, workers, device, shown)
        by = spec.settings.line_by
        members: defaultdict[str, list[int]] = defaultdict(list, {ALL: []})
        for number, result in enumerate(results):
            for name in line_names(line_facts(result), by):
                members[name].append(number)
        own = {name: sample.of(np.isin(sample.call, calls)) for name, calls in sorted(members.items())}
        lines = {name: line_of_sample(name, of_line) for name, of_line in own.items()}
        bundle = shared_bundle(spec.model, settings.priors)
        even = _even_of_states(own, lines, bundle)
        if bundle.by_line:
            even = _even_of_frames(with_frames, lines, by, spec, workers, device, shown)
        lines = {name: _with_base_rates(line, own[name], even.get(name), bundle) for name, line in lines.items()}
    for batch in with_frames:
        for file in batch.frames_files:
            file.unlink()
    return LineProfile(
        profile_id=profile_id(spec.model_id, by, lines),
        model_id=spec.model_id,
        made_at=datetime.now(UTC),
        counts_from=counts_from,
        by=by,
        lines=lines,
        run_id=spec.run_id,
    )


def _with_base_rates(line: Line, sample: Sample, even: NDArray[np.float64] | None, bundle: Bundle) -> Line:
    """The line with the base rates of its emotions, from the probabilities of its sample's segments; one without statistics as it is."""
    if even is None:
        return line
    counted = sample.counted()
    return replace(line, base_rates=estimated(even[counted], sample.caller[counted], bundle.labels, bundle.base_rate_errors))


def _even_of_states(own: dict[str, Sample], lines: dict[str, Line], bundle: Bundle) -> dict[str, NDArray[np.float64]]:
    """Probabilities at equal base rates (segments, labels) of the pooled states of each line's sample, as the model hears them
    standardised by that line. Lines without statistics are left out."""
    if bundle.line_model is None:
        return {}
    return {
        name: bundle.at_equal_rates((own[name].pooled - line.mean) / line.deviation)
        for name, line in lines.items()
        if line.mean is not None and line.deviation is not None
    }


def _even_of_frames(
    batches: list[Batch],
    lines: dict[str, Line],
    by: tuple[str, ...],
    spec: RunSpec,
    workers: WorkerPool,
    device: str,
    progress: SampleProgress,
) -> dict[str, NDArray[np.float64]]:
    """The same of features, which are scored once for each number of facts that name a line: of each number, a call has one line."""
    bundle = shared_bundle(spec.model, spec.settings.priors)
    even: dict[str, NDArray[np.float64]] = {}
    for count in range(len(by) + 1):
        named = {name: line for name, line in lines.items() if line.refused is None and facts_in(name) == count}

        def line_of(result: Extracted, named: dict[str, Line] = named) -> Line | None:
            return next((named[name] for name in line_names(line_facts(result), by) if name in named), None)

        chosen = [batch for batch in batches if any(map(line_of, batch.extracted))]
        progress.begin_scoring(len(chosen))
        standards = [(standards_of(batch, [line_of(result) for result in batch.extracted]),) for batch in chosen]
        answers = workers.over_frames(score_files, chosen, spec, device, standards, progress.file_done)
        scored: dict[str, list[tuple[str, NDArray[np.float32]]]] = defaultdict(list)
        for batch, answer in zip(chosen, answers, strict=True):
            for result, probabilities in _of_recordings(batch, answer.probabilities):
                if line := line_of(result):
                    scored[line.name].append((result.recording.recording_id, probabilities))
        for name, pairs in scored.items():
            in_order = np.concatenate([probabilities for _, probabilities in sorted(pairs, key=lambda pair: pair[0])])
            even[name] = at_equal_rates(in_order.astype(np.float64), bundle.priors, bundle.labels)
    return even


def _of_recordings(batch: Batch, rows: NDArray[np.float32]) -> Iterator[tuple[Extracted, NDArray[np.float32]]]:
    """The recordings of a batch that have segments, each with its own of the rows (segments, n)."""
    first = 0
    for result in batch.extracted:
        if count := len(result.scored_segments):
            yield result, rows[first : first + count]
        first += count


def _pooled(
    with_frames: list[Batch], spec: RunSpec, workers: WorkerPool, device: str, progress: SampleProgress
) -> tuple[Sample, list[Extracted]]:
    """The sample's segments in the order of their recordings, whichever worker made them, and those recordings."""
    progress.begin_pooling(len(with_frames))
    answers = workers.over_frames(pool_files, with_frames, spec, device, done=progress.file_done)
    pairs = [pair for batch, pooled in zip(with_frames, answers, strict=True) for pair in _of_recordings(batch, pooled)]
    pairs.sort(key=lambda pair: pair[0].recording.recording_id)
    people: dict[tuple[str, str], int] = {}
    call, caller, seconds = [], [], []
    for number, (result, _) in enumerate(pairs):
        for segment in result.scored_segments:
            person = result.facts.get(f"{segment.role}_id") or result.recording.recording_id
            call.append(number)
            caller.append(people.setdefault((segment.role, person), len(people)))
            seconds.append(segment.end_s - segment.start_s)
    pooled = np.concatenate([rows for _, rows in pairs]) if pairs else np.zeros((0, 1), np.float32)
    return Sample(pooled, np.array(call, np.int64), np.array(caller, np.int64), np.array(seconds)), [result for result, _ in pairs]
