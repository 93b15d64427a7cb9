"""One rule for every command that takes a lake: where no night has written, exit code 2, what to do, and nothing is created."""

import inspect
import shutil
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from ser_tasks.lake.nights import NoNightsError, has_nights, nearest_lake, require_nights
from ser_tasks.storage import open_store
from tests.factories.lakes import row, write, write_good_lake

MAKES_LAKES = {"demo", "nightly", "backfill", "adapt"}
"""Commands that write the first parts of a lake."""
PARAMETERS = {command.callback.__name__: inspect.signature(command.callback).parameters for command in app.registered_commands} | {
    f"{group.name} {command.callback.__name__}": inspect.signature(command.callback).parameters
    for group in app.registered_groups
    for command in group.typer_instance.registered_commands
}
"""The parameters of each command, by its name: "reviews draw" is one of a group."""
OF_NIGHTS = [name for name, parameters in PARAMETERS.items() if "lake" in parameters and name not in MAKES_LAKES]
MORE = {
    "pseudonym": ["--customer", "c-1"],
    "rescore": ["--model", "no-such-model"],
    "sql": ["SELECT count(*) AS runs FROM runs"],
    "weekly": ["--out", "out/weekly.html"],
}
"""Arguments beside the required options."""
VALUES = {"out": "out/file", "recordings": "calls", "to": "out/lake", "version": "a-1-b.customers_only"}
VALUES |= {"first": "2026-11-01", "last": "2026-11-28"}
NEED_A_RUN = ["report", "rescore", "rollback", "reviews draw", "reviews export", "fuse", "transcribe"]
"""Commands that need what a night wrote, reviewers judged or a recogniser, and say so with --empty-ok, too."""


def command_line(name: str, lake: str, *more: str) -> list[str]:
    required = [each for each, p in PARAMETERS[name].items() if p.default is inspect.Parameter.empty and each != "lake"]
    options = [text for each in required for text in (f"--{each.replace('_', '-')}", VALUES[each])]
    return [*name.split(), "--lake", lake, *options, *MORE.get(name, []), *more]


def test_each_command_with_a_lake_keeps_the_rule_or_makes_lakes():
    assert len(OF_NIGHTS) >= 19 and PARAMETERS.keys() >= MAKES_LAKES
    for name in OF_NIGHTS:
        assert "empty_ok" in PARAMETERS[name], f"{name}: put @of_nights on it, or list it in MAKES_LAKES"


@pytest.fixture(scope="module")
def good_lake(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lakes") / "good"
    write_good_lake(str(folder))
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch, good_lake):
    """An empty folder to call commands in, beside a lake named lake-2026."""
    for name in ("here", "here/calls", "here/out"):
        (tmp_path / name).mkdir()
    shutil.copytree(good_lake, tmp_path / "here" / "lake-2026")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("name", OF_NIGHTS)
def test_a_mistyped_lake_is_an_error_and_nothing_is_created(name, place):
    before = files(place)
    answer = CliRunner().invoke(app, command_line(name, str(place / "lake-2025")))
    assert answer.exit_code == 2 and answer.stdout == ""
    assert f"No night has written to {place / 'lake-2025'}" in answer.stderr
    assert f"Did you mean {place / 'lake-2026'}?" in answer.stderr and "--empty-ok" in answer.stderr
    assert files(place) == before


@pytest.mark.parametrize("name", [name for name in OF_NIGHTS if name not in ("dashboard", "rekey", *NEED_A_RUN)])
def test_with_empty_ok_scripts_go_on_and_no_lake_is_created(name, place, monkeypatch):
    monkeypatch.setenv("SER_PSEUDONYM_KEY", "a key of the tests")
    lake = place / ("out" if name == "doctor" else "lake-2025")  # the doctor wants to see the folder, at least
    answer = CliRunner().invoke(app, command_line(name, str(lake), "--empty-ok", *(["--dry-run"] if name == "alerts" else [])))
    assert answer.exit_code == 0, answer.output
    assert not (place / "lake-2025").exists() and not list(place.rglob("day=1970-01-01"))


