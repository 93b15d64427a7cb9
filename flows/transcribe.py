"""Transcripts made here, for calls that have none: a stage of its own, after the scores are published. Off unless SER_ASR_MODEL is set."""

from datetime import date
from typing import Any

from prefect import flow, get_run_logger

from flows.concurrency import lake_limit
from flows.nightly import EXTRACTION, IncompleteNightError, first_ten, list_and_plan, score_here
from flows.stopping import at_work
from ser_tasks import logs
from ser_tasks.pipeline.progress import NightProgress
from ser_tasks.pipeline.spec import make_spec, run_settings
from ser_tasks.pipeline.transcription import Transcription, with_recogniser
from ser_tasks.settings import Settings


@flow(name="transcribe", task_runner=EXTRACTION, persist_result=False)
def transcribe(
    recordings: str,
    lake: str,
    day: date | None = None,
    model: str | None = None,
    device: str = "auto",
    workers: int | None = None,
    policy: str | None = None,
) -> dict[str, Any]:
    """Makes transcripts of the calls that ``model`` has scored under ``policy`` and that have none. ``day``: only of one.

    Returns what was counted, in the columns of ``runs``; nothing is written there. Raises ValueError where SER_ASR_MODEL names no model,
    and IncompleteNightError where a chunk failed.
    """
    log = get_run_logger()
    settings = run_settings(Settings(), model, policy, lake)
    with lake_limit(lake):
        spec = make_spec(recordings, lake, settings, device, workers, day, True)
        with Transcription(with_recogniser(spec), settings.pseudonym_key, old_keys=settings.old_pseudonym_keys) as run:
            with logs.fields(run_id=run.spec.run_id), at_work():
                plan = list_and_plan(run)
                log.info(f"{plan.recordings} calls in {len(plan.chunks)} chunks have no transcript")
                with NightProgress(plan.recordings, len(plan.chunks), log.info) as progress:
                    score_here(run, progress, log)
            row = run.row_so_far()
            troubles = [f"chunk {chunk_id}: {error}" for chunk_id, error in run.record.failed_chunks.items()]
    if troubles:
        raise IncompleteNightError(first_ten(troubles, "failed chunks"), row)
    return row
