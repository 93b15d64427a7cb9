"""How a run ends early: by a signal, or with its Prefect server, and in both cases soon.

A night at work does not need a server that is away (``at_work``). Where the server is lost and only reports to it are left, the run ends.

Python's own handlers can't bound that: Prefect replaces the one of SIGTERM while a flow runs, and then retries each message to its
server. So a thread reads the signals from the descriptor that the interpreter writes them to, and ends the process where the
main thread has not ended it in time. That thread interrupts the main thread by a signal that nobody ignores: a shell's background jobs
ignore Ctrl-C, and what nohup starts ignores a hang-up.
"""

import contextlib
import ctypes
import multiprocessing
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import httpx

from flows.server import TemporaryServer, kill_servers
from ser_tasks import logs, scratch

STOP_LIMIT_S = 8.0
"""From the signal to the end of the process: time to stop the workers, remove scratch and say so to Prefect."""
POLL_S = 0.2
LOST_AFTER_S = 6.0
"""A server that has not answered for so long is lost."""
OWN_LOST_AFTER_S = 60.0
"""The same of a temporary server whose process lives: on a busy machine it answers late, and its end is seen anyway."""
LOST_STOP_LIMIT_S = 3.0
"""From then to the end of the process: there is nobody to say it to."""
HEALTH_LIMIT_S = 3.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPT = signal.SIGUSR1
"""What the thread sends to the main thread."""


_working = threading.Event()


@contextlib.contextmanager
def at_work() -> Iterator[None]:
    """A block that goes on without the Prefect server."""
    _working.set()
    try:
        yield
    finally:
        _working.clear()


class StoppedError(KeyboardInterrupt):
    """The run was stopped. ``exit_code`` is 128 + the signal, or 1. No ``except Exception`` takes it for an error of a chunk."""

    def __init__(self, reason: str, exit_code: int):
        super().__init__(reason, exit_code)
        self.reason, self.exit_code = reason, exit_code

    def __str__(self) -> str:
        return self.reason


@contextlib.contextmanager
def stoppable() -> Iterator["Watch"]:
    """Raises StoppedError in the block where a signal comes or the watched server ends, and ends the process ``STOP_LIMIT_S`` later.

    Signals are seen in the main thread alone, where Python handles them; the end of the server in any.
    """
    watch = Watch()
    try:
        yield watch
    except BaseException as error:
        if isinstance(error, Exception):
            watch.see_server()  # its end may be the error's cause, and be seen a moment later
        if watch.stopped:
            raise watch.stopped from None
        raise
    else:
        if watch.stopped:
            raise watch.stopped
    finally:
        watch.close()


class Watch:
    """The thread that sees signals, and the loss of the Prefect server once it follows that."""

    def __init__(self) -> None:
        self.stopped: StoppedError | None = None
        self.server: TemporaryServer | None = None
        self.url: str | None = None
        self._closed = False
        self._asked_at = self._answered_at = time.monotonic()
        self._signals, self._interpreter = socket.socketpair()
        self._interpreter.setblocking(False)
        self._thread = threading.current_thread()
        self._handlers: dict[signal.Signals, Any] = {}
        if self._in_main_thread():
            heeded = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
            self._handlers = {each: signal.signal(each, self._handle) for each in (*heeded, INTERRUPT)}
            self._wakeup = signal.set_wakeup_fd(self._interpreter.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._run, name="stopping", daemon=True).start()

    def follow(self, server: TemporaryServer | None, url: str | None) -> None:
        """Sees from now on whether a server that is up is lost: a temporary one, or one that has only an address of its API."""
        self._answered_at = time.monotonic()
        self.server, self.url = server, url

    def close(self) -> None:
        """The handlers of before are back. A run that was stopped is still ended in time."""
        self._closed = True
        if not self._in_main_thread():
            return
        signal.set_wakeup_fd(self._wakeup)
        for each, handler in self._handlers.items():
            late = each == INTERRUPT and not callable(handler)  # by default it would end the process
            signal.signal(each, signal.SIG_IGN if self.stopped or late else handler)

    def _in_main_thread(self) -> bool:
        return self._thread is threading.main_thread()

    def see_server(self) -> None:
        """Stops the run where the watched temporary server has ended."""
        if self.server and self.server.process.poll() is not None:
            self._stop(f"stopped, since the temporary Prefect server ended (exit code {self.server.process.returncode})", 1)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == INTERRUPT and self.stopped is None:
            return  # another process sent it
        raise self.stopped or self._stop(f"stopped by {signal.Signals(number).name}", 128 + number)

    def _stop(self, reason: str, exit_code: int) -> StoppedError:
        if self.stopped is None:
            self.stopped = StoppedError(reason, exit_code)
        return self.stopped

    def _is_lost(self) -> bool:
        """Whether the server has not answered for LOST_AFTER_S. Asks it once at most each second."""
        now = time.monotonic()
        if now - self._asked_at >= 1:
            self._asked_at = now
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/health", timeout=HEALTH_LIMIT_S, trust_env=False).status_code == httpx.codes.OK:
                    self._answered_at = time.monotonic()
        return time.monotonic() - self._answered_at > (OWN_LOST_AFTER_S if self.server else LOST_AFTER_S)

    def _interrupt(self) -> None:
        """Raises StoppedError in the watched thread: at once in the main thread, in another one as soon as it runs Python's code."""
        assert self._thread.ident is not None and self.stopped is not None
        if self._in_main_thread():
            signal.pthread_kill(self._thread.ident, INTERRUPT)
        else:
            of_this = type("StoppedError", (StoppedError,), {"__init__": lambda error: None})  # made without arguments
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(of_this))

    def _run(self) -> None:
        limit_s = STOP_LIMIT_S
        while self.stopped is None:
            if self._closed:
                return
            if select.select([self._signals], [], [], POLL_S)[0]:
                numbers = [number for number in self._signals.recv(64) if number in self._handlers and number != INTERRUPT]
                if numbers:
                    self._stop(f"stopped by {signal.Signals(numbers[0]).name}", 128 + numbers[0])
            elif self.server and self.server.process.poll() is not None:
                self.see_server()
                self._interrupt()
            elif _working.is_set():
                self._answered_at = time.monotonic()
            elif self.url and self._is_lost():
                limit_s = LOST_STOP_LIMIT_S
                self._stop("the Prefect server (PREFECT_API_URL) was lost", 1)
                self._interrupt()
        time.sleep(limit_s)
        with contextlib.suppress(OSError):
            line = logs.error_line(f"{self.stopped.reason}; ended before it had stopped by itself.")
            os.write(sys.stderr.fileno(), f"{line}\n".encode())
        end_now(self.stopped.exit_code)


def end_now(exit_code: int) -> None:
    """Ends this process and those that it started, without waiting for anything."""
    for child in multiprocessing.active_children():
        child.kill()
        child.join(1)  # or it might write to scratch again
    kill_servers()
    scratch.remove_held()
    os._exit(exit_code)
