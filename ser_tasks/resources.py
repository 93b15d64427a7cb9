"""Where shipped files lie."""

from pathlib import Path


def resource(name: str) -> Path:
    """A file or folder that the library reads at run time: ``sql`` or ``deploy/alerts.yaml``.

    A wheel carries them inside ``ser_tasks`` (``force-include`` in ``pyproject.toml``); a checkout, and an editable installation
    of one, has them beside it. Raises FileNotFoundError where neither has it.
    """
    package = Path(__file__).parent
    for place in (package / name, package.parent / name):
        if place.exists():
            return place
    raise FileNotFoundError(f"No {name} in {package} or beside it: install ser-nightly again.")
