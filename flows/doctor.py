"""The flow of the doctor: a run that fails, and so notifies somebody, where the lake is not in order."""

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from ser_tasks.maintenance.doctor import examine
from ser_tasks.storage import open_store


class UnhealthyLakeError(RuntimeError):
    """The doctor has findings; the artifact ``doctor`` and the log name them."""


@flow(name="doctor", persist_result=False)
def doctor(lake: str, recordings: str | None = None, deep: bool = False) -> str:
    """Examines a lake, and with ``recordings`` compares it with that store. Repairs nothing. Returns what it says of a healthy lake.

    Raises UnhealthyLakeError with the first finding.
    """
    log = get_run_logger()
    try:
        open_store(lake).check()
    except FileNotFoundError:
        log.info(f"There is no lake at {lake} yet: the first night makes it")
        return "no lake yet"
    report = examine(lake, recordings, deep=deep)
    lines = list(report.lines())
    for note in report.notes:
        log.warning(note)
    healthy = f"Healthy: {report.parts:,} parts in {report.lake}."
    create_markdown_artifact("\n".join(f"    {line}" for line in lines) or healthy, key="doctor", description="What the doctor says")
    if lines:
        log.error("\n".join(lines))
        raise UnhealthyLakeError(f"{len(report.findings)} findings in {report.lake}, as {lines[0]}. Now run: ser doctor --lake {lake}")
    log.info(healthy)
    return healthy