def test_with_empty_ok_the_dashboard_waits_for_the_first_night(place, monkeypatch):
    served = []
    monkeypatch.setattr("ser_tasks.dashboard.app.serve", lambda app, listening: served.append(app.state.lake) or listening.close())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    answer = CliRunner().invoke(app, command_line("dashboard", str(place / "lake-2025"), "--empty-ok", "--port", port))
    assert (answer.exit_code, served) == (0, [str(place / "lake-2025")]) and not (place / "lake-2025").exists()


@pytest.mark.parametrize("name", NEED_A_RUN)
def test_with_empty_ok_what_needs_a_run_still_says_so(name, place):
    answer = CliRunner().invoke(app, command_line(name, str(place / "lake-2025"), "--empty-ok"))
    assert answer.exit_code == 2 and "No night has written" not in answer.stderr
    assert not (place / "lake-2025").exists()


@pytest.mark.parametrize(
    "name", ["sql", "doctor", *(pytest.param(name, marks=pytest.mark.slow) for name in ("catalog", "access", "alerts", "weekly"))]
)
def test_a_lake_on_s3_follows_the_same_rule(name, s3, place):
    bucket = s3.bucket()
    write_good_lake(f"s3://{bucket}/team/emotions")
    s3.client.put_object(Bucket=bucket, Key="team/calls/a.wav", Body=b"x")
    for lake, meant in (("team/emotion", "team/emotions"), ("", "team/emotions"), ("team", "team/emotions"), ("calls", None)):
        address = f"s3://{bucket}/{lake}".rstrip("/")
        answer = CliRunner().invoke(app, command_line(name, address))
        assert answer.exit_code == 2 and f"No night has written to {address}:" in answer.stderr
        if meant and lake:
            assert f"Did you mean s3://{bucket}/{meant}?" in answer.stderr
    listed = s3.client.list_objects_v2(Bucket=bucket)["Contents"]
    assert not [item["Key"] for item in listed if not item["Key"].startswith(("team/emotions/", "team/calls/"))]
    answer = CliRunner().invoke(app, command_line(name, f"s3://{bucket}-none/emotions"))
    assert answer.exit_code == 2 and "there is no such bucket" in answer.stderr


def test_the_nearest_lake_is_above_within_or_beside(place):
    lake = str(place / "lake-2026")
    assert nearest_lake(f"{lake}/recordings") == nearest_lake(str(place)) == nearest_lake(str(place / "calls")) == lake
    write_good_lake(str(place / "demo"))
    assert nearest_lake(str(place / "Demo-")) == str(place / "demo")
    assert nearest_lake(str(place / "calls" / "deep" / "none")) is None
    with pytest.raises(NoNightsError, match="has written to .*deep: give the lake of a night that has run. --empty-ok"):
        require_nights(str(place / "calls" / "deep"))


def test_a_night_without_recordings_has_written_but_adapt_and_alerts_have_not(tmp_path):
    write(str(tmp_path / "run"), "runs", [row("runs", run_id="r1")])
    write(str(tmp_path / "adapted"), "profiles", [])
    write(str(tmp_path / "alerts"), "alerts", [])
    open_store(str(tmp_path / "else")).write_bytes("recordings/notes.txt", b"")
    found = {name: has_nights(open_store(str(tmp_path / name))) for name in ("run", "adapted", "alerts", "else", "none")}
    assert found == {"run": True, "adapted": False, "alerts": False, "else": False, "none": False}


# The port


def test_a_port_in_use_is_one_clear_line(place):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = CliRunner().invoke(app, command_line("dashboard", str(place / "lake-2026"), "--port", str(port)))
    assert answer.exit_code == 2 and answer.stdout == ""
    assert f"cannot listen on 127.0.0.1, port {port}: another program listens there. End it, or give another --port." in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_an_address_of_another_machine_is_one_clear_line(place, monkeypatch):
    monkeypatch.setenv("SER_DASHBOARD_SECRET", "0123456789abcdef")
    for host, says in (("192.0.2.1", "this machine has no such address. Give another --host"), ("no-such-host.invalid", "--host")):
        answer = CliRunner().invoke(app, command_line("dashboard", str(place / "lake-2026"), "--host", host))
        assert answer.exit_code == 2 and f"cannot listen on {host}, port 8050: " in answer.stderr and says in answer.stderr
