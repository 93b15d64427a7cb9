"""The nightly run: list and plan, then each chunk's two stages, chunk k+1 being extracted while chunk k is scored."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import httpx
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from flows.chunk_groups import Group, grouped, report_failed
from flows.concurrency import gpu_limit, lake_limit
from flows.retries import OPTIONS
from flows.stopping import at_work
from flows.telemetry import telemetry
from ser_tasks import logs
from ser_tasks.inference.line_profile import ALL, LineProfile
from ser_tasks.lake import catalog
from ser_tasks.monitoring import run_report
from ser_tasks.pipeline.ingest import Plan
from ser_tasks.pipeline.progress import NightProgress, SampleProgress
from ser_tasks.pipeline.run import Night
from ser_tasks.pipeline.spec import make_spec, run_settings, with_profile
from ser_tasks.schemas import OUTCOMES
from ser_tasks.settings import Settings

AHEAD = 2
"""Groups of chunks that are extracted, or being extracted, before the oldest of them is scored: the bound of scratch."""
NIGHTS_SEARCHED = 31
"""Days of runs that are read to find the nights before."""


class IncompleteNightError(RuntimeError):
    """The night ended and its parts are published, but ``troubles`` need a person. ``run`` is the run's row."""

    def __init__(self, troubles: list[str], run: dict[str, Any]):
        super().__init__(troubles, run)
        self.troubles, self.run = troubles, run

    def __str__(self) -> str:
        return "The parts are published, but " + "; ".join(self.troubles)


EXTRACTION: Any = ThreadPoolTaskRunner(max_workers=AHEAD)  # its type parameter does not fit the decorator's


@task(name="list and plan", **OPTIONS)
def list_and_plan(night: Night) -> Plan:
    return night.list_and_plan()


@task(name="extract", task_run_name="extract {group}", **OPTIONS)
def extract(night: Night, group: Group, progress: NightProgress) -> None:
    def one(day: date, chunk_id: str) -> None:
        group.extracted[chunk_id] = night.extract(day, chunk_id, progress.batch_done)

    group.each([chunk for chunk in group.chunks if chunk[1] not in group.extracted], one)


@task(name="score", task_run_name="score {group}", **OPTIONS)
def score(night: Night, group: Group, progress: NightProgress) -> None:
    def one(day: date, chunk_id: str) -> None:
        progress.chunk_done(chunk_id, night.publish(group.extracted[chunk_id]))
        del group.extracted[chunk_id]

    with gpu_limit(night.handler.device):
        group.each([chunk for chunk in group.chunks if chunk[1] in group.extracted], one)


@task(name="adapt", **OPTIONS)
def make_profile(night: Night, progress: SampleProgress) -> LineProfile:
    return night.adapt(progress)


@task(name="check", **OPTIONS)
def check(night: Night) -> dict[str, int]:
    return night.check()


@flow(name="nightly", task_runner=EXTRACTION, persist_result=False)
def nightly(  # noqa: PLR0913, PLR0917 - the parameters of its deployments
    recordings: str,
    lake: str,
    day: date | None = None,
    model: str | None = None,
    device: str = "auto",
    workers: int | None = None,
    policy: str | None = None,
    only_planned: bool = False,
    retry_given_up: bool = False,
    adapt: bool = True,
    profile: str | None = None,
    transcripts: str | None = None,
) -> dict[str, Any]:
    """Brings every listed recording up to date with a model and a policy. Returns the run's row.

    ``retry_given_up`` also tries recordings again that were given up after their last attempt, or that the store did not deliver.
    ``adapt``: where the lake has no line profile for the model yet, one is made of a sample of the waiting recordings first.
    ``transcripts``: where transcripts lie, in place of SER_TRANSCRIPTS.
    ``profile``: the only line profile that is used, as in ``with_profile``.
    With ``only_planned`` new recordings are left to another run: only what the lake's manifests hold is scored.
    Raises IncompleteNightError, with everything that could be done published, where a chunk or a check failed.
    """
    log = get_run_logger()
    settings = run_settings(Settings(), model, policy, lake, transcripts)
    if retry_given_up:
        settings = settings.model_copy(update={"retry_given_up": True})
    if settings.cluster:
        from flows import cluster  # Dask is needed by none but its users

        cluster.preflight()
    options = (device, workers, day, only_planned)
    # The specification has the run's start: it is made once the run holds its lake.
    with (
        lake_limit(lake),
        night_for(recordings, lake, settings, *options, profile=profile) as night,
        logs.fields(run_id=night.spec.run_id),
        telemetry(night, settings, log.warning),
    ):
        if forbidden := night.forbidden_use():
            log.warning(forbidden)
        with at_work():
            checks, run = work(night, log, adapt)
        for line in night.remarks():
            log.warning(line)
        publish_artifacts(night, run, checks)
        troubles = [f"check {name}: {rows} offending rows" for name, rows in checks.items() if rows]
        troubles += first_ten([str(error) for error in night.record.broken.values()], "broken parts")
        troubles += first_ten([f"chunk {chunk_id}: {error}" for chunk_id, error in night.record.failed_chunks.items()], "failed chunks")
        if run["failed"] and run["failed"] == sum(run[outcome] for outcome in OUTCOMES):
            troubles.append(f"all {run['failed']} recordings failed: outcomes_and_reasons says why")
        if troubles:
            raise IncompleteNightError(troubles, run)
    return run


