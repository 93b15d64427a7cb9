"""The commands of OPERATIONS.md, "On a Prefect server", for tests that run them as they stand."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def documented_commands() -> list[str]:
    """The commands of the section, without their comments."""
    section = (ROOT / "deploy" / "OPERATIONS.md").read_text().partition("## On a Prefect server")[2]
    block = section.partition("```bash\n")[2].partition("```")[0]
    return [line.partition("  #")[0].strip() for line in block.splitlines()]


def command_that(begins: str) -> str:
    """The only command that begins so."""
    [found] = [command for command in documented_commands() if command.startswith(begins)]
    return found


def preamble() -> list[str]:
    """The commands before the first ``prefect`` command: they only set the environment."""
    commands = documented_commands()
    return commands[: next(place for place, command in enumerate(commands) if command.startswith("prefect "))]


def environment_of_the_page(folder: Path, port: int) -> dict[str, str]:
    """The environment after the preamble, which a shell runs in ``folder``, with ``port`` in place of 4200."""
    (folder / "deploy").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "SER_", "AWS_"))}
    script = "\n".join(["set -e", *preamble(), "env -0"]).replace("4200", str(port))
    made = subprocess.run(["bash", "-c", script], cwd=folder, env=kept, capture_output=True, text=True, timeout=60, check=True)
    environment = dict(pair.split("=", 1) for pair in made.stdout.split("\0") if pair) | {"PYTHONPATH": str(ROOT)}
    return environment | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])}
