"""The command line itself: light to start, an example in every help, every command in the README."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.cli.app import _only_a_query
from tests.factories.lakes import write_good_lake

COMMANDS = ["demo", "nightly", "sql", "catalog", "train", "fuse", "evaluate", "league", "field", "models", "bench", "speech"]
COMMANDS += [
    "backfill",
    "rescore",
    "adapt",
    "transcribe",
    "retention",
    "rollback",
    "erase",
    "hold",
    "pseudonym",
    "key",
    "rekey",
    "report",
    "doctor",
    "compact",
    "dashboard",
    "alerts",
    "weekly",
    "access",
    "compliance",
    "promote",
    "reviews draw",
    "reviews export",
]
README = Path(__file__).parents[2] / "README.md"


def test_the_commands():
    groups = [(group.name, command) for group in app.registered_groups for command in group.typer_instance.registered_commands]
    commands = [command.callback.__name__ for command in app.registered_commands]
    assert [*commands, *(f"{name} {command.callback.__name__}" for name, command in groups)] == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example_and_the_readme_has_the_command(command):
    answer = CliRunner().invoke(app, [*command.split(), "--help"])
    assert answer.exit_code == 0
    assert f"Example: ser {command}" in " ".join(answer.output.split())
    assert f"ser {command}" in README.read_text()


def test_help_waits_for_no_heavy_import():
    heavy = ["torch", "prefect", "pandas", "duckdb", "librosa", "boto3", "pyarrow", "numpy"]
    code = f"import flows.cli, sys; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_models_lists_the_shipped_bundles():
    answer = CliRunner().invoke(app, ["models"])
    assert answer.exit_code == 0
    for name in ("cnn_tcn", "ge2e_tcn", "anger", "CC BY-NC-SA 4.0"):
        assert name in answer.output


def test_models_says_whether_a_company_may_use_each():
    lines = {line.split("│")[1].strip(): line for line in CliRunner().invoke(app, ["models"]).output.splitlines() if line.count("│") > 5}
    allowed = {name: line.rstrip(" │").endswith("yes") for name, line in lines.items() if name}
    assert allowed["default"] and allowed["fast"] and not allowed["research"] and not allowed["ge2e_tcn"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["sql", "--lake", "lake", "FROM calls"], ("lake", "FROM calls")),
        (["sql", "FROM calls", "--lake", "lake"], ("lake", "FROM calls")),
        (["sql", "--lake", "lake", r"\d"], ("lake", r"\d")),
        (["sql", "--lake=lake", "FROM calls"], None),
        (["sql", "--lake", "lake", "--help"], None),
        (["sql", "--lake", "--help", "FROM calls"], None),
        (["sql", "-- a comment", "--lake", "lake"], None),
        (["sql", "--lake", "lake"], None),
        (["sql", "--lake", "lake", "FROM calls", "--format", "csv"], None),
        (["catalog", "--lake", "lake", "FROM calls"], None),
        ([], None),
    ],
)
def test_only_a_plain_query_goes_past_the_parser(arguments, expected):
    assert _only_a_query(arguments) == expected


@pytest.mark.parametrize(
    ("query", "code"), [("SELECT count(*) AS calls FROM calls", 0), ("SELECT anger FROM calls", 2), ("FROM calls_", 2), (r"\d calls", 0)]
)
def test_a_plain_query_is_answered_as_the_parser_has_it_answered(tmp_path, query, code):
    """The same text, errors and exit code, and the rule of lakes without nights."""
    write_good_lake(str(tmp_path / "lake-2026"))

    def ser(*arguments):
        command = [sys.executable, "-c", "from flows.cli import app; app()", "sql", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    there, mistyped = str(tmp_path / "lake-2026"), str(tmp_path / "lake-2025")
    plain, parsed = ser("--lake", there, query), ser(f"--lake={there}", query)
    assert plain == parsed and plain[0] == code
    plain, parsed = ser("--lake", mistyped, query), ser(f"--lake={mistyped}", query)
    assert plain == parsed and plain[:2] == (2, "")
    assert f"No night has written to {mistyped}" in plain[2] and f"Did you mean {there}?" in plain[2]
    assert not (tmp_path / "lake-2025").exists()
