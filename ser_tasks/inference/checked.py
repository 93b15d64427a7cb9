"""What the start's check of a precision found, kept in the user's cache folder: a second of work for each process that scores.

A difference is that of a bundle, by its ``model_id`` (a hash of weights and description), in a precision, with this code, torch, NumPy,
processor and number of threads. What cannot be read counts as never checked, and what cannot be written is checked again next time.
"""

import contextlib
import hashlib
import json
import platform
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch

from ser_tasks.inference import precision as of_check
from ser_tasks.models.processor import has_amx
from ser_tasks.scratch import atomic_write


def folder() -> Path:
    return platformdirs.user_cache_path("ser-nightly", appauthor=False) / "precision"


def known_difference(key: dict[str, Any]) -> float | None:
    """The difference that was kept under a key; None where there is none that can be read."""
    try:
        kept = json.loads(_path(key).read_bytes())
        difference: Any = kept["difference"] if kept["key"] == key else None
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return difference if isinstance(difference, float) and difference >= 0 else None


def keep_difference(key: dict[str, Any], difference: float) -> None:
    """Keeps a difference under a key. Processes that do so at once leave one whole file."""
    path = _path(key)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps({"key": key, "difference": difference}))


def key_of(model_id: str, device: str, precision: str) -> dict[str, Any]:
    """What a difference depends on."""
    versions = {"torch": torch.__version__, "numpy": np.__version__, "code": _code()}
    return {"model_id": model_id, "device": _name(device), "precision": precision, "threads": torch.get_num_threads()} | versions


def _path(key: dict[str, Any]) -> Path:
    return folder() / f"{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]}.json"


@cache
def _code() -> str:
    """A hash of the code of the check and of what it checks: features, models, and the scorer."""
    wing = Path(of_check.__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(file for each in ("features", "models", "inference") for file in (wing / each).glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def _name(device: str) -> str:
    """The processor or GPU, and what it multiplies."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    name = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        kept = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "flags", "stepping", "microcode"))]
        name = hashlib.sha256("\n".join(sorted(set(kept))).encode()).hexdigest()[:16]
    return f"{platform.machine()} {name} {torch.backends.cpu.get_cpu_capability()} amx {has_amx()}"
