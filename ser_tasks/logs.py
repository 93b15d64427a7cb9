"""The log as JSON: one object a line on standard error, where ``SER_LOG_FORMAT=json`` is set. Otherwise nothing here changes anything.

Handlers of others that write to a terminal are replaced, Prefect's and uvicorn's included; those that send records elsewhere stay.
"""

import contextlib
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

_FIELDS: ContextVar[dict[str, str]] = ContextVar("fields of log lines")
LOGGER = "ser"
"""Name of the logger of messages to the user."""
FROM_RECORDS = ("flow_run_id", "task_run_id")
"""What Prefect's loggers add to a record and the line keeps."""


def is_json() -> bool:
    """Read from the variable itself: lines are written before the settings are read, and in worker processes."""
    return os.environ.get("SER_LOG_FORMAT") == "json"


@contextlib.contextmanager
def fields(**values: str) -> Iterator[None]:
    """Adds fields, such as ``run_id`` and ``chunk``, to every line that is logged in the block."""
    token = _FIELDS.set(_FIELDS.get({}) | values)
    try:
        yield
    finally:
        _FIELDS.reset(token)


class JsonFormatter(logging.Formatter):
    """A record as one line: JSON escapes line breaks and other control characters, in keys from outside, too."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_FIELDS.get({}),
            **{name: str(value) for name in FROM_RECORDS if (value := getattr(record, name, None))},
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


class JsonHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to standard error as it is at that moment."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def configure() -> None:
    """Makes every line JSON, if that is set. To be called again once other packages have set up logging of their own."""
    if not is_json():
        return
    root = logging.getLogger()
    for logger in [root, *logging.Logger.manager.loggerDict.values()]:
        for handler in list(getattr(logger, "handlers", ())):
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler | JsonHandler):
                assert isinstance(logger, logging.Logger)
                logger.removeHandler(handler)
                if logger is not root and not logger.propagate:
                    logger.addHandler(JsonHandler())
    if not any(isinstance(handler, JsonHandler) for handler in root.handlers):
        root.addHandler(JsonHandler())
    logging.captureWarnings(True)
    sys.excepthook = _log_exception
    threading.excepthook = lambda ended: _log_exception(ended.exc_type, ended.exc_value, ended.exc_traceback)


def error_line(message: object) -> str:
    """An error as the user sees it: ``ser: ...``, or as JSON."""
    if not is_json():
        return f"ser: {message}"
    return JsonFormatter().format(logging.LogRecord(LOGGER, logging.ERROR, "", 0, str(message), None, None))


def _log_exception(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if not issubclass(kind, SystemExit):
        logging.getLogger(LOGGER).critical("%s: %s", kind.__name__, error, exc_info=(kind, error or kind(), trace))
