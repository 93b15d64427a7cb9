"""Re-score: what the lake's manifests hold, with another model, as a version beside the old one."""

from typing import Any

from prefect import flow, get_run_logger

from flows.nightly import IncompleteNightError, nightly
from ser_tasks.monitoring.run_report import agreement


@flow(name="rescore", persist_result=False)
def rescore(
    recordings: str,
    lake: str,
    model: str | None = None,
    device: str = "auto",
    workers: int | None = None,
    policy: str | None = None,
    profile: str | None = None,
) -> dict[str, Any]:
    """Scores with ``model``, or by the line profile ``profile``, what was planned before.

    Returns the run's row, and what ``agreement`` says of it.

    Left out, and counted: recordings that left the store or changed there (they keep their older scores), days past the
    retention, and recordings that no night has planned yet: they are left to the next one. What the model has scored
    before is not scored again. Raises IncompleteNightError as a night does.
    """
    log = get_run_logger()
    try:
        run = nightly(recordings, lake, model=model, device=device, workers=workers, policy=policy, only_planned=True, profile=profile)
    except IncompleteNightError as error:
        error.run |= agreement(lake, error.run)
        raise
    run |= agreement(lake, run)
    log.info(describe(run))
    return run


def describe(run: dict[str, Any]) -> str:
    """A re-score in a sentence or two."""
    text = f"{run['left_behind']} recordings keep older scores only: they are no longer in the store as they were planned."
    if run["compared"]:
        text += f" Of {run['compared']} calls scored before, {run['same_emotion'] / run['compared']:.0%} keep their dominant emotion."
    return text
