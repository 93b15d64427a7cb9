"""A function in a process of its own: the memory that it takes goes back to the system when it ends."""

import multiprocessing
import pickle
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


class ProcessLostError(RuntimeError):
    """The process ended before it had answered. ``exitcode`` is negative for a signal."""

    def __init__(self, exitcode: int | None):
        super().__init__(exitcode)
        self.exitcode = exitcode

    def __str__(self) -> str:
        return f"A process ended with exit code {self.exitcode} before it had answered, as where a system without memory kills it."


def run_apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """The answer of ``function(*arguments)``, or its error. Function, arguments and answer are pickled.

    Raises ProcessLostError where the process was killed.
    """
    context = multiprocessing.get_context("spawn")  # a fork would have all that this process has
    answers, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, function, arguments), daemon=True)
    process.start()
    theirs.close()  # or its end would not be seen
    try:
        answer, error = pickle.loads(answers.recv_bytes())
    except (EOFError, OSError):  # cut off in the middle of an answer, it is an OSError
        process.join()
        raise ProcessLostError(process.exitcode) from None
    finally:
        process.kill()
        process.join()
        answers.close()
    if error is not None:
        raise error
    return answer


def sendable(error: Exception) -> Exception:
    """The error with its traceback as a note; a RuntimeError of its text where it cannot be pickled, or not be made again."""
    error.add_note(traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


def _answer(answers: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent decides
    try:
        answer = pickle.dumps((function(*arguments), None))
    except Exception as error:
        answer = pickle.dumps((None, sendable(error)))
    answers.send_bytes(answer)
