"""Backfill: a nightly run for each day of a range, oldest first. A bad day does not stop the others."""

from datetime import date, timedelta

import httpx
from prefect import flow, get_run_logger

from flows.nightly import first_ten, nightly
from ser_tasks.pipeline.spec import preflight, run_settings
from ser_tasks.schemas import OUTCOMES
from ser_tasks.settings import Settings


class IncompleteBackfillError(RuntimeError):
    """Days of the range need a person; all others are done. ``days`` says for each what happened."""

    def __init__(self, days: dict[date, str]):
        super().__init__(days)
        self.days = days

    def __str__(self) -> str:
        lines = first_ten([f"{day}: {what}" for day, what in self.days.items()], "days")
        return f"{len(self.days)} days are not in order: " + "; ".join(lines)


@flow(name="backfill", persist_result=False)
def backfill(  # noqa: PLR0913, PLR0917 - the parameters of its deployments
    recordings: str,
    lake: str,
    first: date,
    last: date,
    model: str | None = None,
    device: str = "auto",
    workers: int | None = None,
    policy: str | None = None,
) -> dict[str, int]:
    """Runs the night of each day from ``first`` to ``last``. Returns the recordings handled by day.

    Raises ValueError for an empty range, what a night raises before it starts for wrong settings, and IncompleteBackfillError
    at the end where a day failed.
    """
    if last < first:
        raise ValueError(f"The range is empty: its first day {first} comes after its last day {last}.")
    preflight(recordings, lake, run_settings(Settings(), model, policy, lake), device)
    log = get_run_logger()
    handled: dict[str, int] = {}
    bad: dict[date, str] = {}
    for day in (first + timedelta(days=number) for number in range((last - first).days + 1)):
        try:
            run = nightly(recordings, lake, day=day, model=model, device=device, workers=workers, policy=policy)
        except httpx.HTTPError:  # Prefect's server is lost
            raise
        except Exception as error:
            bad[day] = f"{type(error).__name__}: {error}"
            log.error(f"{day}: {bad[day]}")
        else:
            handled[str(day)] = sum(run[outcome] for outcome in OUTCOMES)
            log.info(f"{day}: {run['listed']} recordings listed, {handled[str(day)]} handled")
    if bad:
        raise IncompleteBackfillError(bad)
    return handled
