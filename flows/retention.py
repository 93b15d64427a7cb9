"""Retention: deletes what is older than the settings keep it."""

from typing import Any

from prefect import flow, get_run_logger

from flows.artifacts import delete_naming
from ser_tasks.calls.opt_out import read as read_opt_out
from ser_tasks.lake import key_chain
from ser_tasks.maintenance import retention as library
from ser_tasks.maintenance import withdrawal
from ser_tasks.monitoring import access_log
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store


@flow(name="retention", persist_result=False)
def retention(lake: str, delete: bool = False) -> list[dict[str, Any]]:
    """Finds days that are past the retention, deletes their parts where ``delete`` is set, and returns them: table, day, parts, bytes.

    Also takes the emotion of calls whose consent was withdrawn, or whose customer is on the opt-out list, out of every version.
    """
    log, store, settings = get_run_logger(), open_store(lake), Settings()
    if settings.opt_out:
        settings = key_chain.read(store, settings).of(settings)
    listed = read_opt_out(settings)
    expired = library.expired(store, settings)
    for each in expired:
        log.info(each.summary())
    if delete:
        log.info(f"{library.delete(store, expired)} parts deleted")
        log.info(f"{library.delete_words(store, library.expired_words(store, settings)):,} rows lost what was said")
        withdrawal.apply_opt_out(store, listed, settings)
        files = access_log.expired(access_log.folder_of(lake, settings), settings.keep_access_days)
        log.info(f"{access_log.delete(files)} days of the access log deleted")
    withdrawn = withdrawal.find(store)  # last: a part that cannot be read stops it
    log.info(withdrawn.summary())
    if delete:
        delete_naming(withdrawal.names(store, withdrawn))
        withdrawal.withdraw(store, withdrawn)
    return [{"table": each.table, "day": str(each.day), "parts": len(each.keys), "size_bytes": each.size_bytes} for each in expired]
