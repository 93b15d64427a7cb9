"""How the rooms lie: one-way imports, a library without Prefect, one file a registry entry."""

import subprocess
import sys
from pathlib import Path

from ser_tasks.features import FEATURE_SETS
from ser_tasks.models import MODELS

ROOT = Path(__file__).parents[2]


def test_the_import_contracts_hold():
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout


def test_the_library_needs_no_prefect():
    """Every module of ser_tasks is imported where Prefect can't be."""
    code = (
        "import sys, pkgutil, importlib\nsys.modules['prefect'] = None\nsys.modules['flows'] = None\nimport ser_tasks\n"
        "for module in pkgutil.walk_packages(ser_tasks.__path__, 'ser_tasks.'): importlib.import_module(module.name)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_one_file_a_registry_entry():
    for folder, registry in (("models", MODELS), ("features", FEATURE_SETS)):
        for name in registry:
            assert (ROOT / "ser_tasks" / folder / f"{name}.py").is_file()
