"""A run whose temporary server ends: it is interrupted wherever it waits, whoever ignores which signals."""

import queue
import signal
import threading
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from flows import stopping
from flows.stopping import StoppedError, stoppable

LIMIT_S = 300
"""Of a wait that only an interruption ends."""
ENDED = SimpleNamespace(process=SimpleNamespace(poll=lambda: -9, returncode=-9))


@pytest.fixture(autouse=True)
def ended(monkeypatch):
    """The exit codes with which the process would have ended; the threads that would have ended it are over."""
    codes: list[int] = []
    monkeypatch.setattr(stopping, "STOP_LIMIT_S", 0)
    monkeypatch.setattr(stopping, "POLL_S", 0.01)
    monkeypatch.setattr(stopping, "end_now", codes.append)
    before = {each: signal.getsignal(each) for each in (*stopping.SIGNALS, stopping.INTERRUPT)}
    yield codes
    for thread in threading.enumerate():
        if thread.name == "stopping":
            thread.join()
    for each, handler in before.items():
        signal.signal(each, handler)


def run_beside(server, work):
    with stoppable() as watch:
        watch.follow(server, None)
        work()


def refuse():
    raise ConnectionError("refused")


WAITS = {
    "a queue": lambda: queue.Queue().get(timeout=LIMIT_S),
    "a pool": lambda: Future().result(LIMIT_S),
    "a lock": lambda: threading.Semaphore(0).acquire(timeout=LIMIT_S),
}


@pytest.mark.parametrize("ignored", [(), (signal.SIGINT,), stopping.SIGNALS], ids=["none", "SIGINT", "all"])
@pytest.mark.parametrize("waits", WAITS)
def test_the_end_of_the_server_interrupts_the_main_thread_whatever_is_ignored(waits, ignored):
    for each in ignored:
        signal.signal(each, signal.SIG_IGN)
    with pytest.raises(StoppedError, match=r"since the temporary Prefect server ended \(exit code -9\)"):
        run_beside(ENDED, WAITS[waits])


def wait_in_steps():
    while True:
        threading.Event().wait(0.01)


def test_the_end_of_the_server_interrupts_another_thread():
    raised: list[BaseException] = []

    def run():
        try:
            run_beside(ENDED, wait_in_steps)
        except StoppedError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(LIMIT_S)
    assert [(error.exit_code, "exit code -9" in error.reason) for error in raised] == [(1, True)]


def test_an_error_of_a_server_that_ended_is_its_end_even_before_that_is_seen(monkeypatch):
    monkeypatch.setattr(stopping.Watch, "_run", lambda watch: None)
    with pytest.raises(StoppedError, match="temporary Prefect server ended") as caught:
        run_beside(ENDED, refuse)
    assert caught.value.exit_code == 1


def test_an_error_beside_a_server_that_lives_stays_what_it_is():
    with pytest.raises(ConnectionError, match="refused"):
        run_beside(SimpleNamespace(process=SimpleNamespace(poll=lambda: None)), refuse)


def test_the_handlers_of_before_are_back_and_a_late_interruption_ends_nothing(ended):
    own = signal.getsignal(signal.SIGTERM)
    with stoppable():
        assert signal.getsignal(signal.SIGTERM) != own
    assert signal.getsignal(signal.SIGTERM) == own
    signal.pthread_kill(threading.main_thread().ident, stopping.INTERRUPT)
    assert ended == []


@pytest.mark.parametrize(("server", "lost"), [(None, True), (SimpleNamespace(process=SimpleNamespace(poll=lambda: None)), False)])
def test_a_temporary_server_that_lives_may_answer_late(server, lost, monkeypatch):
    monkeypatch.setattr(stopping.Watch, "_run", lambda watch: None)
    with stoppable() as watch:
        watch.follow(server, "http://127.0.0.1:1/api")
        watch._answered_at -= (stopping.LOST_AFTER_S + stopping.OWN_LOST_AFTER_S) / 2
        assert watch._is_lost() is lost


def test_a_server_is_not_lost_because_the_start_took_long(monkeypatch):
    monkeypatch.setattr(stopping.Watch, "_run", lambda watch: None)
    with stoppable() as watch:
        watch._answered_at -= 10 * stopping.LOST_AFTER_S
        watch.follow(None, "http://127.0.0.1:1/api")
        assert not watch._is_lost()
