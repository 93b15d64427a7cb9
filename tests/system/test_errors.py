"""Errors come back from other processes and machines as they were raised."""

import ast
import importlib
import pickle
from datetime import date
from pathlib import Path

import pytest

from ser_tasks.dashboard.filters import Filters

ROOT = Path(__file__).parents[2]
ARGUMENTS = {
    "AudioError": ("too_long", "It is too long."),
    "BrokenPartError": ("outcomes/day=2026-11-20/a.parquet", OSError("Not Parquet\nat all")),
    "FilterError": ("Two days are swapped.", Filters(date(2026, 11, 21), date(2026, 11, 20))),
    "FormError": ("Too large.", 413),
    "IncompleteBackfillError": ({date(2026, 11, 20): "a check failed"},),
    "IncompleteNightError": (["check bad_shares: 1 offending rows", "a broken part"], {"run_id": "a"}),
    "ObjectLockedError": ("It is archived.", "archived"),
    "PlaybackError": ("Not yours.", 404),
    "ProcessLostError": (-9,),
    "StoppedError": ("stopped by SIGTERM", 143),
    "WorkerLostError": (None, 60.0),
}
"""Arguments of the errors that take others than a message."""


def errors_with_arguments():
    for path in sorted([*(ROOT / "flows").rglob("*.py"), *(ROOT / "ser_tasks").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ClassDef) or not node.name.endswith("Error"):
                continue
            if any(isinstance(each, ast.FunctionDef) and each.name == "__init__" for each in node.body):
                yield ".".join(path.relative_to(ROOT).with_suffix("").parts), node.name


@pytest.mark.parametrize(("module", "name"), list(errors_with_arguments()))
def test_an_error_is_the_same_after_pickle(module, name):
    error = getattr(importlib.import_module(module), name)(*ARGUMENTS[name])
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error) and len(str(error)) > 5
    assert {field: str(value) for field, value in vars(again).items()} == {field: str(value) for field, value in vars(error).items()}
