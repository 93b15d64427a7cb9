"""Log lines as JSON: one object a line, whatever is in it, from Prefect's loggers, workers and errors of a command, too."""

import json
import logging
import os
import subprocess
import sys
import threading

import pytest

from ser_tasks import logs
from ser_tasks.logs import JsonFormatter, fields


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("ser_tasks.x", logging.WARNING, "x.py", 1, message, arguments, None)
    made.__dict__ |= extra
    return made


@pytest.mark.parametrize(
    "text", ["two\nlines", "\x1b[31mred\x1b[0m", "nul \0", "\u2028\u2029\x85", "lone \udce9", 'a "quote" \\', "\r", ""]
)
def test_a_line_is_one_line_of_ascii_without_control_characters(text):
    line = JsonFormatter().format(record("key %s", text))
    assert line.isascii() and line.isprintable()
    assert json.loads(line)["message"] == f"key {text}"


def test_a_line_has_time_level_logger_and_the_fields_of_the_block():
    formatter = JsonFormatter()
    with fields(run_id="r1"), fields(chunk="c1"):
        inner = json.loads(formatter.format(record("x", flow_run_id="f1")))
        seen: list[dict] = []
        thread = threading.Thread(target=lambda: seen.append(json.loads(formatter.format(record("elsewhere")))))
        thread.start()
        thread.join()
    assert list(inner) == ["time", "level", "logger", "message", "run_id", "chunk", "flow_run_id"]
    assert inner["time"].endswith("Z") and (inner["level"], inner["logger"]) == ("WARNING", "ser_tasks.x")
    assert "run_id" not in seen[0] and "run_id" not in json.loads(formatter.format(record("after")))


def test_an_error_has_its_traceback_in_the_same_line():
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        made = record("it failed")
        made.exc_info = sys.exc_info()
    line = json.loads(JsonFormatter().format(made))
    assert "ValueError: first\nsecond" in line["error"] and "Traceback" in line["error"]


def python(code: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"SER_LOG_FORMAT": "json"} | variables
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_prefects_loggers_others_warnings_and_threads_that_die_write_it():
    code = """
import flows, logging, threading, warnings
from prefect.logging import get_logger
from ser_tasks import logs
logs.configure()
get_logger("flow_runs").warning("of a flow")
get_logger("_internal.x").warning("of prefect itself")
logging.getLogger("ser_tasks.lake").warning("of the %s", "library")
warnings.warn("of a warning")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start(); thread.join()
raise RuntimeError("of the program")
"""
    lines = [json.loads(line) for line in python(code).stderr.splitlines()]
    messages = [line["message"].splitlines()[0] for line in lines]
    assert messages[:3] == ["of a flow", "of prefect itself", "of the library"] and "of a warning" in messages[3]
    assert messages[4:] == ["ZeroDivisionError: division by zero", "RuntimeError: of the program"]
    assert [line["level"] for line in lines] == ["WARNING"] * 4 + ["CRITICAL"] * 2


def test_the_errors_of_a_command_are_json_too():
    ended = python("from flows.cli import app; app()", "nightly", "--recordings", "/nowhere", "--lake", "/nowhere/lake")
    [line] = [json.loads(line) for line in ended.stderr.splitlines()]
    assert ended.returncode == 2 and line["level"] == "ERROR" and "/nowhere" in line["message"]


def test_without_the_setting_nothing_changes():
    code = "import flows, logging, sys; print(logging.getLogger().handlers, sys.excepthook is sys.__excepthook__)"
    assert python(code, SER_LOG_FORMAT="").stdout == "[] True\n"
    assert logs.error_line("x") == "ser: x"
