"""The flow that mails the weekly page to each address of SER_WEEKLY_TO (``ser_tasks.dashboard.mailing``)."""

from prefect import flow, get_run_logger

from ser_tasks.dashboard.mailing import mail_week
from ser_tasks.settings import Settings

NOBODY = 'Nobody is mailed: SER_WEEKLY_TO is not set. Name the recipients there, such as {"lead@example.org": ["billing-leads"]}.'


@flow(name="weekly", persist_result=False)
def weekly(lake: str, week: str | None = None, again: bool = False, dry_run: bool = False) -> list[str]:
    """Mails the page of a week such as 2026-W47 (default: the newest complete week) to every address that has not received it.

    ``again`` also mails it to addresses that have; ``dry_run`` sends nothing. Returns a line for each address. Raises ValueError for
    an invalid week or invalid settings, and MailingError after all other addresses were mailed. Without SER_WEEKLY_TO it only says so.
    """
    if not Settings().weekly_to:
        get_run_logger().info(NOBODY)
        return [NOBODY]
    return mail_week(lake, week, again, dry_run, get_run_logger().info)
