"""The flow that merges the small parts of old days (``ser_tasks.maintenance.compaction``)."""

from prefect import flow, get_run_logger

from ser_tasks.maintenance.compaction import compact as run_compact
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store


@flow(name="compact", persist_result=False)
def compact(lake: str, older_than_days: int = 7) -> dict[str, int]:
    """Merges the small parts of day folders of that age. Returns the parts merged, those they became, and those deleted.

    Nights and readers may go on meanwhile. It waits 16 minutes for running queries where there is something to merge.
    """
    done = run_compact(open_store(lake), Settings(), older_than_days)
    get_run_logger().info(f"{done.merged} small parts became {done.into} (of each table); {done.deleted} merged parts deleted")
    return {"merged": done.merged, "into": done.into, "deleted": done.deleted}
