"""The options that every Prefect task of a night shares: which errors are tried again, and when."""

from typing import Any

from prefect.cache_policies import NO_CACHE


def _is_storage_trouble(task: Any, run: Any, state: Any) -> bool:
    """Whether a task failed by I/O: nothing else is worth another try within the night."""
    from botocore.exceptions import BotoCoreError, ClientError
    from duckdb import IOException

    return isinstance(state.result(raise_on_failure=False), ConnectionError | TimeoutError | BotoCoreError | ClientError | IOException)


OPTIONS: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [5, 30],
    "retry_condition_fn": _is_storage_trouble,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}
