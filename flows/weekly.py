"""The weekly page: made for each address of SER_WEEKLY_TO with its queues alone, and mailed once.

A copy of what was mailed lies in the lake, as ``reports/day=<Monday>/weekly-<hash of the address>.html``. It is written after the
mail server took the letter, and where it lies nothing is mailed again unless asked.
"""

from prefect import flow, get_run_logger

from ser_tasks.dashboard.mailing import mail_week


@flow(name="weekly", persist_result=False)
def weekly(lake: str, week: str | None = None, again: bool = False, dry_run: bool = False) -> list[str]:
    """Mails the page of a week such as 2026-W47 (the newest whole one if not given) to everybody who has not had it.

    ``again`` mails it to those, too; ``dry_run`` mails nobody. Returns a line for each address. Raises ValueError for a week or
    settings that are wrong, and Unmailed, after all others were mailed.
    """
    return mail_week(lake, week, again, dry_run, get_run_logger().info)
