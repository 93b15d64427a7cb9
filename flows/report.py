"""The night's report: a page in the lake, and the same as an artifact."""

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from ser_tasks.monitoring.run_report import write_night_report


@flow(name="report", persist_result=False)
def report(lake: str, run_id: str | None = None) -> str:
    """Writes the report of a run, the newest if not given, and returns it. Raises ValueError where there is no such run."""
    key, text = write_night_report(lake, run_id)
    create_markdown_artifact(text, key="night-report", description=key)
    get_run_logger().info(f"Wrote {key} in {lake}")
    return text
