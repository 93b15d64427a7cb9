"""Takes the pictures in deploy/docs/: the overview and the page of a call, as the dashboard shows the demo's lake.

    python -m tests.support.screenshots             # runs `ser demo` first: a minute or more
    python -m tests.support.screenshots demo-lake   # over a lake that `ser demo` has made

Needs Chromium: that of the system, or `playwright install chromium`.
"""

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from playwright.sync_api import Browser, sync_playwright

from ser_tasks.dashboard.app import create_app
from ser_tasks.demo import CALLS
from ser_tasks.lake import catalog
from ser_tasks.settings import Settings

FOLDER = Path(__file__).parents[2] / "deploy" / "docs"
CALL_ID = "deliveries-1006"
"""The demo call in which the model is surest of anger."""
PERIOD = "/?first=2026-11-18&last=2026-11-20"
"""The days of the demo calls."""
WIDTH = 1280
MAX_BYTES = 150_000
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"]


@contextlib.contextmanager
def served(lake: str, scratch: str) -> Iterator[str]:
    """Serves the dashboard on a free port of this machine, and yields its address."""
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_app(lake, str(CALLS), Settings(scratch=scratch)), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [port]})
        thread.start()
        try:
            while thread.is_alive() and not server.started:
                time.sleep(0.01)
            yield f"http://127.0.0.1:{port.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def take(browser: Browser, address: str, path: Path, height: int) -> None:
    """Writes a picture of the top of a page, ``height`` pixels of it."""
    page = browser.new_page(viewport={"width": WIDTH, "height": height}, locale="en-GB", color_scheme="light")
    page.goto(address, wait_until="networkidle")
    page.screenshot(path=path)
    page.close()
    size_bytes = path.stat().st_size
    print(f"{path}: {size_bytes:,} bytes")
    if size_bytes > MAX_BYTES:
        raise ValueError(f"{path} has {size_bytes:,} bytes, more than {MAX_BYTES:,}: take less of the page.")


def main(lake: str) -> None:
    with catalog.connect(lake) as connection:
        [recording] = connection.execute("SELECT recording_id FROM call_emotions WHERE call_id = ?", [CALL_ID]).fetchone()
    with tempfile.TemporaryDirectory() as scratch, served(lake, scratch) as site, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium") or driver.chromium.executable_path, args=OPTIONS)
        take(browser, site + PERIOD, FOLDER / "overview.png", 740)
        take(browser, f"{site}/calls/{recording}", FOLDER / "call.png", 920)
        browser.close()


if __name__ == "__main__":
    if sys.argv[1:]:
        main(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, "-m", "flows.cli", "demo", "--lake", f"{folder}/lake"], check=True)
            main(f"{folder}/lake")