def work(night: Night, log: Any, adapt: bool = True) -> tuple[dict[str, int], dict[str, Any]]:
    """Plans, adapts to a new lake's lines, handles every waiting chunk, checks, writes the run's row. Returns checks and row."""
    plan = list_and_plan(night)
    ignored = f" ({plan.ignored_suffixes})" if plan.ignored_suffixes else ""
    log.info(
        f"{plan.listed} recordings listed, {plan.planned} of them new, {plan.ignored_keys} other keys ignored{ignored}; "
        f"{plan.recordings} recordings in {len(plan.chunks)} chunks wait for {night.spec.version}"
    )
    if plan.lone_sidecars:
        log.warning(
            f"{plan.lone_sidecars} sidecars belong to no recording, and what they say is not used, such as "
            f"{', '.join(map(repr, plan.shown_lone_sidecars))}"
        )
    if plan.closed:
        log.info(f"{plan.closed} recordings of days past the retention were left alone (SER_KEEP_SEGMENTS_DAYS, SER_KEEP_CALLS_DAYS)")
    if plan.chunks and adapt and night.lacks_profile():
        adapt_first(night, log)
    with NightProgress(plan.recordings, len(plan.chunks), log.info) as progress:
        if plan.chunks and night.spec.settings.cluster:
            from flows import cluster  # Dask is needed by none but its users

            cluster.score_on_cluster(night, progress, log)
        elif plan.chunks:
            score_here(night, progress, log)
    checks = check(night)
    return checks, night.write_run(checks) | {"version": night.spec.version}


def night_for(recordings: str, lake: str, settings: Settings, *options: Any, profile: str | None = None) -> Night:
    """A night with this machine's keys. Options are those of ``make_spec``; ``profile`` is as in ``with_profile``."""
    spec = make_spec(recordings, lake, settings, *options)
    spec = with_profile(spec, profile) if profile else spec
    return Night(spec, settings.pseudonym_key, old_keys=settings.old_pseudonym_keys)


def adapt_first(night: Night, log: Any) -> None:
    """Standardises the model to the lines of a new lake. Where that cannot be done, the log says why, and calls are scored raw."""
    profile = make_profile(night, SampleProgress(log.info))
    line = profile.lines[ALL]
    if line.refused:
        log.warning(f"The calls are scored raw, without a line profile: {line.refused}. `ser adapt` makes one when there are more calls.")
    else:
        log.info(
            f"line profile {profile.profile_id} of {line.segments} segments of {line.callers} callers; lines: {', '.join(profile.lines)}"
        )


def score_here(night: Night, progress: NightProgress, log: Any) -> None:
    """Handles every waiting chunk on this machine. A chunk that fails is given up, the others go on."""
    night.start_workers()
    waiting = deque(grouped(night.plan.chunks, night.listing.sizes()))
    ahead: deque[tuple[Group, PrefectFuture[None]]] = deque()
    while waiting or ahead:
        while waiting and len(ahead) < AHEAD:
            group = waiting.popleft()
            ahead.append((group, extract.submit(night, group, progress)))
        group, extracted = ahead.popleft()
        with errors_to(group.fail_unextracted):
            extracted.result()
        if group.extracted:
            with errors_to(group.fail_unpublished):
                score(night, group, progress)
        report_failed(group, night.give_up, log)


@contextlib.contextmanager
def errors_to(take: Callable[[Exception], None]) -> Iterator[None]:
    """Hands on the error of a task run, but where Prefect's server is lost: each further chunk would wait for it in vain."""
    try:
        yield
    except httpx.HTTPError:
        raise
    except Exception as error:
        take(error)


def first_ten(lines: list[str], what: str) -> list[str]:
    """The first ten lines, and how many more there are: a message is read by a person."""
    return lines[:10] + ([f"and {len(lines) - 10} more {what}"] if len(lines) > 10 else [])


def publish_artifacts(night: Night, run: dict[str, Any], checks: dict[str, int]) -> None:
    """What Prefect's page shows of the run: outcomes, throughput, links to the worst calls, and the checks."""
    spec = night.spec
    with catalog.connect(spec.lake_uri, since=spec.started_at.date() - timedelta(days=NIGHTS_SEARCHED)) as connection:
        throughput = run_report.throughput(connection, run)
    worst = night.ask(run_report.worst_calls, spec.run_id)
    speed = f"Run {spec.run_id}: {run['audio_h_per_h']:,.0f} audio-hours per hour"
    create_table_artifact(run_report.outcome_rows(run), key="outcomes", description=speed)
    create_table_artifact(throughput, key="throughput", description=f"Run {spec.run_id}, beside the nights before it")
    create_table_artifact([{"check": n, "offending rows": c} for n, c in checks.items()], key="checks", description="Checks")
    table = run_report.worst_calls_table(worst, spec.recordings_uri)
    create_markdown_artifact(table, key="worst-calls", description="This run's calls by anger score")
