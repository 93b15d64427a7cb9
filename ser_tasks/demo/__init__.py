"""Twelve composed calls that ship with the package (see README.md)."""

from pathlib import Path

CALLS = Path(__file__).parent / "calls"
"""Folder of the calls: ``<date>/<call_id>.<suffix>``, each with its sidecar ``<call_id>.json``."""
