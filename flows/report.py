"""The flow of the night's report: writes it to the lake, and shows it as a Prefect artifact."""

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from ser_tasks.monitoring.run_report import write_night_report


@flow(name="report", persist_result=False)
def report(lake: str, run_id: str | None = None) -> str:
    """Writes the report of a run (default: the newest) and returns it. Raises ValueError if there is no such run."""
    key, text = write_night_report(lake, run_id)
    create_markdown_artifact(text, key="night-report", description=key)
    get_run_logger().info(f"Wrote {key} in {lake}")
    return text
