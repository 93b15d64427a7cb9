"""A function in a process of its own: its answer, its error, and a clear one where the process is lost."""

import os
import signal
from multiprocessing.connection import Connection

import pytest

from ser_tasks.apart import ProcessLostError, run_apart


def double(number):
    if number < 0:
        raise ValueError(f"{number} is below 0")
    return os.getpid(), 2 * number


class OddError(Exception):
    """It cannot be made again from its text."""

    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def odd():
    raise OddError("a", "b")


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_answer_is_of_another_process():
    pid, doubled = run_apart(double, 21)
    assert pid != os.getpid() and doubled == 42


def test_its_error_is_raised_here_with_its_traceback():
    with pytest.raises(ValueError, match="-1 is below 0") as raised:
        run_apart(double, -1)
    assert "in double" in raised.value.__notes__[0]


def cut_off():
    """Its process ends in the middle of the answer, after the header that says how long it is."""
    whole = Connection._send

    def send(self, data, *more):
        whole(self, data[:100], *more)
        if len(data) > 100:
            os._exit(1)

    Connection._send = send
    return bytes(1_000_000)


def test_an_answer_that_is_cut_off_is_of_a_lost_process():
    with pytest.raises(ProcessLostError, match="exit code 1"):
        run_apart(cut_off)


def test_an_error_that_cannot_be_sent_is_one_of_its_text():
    with pytest.raises(RuntimeError, match="OddError: a b"):
        run_apart(odd)


def test_a_killed_process_is_said_to_be_one():
    with pytest.raises(ProcessLostError, match="exit code -9"):
        run_apart(kill)
