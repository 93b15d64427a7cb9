"""A built wheel, in a clean environment outside the checkout: what the library reads at run time is inside it.

The environment holds the wheel alone; its dependencies are those of the environment that runs the tests.
"""

import os
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.receivers import free_port

ROOT = Path(__file__).parents[2]
START_S = 120
"""A dashboard that does not answer by then never will."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def ser(wheel, tmp_path_factory) -> Path:
    """The ``ser`` command of a clean environment with the wheel in it."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    install = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install", "-q", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True)
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin/ser"


@pytest.fixture(scope="module")
def lake(ser, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere")
    run(ser, "demo", "--lake", str(folder / "lake"), cwd=folder)
    return folder / "lake"


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def run(ser: Path, *arguments: str, cwd: Path) -> str:
    answer = subprocess.run([ser, *arguments], cwd=cwd, env=environment(), capture_output=True, text=True, timeout=600, check=False)
    assert answer.returncode == 0, answer.stderr[-3000:]
    return answer.stdout


def test_the_wheel_has_two_packages_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"ser_tasks", "flows"}
    assert {"ser_tasks/sql/marts/escalations.sql", "ser_tasks/deploy/alerts.yaml", "ser_tasks/py.typed"} <= set(names)


def test_the_code_is_the_wheels(ser):
    code = "import ser_tasks, flows; print(ser_tasks.__file__, flows.__file__)"
    found = subprocess.run(
        [ser.with_name("python"), "-c", code], cwd=ser.parent, env=environment(), capture_output=True, text=True, check=True
    )
    assert all(Path(file).is_relative_to(ser.parents[1]) for file in found.stdout.split())


@pytest.mark.slow
def test_sql_answers_over_the_demo(ser, lake):
    answer = run(ser, "sql", "--lake", str(lake), "--format", "csv", "SELECT count(*) AS calls FROM call_emotions", cwd=lake.parent)
    assert answer.split() == ["calls", "12"]


@pytest.mark.slow
def test_the_shipped_alert_rules_are_found(ser, lake):
    assert run(ser, "alerts", "--lake", str(lake), "--dry-run", cwd=lake.parent)


@pytest.mark.slow
def test_the_dashboard_shows_the_demo(ser, lake):
    with free_port() as port:
        pass
    process = subprocess.Popen([ser, "dashboard", "--lake", str(lake), "--port", str(port)], cwd=lake.parent, env=environment())
    try:
        assert "billing" in page(f"http://127.0.0.1:{port}/?first=2026-11-18&last=2026-11-20")
        assert "{" in page(f"http://127.0.0.1:{port}/static/style.css")
    finally:
        process.terminate()
        process.wait(30)


def page(url: str) -> str:
    """A page's text, once the dashboard answers and has read its lake."""
    end = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30) as answer:
                return answer.read().decode()
        except OSError:  # not listening yet, or 503 while it reads the lake
            if time.monotonic() > end:
                raise
            time.sleep(0.5)
