"""The Prefect server that a run uses where none is configured: a temporary one on loopback, which never outlives the run.

``python -m flows.server FD`` is that server: it serves on the socket FD, and ends when its standard input is closed, which
happens however its parent ends. It is in a session of its own: the parent decides what Ctrl-C means.

Nothing of Prefect is loaded here until it is needed: a command starts the server first, and loads Prefect beside it.
"""

import atexit
import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ser_tasks.loading import without_collection

if TYPE_CHECKING:
    from filelock import FileLock

STOP_LIMIT_S = 3
LOCK_NAME = "ser-server-start.lock"
ADVICE = "Start a server of your own (prefect server start) and set PREFECT_API_URL to its address"


class ServerStartError(OSError):
    """The temporary Prefect server did not start."""


class TemporaryServer:
    """A Prefect server on a free port of 127.0.0.1, with a password of its own. Its database is that of PREFECT_HOME.

    ``variables``: Prefect's settings that its environment and its profile do not give.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.auth_string = f"ser:{secrets.token_urlsafe(24)}"
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.server", str(listener.fileno())],
                env={
                    **os.environ,
                    **variables,
                    "PREFECT_SERVER_API_AUTH_STRING": self.auth_string,
                    "PREFECT_UI_ENABLED": "0",
                    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "0",  # it loads every installed integration; runs use no blocks
                    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "0",  # and so does the memory of what was registered
                    "PREFECT__SERVER_EPHEMERAL": "1",
                    "PREFECT__SERVER_FINAL": "1",
                },
                pass_fds=[listener.fileno()],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                start_new_session=True,
            )
        atexit.register(self.stop)  # not before: at the exit Prefect sends what it still holds

    def wait_until_up(self, limit_s: float) -> None:
        """Returns when the server answers. Raises ServerStartError where it ends, or does not answer in time."""
        import httpx
        from prefect.settings import PREFECT_HOME

        deadline = time.monotonic() + limit_s
        with httpx.Client(trust_env=False, timeout=2) as client:
            while time.monotonic() < deadline:
                if self.process.poll() is not None:
                    self._errors.seek(0)
                    lines = self._errors.read().decode(errors="replace").split("\n")
                    last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
                    raise ServerStartError(
                        f"The temporary Prefect server ended with exit code {self.process.returncode} before it was up ({last}). "
                        f"Check {PREFECT_HOME.value()} (PREFECT_HOME), where its database is. {ADVICE}."
                    )
                with contextlib.suppress(httpx.HTTPError):
                    if client.get(f"{self.url}/health").status_code == httpx.codes.OK:
                        return
                time.sleep(0.1)
        raise ServerStartError(
            f"The temporary Prefect server was not up within {limit_s:g} s. "
            f"Raise PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS. {ADVICE}."
        )

    def stop(self) -> None:
        """Ends the process, at once where it does not end by itself."""
        self.process.terminate()
        try:
            self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


_started: list[TemporaryServer] = []
_ahead: list[tuple[TemporaryServer, "FileLock", Path]] = []
"""The server that ``start_ahead`` started, with the lock that it holds and its PREFECT_HOME; at most one."""


def kill_servers() -> None:
    """Ends the temporary servers of this process at once, those that hang, too."""
    for server in _started:
        server.process.kill()


def is_shared() -> bool:
    """Whether there is a Prefect server that other runs use, too: one that ``PREFECT_API_URL`` names, not a temporary one."""
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    return bool(url) and url not in [server.url for server in _started]


def start_ahead() -> None:
    """Starts the temporary server for ``prefect_server`` while Prefect is not loaded yet, which alone takes a second or two.

    Nothing is started where the environment names a server, where the database has yet to be made (its maker must not be stopped), or
    where another run starts one. ``prefect_server`` ends it again where Prefect's profile names a server.
    """
    home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
    if os.environ.get("PREFECT_API_URL") or "prefect" in sys.modules or not (home / "prefect.db").exists():
        return
    from filelock import FileLock, Timeout

    lock = FileLock(home / LOCK_NAME)
    with contextlib.suppress(Timeout, OSError):  # prefect_server says what is wrong
        lock.acquire(timeout=0)
        try:
            server = TemporaryServer({"PREFECT_HOME": str(home)})
        except OSError:
            lock.release()
            raise
        _started.append(server)
        _ahead.append((server, lock, home))


@contextlib.contextmanager
def prefect_server(meanwhile: Callable[[], None] = lambda: None) -> Iterator[TemporaryServer | None]:
    """Starts the temporary server for a ``with`` block, or takes that of ``start_ahead``, and yields it; it stops when this process ends.

    ``meanwhile`` is called while the server starts, which takes seconds: its error ends the server and is raised. It is called before
    the first start, which makes the database: a server that is killed then might leave half of one.

    One starts at a time on this machine: two that create their database at once would fail. Where ``PREFECT_API_URL`` names a server,
    only ``meanwhile`` is called, and None is yielded. Raises ServerStartError.
    """
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_HOME,
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
        temporary_settings,
    )

    if PREFECT_API_URL.value():
        _end_ahead()
        meanwhile()
        yield None
        return
    home, limit_s = PREFECT_HOME.value(), PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()
    if _ahead and _ahead[0][2] != home:
        _end_ahead()
    if not _ahead and not (home / "prefect.db").exists():
        meanwhile()
        meanwhile = lambda: None  # noqa: E731
    server, lock = _ahead.pop()[:2] if _ahead else _start(home, limit_s)
    try:
        meanwhile()
        server.wait_until_up(limit_s)
    except BaseException:
        server.kill()
        raise
    finally:
        lock.release()
    own = {PREFECT_API_URL: server.url, PREFECT_API_AUTH_STRING: server.auth_string}
    with temporary_settings({**own, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):  # nobody looks for runs that ended with their server
        yield server


def _start(home: Path, limit_s: float) -> tuple[TemporaryServer, "FileLock"]:
    """A server that has just been started, and the lock to release once it is up. Raises ServerStartError."""
    from filelock import FileLock, Timeout
    from prefect.settings import get_current_settings

    lock = FileLock(home / LOCK_NAME, timeout=limit_s)
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        server = TemporaryServer(get_current_settings().to_environment_variables(exclude_unset=True))
    except Timeout:
        raise ServerStartError(
            f"Another temporary Prefect server has been starting for {limit_s:g} s (it holds {home}/{LOCK_NAME}). {ADVICE}."
        ) from None
    except OSError as error:
        lock.release()
        raise ServerStartError(f"The temporary Prefect server needs a folder to write to: {error}. Set PREFECT_HOME to one.") from None
    _started.append(server)
    return server, lock


def _end_ahead() -> None:
    """Ends the server of ``start_ahead``, where there is one."""
    while _ahead:
        server, lock, _ = _ahead.pop()
        server.kill()
        lock.release()


def serve(fd: int) -> None:
    """Serves Prefect's API on a bound socket until standard input is closed."""

    def end_with_parent() -> None:
        while sys.stdin.buffer.read(1):
            pass
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    with without_collection():
        import uvicorn

        config = uvicorn.Config("prefect.server.api.server:create_app", factory=True, log_level="error", lifespan="on")
        config.load()
    server = uvicorn.Server(config)
    server.run(sockets=[socket.socket(fileno=fd)])
    if not server.started:
        sys.exit(3)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
