"""The nightly run: list and plan, then each chunk's two stages, chunk k+1 being extracted while chunk k is scored."""

from collections import deque
from datetime import date
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.task_runners import ThreadPoolTaskRunner

from flows.concurrency import card_lane, lake_lane
from flows.progress import NightProgress
from flows.retries import OPTIONS
from ser_tasks.calls.policy import REMEDIES
from ser_tasks.monitoring.run_report import outcome_rows, worst_calls_table
from ser_tasks.pipeline.ingest import Plan
from ser_tasks.pipeline.run import ExtractedChunk, Night
from ser_tasks.schemas import OUTCOMES
from ser_tasks.settings import Settings

AHEAD = 2
"""Chunks that are extracted, or being extracted, before the oldest of them is scored: the bound of scratch."""


class IncompleteNight(RuntimeError):
    """The night ended and its parts are published, but something needs a person. ``run`` is the run's row."""

    def __init__(self, message: str, run: dict[str, Any]):
        super().__init__(message)
        self.run = run


@task(name="list and plan", **OPTIONS)
def list_and_plan(night: Night) -> Plan:
    return night.list_and_plan()


@task(name="extract", task_run_name="extract {chunk_id}", **OPTIONS)
def extract(night: Night, day: date, chunk_id: str, progress: NightProgress) -> ExtractedChunk:
    return night.extract(day, chunk_id, progress.batch_done)


@task(name="score", task_run_name="score {chunk_id}", **OPTIONS)
def score(night: Night, chunk_id: str, extracted: ExtractedChunk) -> dict[str, Any]:
    with card_lane(night.device):
        return night.publish(extracted)


@task(name="check", **OPTIONS)
def check(night: Night) -> dict[str, int]:
    return night.check()


@flow(name="nightly", task_runner=ThreadPoolTaskRunner(max_workers=AHEAD), persist_result=False)  # the lane of extraction
def nightly(
    recordings: str,
    lake: str,
    day: date | None = None,
    model: str | None = None,
    device: str = "auto",
    workers: int | None = None,
    policy: str | None = None,
    only_planned: bool = False,
) -> dict[str, Any]:
    """Brings every listed recording up to date with a model and a policy. Returns the run's row.

    With ``only_planned`` new recordings are left to another run: only what the lake's manifests hold is scored.
    Raises IncompleteNight, with everything that could be done published, where a chunk or a check failed.
    """
    log = get_run_logger()
    settings = Settings()
    if settings.cluster:
        from flows import cluster  # Dask is needed by none but its users

        cluster.preflight()
    options: dict[str, Any] = {"day": day, "model": model, "device": device, "workers": workers, "policy": policy}
    with lake_lane(lake), Night(recordings, lake, settings, only_planned=only_planned, **options) as night:
        plan = list_and_plan(night)
        log.info(
            f"{plan.listed} recordings listed, {plan.planned} of them new, {plan.ignored_keys} other keys ignored; "
            f"{plan.recordings} recordings in {len(plan.chunks)} chunks wait for {night.version}"
        )
        if plan.closed:
            log.info(f"{plan.closed} recordings of days past the retention were left alone (SER_KEEP_SEGMENTS_DAYS, SER_KEEP_CALLS_DAYS)")
        with NightProgress(plan.recordings, len(plan.chunks), log.info) as progress:
            if plan.chunks and settings.cluster:
                cluster.score_on_cluster(night, device, workers, progress, log)
            elif plan.chunks:
                score_here(night, progress, log)
        checks = check(night)
        run = night.write_run(checks)
        for line in remarks(night, run):
            log.warning(line)
        publish_artifacts(night, run, checks)
    troubles = [f"check {name}: {rows} offending rows" for name, rows in checks.items() if rows]
    troubles += [str(error) for error in night.broken.values()]
    troubles += [f"chunk {chunk_id}: {error}" for chunk_id, error in night.failed_chunks.items()]
    if run["failed"] and run["failed"] == sum(run[outcome] for outcome in OUTCOMES):
        troubles.append(f"all {run['failed']} recordings failed: outcomes_and_reasons says why")
    if troubles:
        raise IncompleteNight("The parts are published, but " + "; ".join(troubles), run)
    return run


def score_here(night: Night, progress: NightProgress, log: Any) -> None:
    """Handles every waiting chunk on this machine. A chunk that fails is given up, the others go on."""
    night.start_workers()
    waiting, ahead = deque(night.plan.chunks), deque()
    while waiting or ahead:
        while waiting and len(ahead) < AHEAD:
            chunk = waiting.popleft()
            ahead.append((*chunk, extract.submit(night, *chunk, progress)))
        chunk_day, chunk_id, extracted = ahead.popleft()
        try:
            progress.chunk_done(chunk_id, score(night, chunk_id, extracted.result()))
        except Exception as error:
            log.exception(f"chunk {chunk_id} failed")
            night.give_up(chunk_day, chunk_id, error)


def remarks(night: Night, run: dict[str, Any]) -> list[str]:
    """What a person should know about a run that went well."""
    lines = [
        f"{count} recordings withheld under the policy {night.policy.name} ({code}): {REMEDIES[code]}"
        for code, count in sorted(night.refusals.items())
    ]
    if not run["pseudonyms"]:
        lines.append("SER_PSEUDONYM_KEY is not set: agent_pseudonym and customer_pseudonym are left null")
    return lines


def publish_artifacts(night: Night, run: dict[str, Any], checks: dict[str, int]) -> None:
    """What Prefect's page shows of the run: outcomes, throughput, links to the worst calls, and the checks."""
    create_table_artifact(
        outcome_rows(run), key="outcomes", description=f"Run {run['run_id']}: {run['audio_h_per_h']:,.0f} audio-hours per hour"
    )
    create_table_artifact(night.throughput(run), key="throughput", description=f"Run {run['run_id']}, beside the nights before it")
    create_table_artifact([{"check": n, "offending rows": c} for n, c in checks.items()], key="checks", description="Checks")
    worst = worst_calls_table(night.worst_calls(), night.recordings.uri)
    create_markdown_artifact(worst, key="worst-calls", description="This run's calls by peak anger")
