"""Concurrency limits: what only one run at a time may do, held on the Prefect server while it is done.

Each is a global concurrency limit of one, made when it is first needed (``prefect gcl ls`` shows them). They only save work:
two nights on one lake give the same rows without them. So a run that can't get its limit goes on after a while.
"""

import contextlib
import hashlib
from collections.abc import Iterator

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency

from flows.server import is_shared
from ser_tasks.storage import open_store

LONGEST_WAIT_S = 6 * 3600
LEASE_S = 60
"""Renewed while the limit is held; that of a killed run is free after this time."""


@contextlib.contextmanager
def concurrency_limit(name: str, longest_wait_s: float = LONGEST_WAIT_S) -> Iterator[None]:
    """Waits until no other run holds the limit, and holds it. Without a common server (``PREFECT_API_URL``) there are no limits.

    Errors of the server never stop the work: it goes on without the limit, and logs a warning.
    """
    if not is_shared():
        yield
        return
    log, held = get_run_logger(), contextlib.ExitStack()
    try:
        with get_client(sync_client=True) as client:
            client.upsert_global_concurrency_limit_by_name(name, 1)
        held.enter_context(concurrency(name, timeout_seconds=longest_wait_s, lease_duration=LEASE_S))
    except TimeoutError:
        log.warning(f"The concurrency limit {name} was not free for {longest_wait_s:.0f} s; going on: see `prefect gcl inspect {name}`")
    except Exception as error:
        log.warning(f"The concurrency limit {name} can't be held ({type(error).__name__}: {error}); going on")
    try:
        yield
    finally:
        try:
            held.close()
        except Exception as error:
            log.warning(f"The concurrency limit {name} could not be released ({type(error).__name__}: {error}); it is free in {LEASE_S} s")


def lake_limit(lake: str) -> contextlib.AbstractContextManager[None]:
    """The limit of everything that writes to a lake."""
    uri = open_store(lake).uri
    return concurrency_limit(f"lake-{hashlib.sha256(uri.encode()).hexdigest()[:12]}")


def gpu_limit(device: str) -> contextlib.AbstractContextManager[None]:
    """The limit of the GPU that this process scores on; on the CPU there is none."""
    if device != "cuda":
        return contextlib.nullcontext()
    import torch

    return concurrency_limit(f"card-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}")
