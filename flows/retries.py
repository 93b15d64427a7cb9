"""The options that every Prefect task of a night shares: which errors are tried again, and when."""

from typing import Any

from prefect.cache_policies import NO_CACHE


def is_storage_trouble(error: object) -> bool:
    """Whether an error is one of I/O: nothing else is worth another try within the night."""
    from botocore.exceptions import BotoCoreError, ClientError
    from duckdb import IOException

    return isinstance(error, ConnectionError | TimeoutError | BotoCoreError | ClientError | IOException)


def _is_to_retry(task: Any, run: Any, state: Any) -> bool:
    return is_storage_trouble(state.result(raise_on_failure=False))


OPTIONS: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [5, 30],
    "retry_condition_fn": _is_to_retry,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}
