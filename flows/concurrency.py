"""Lanes: what only one run at a time may do, held on the Prefect server while it is done.

A lane is a global concurrency limit of one, made when it is first needed (``prefect gcl ls`` shows them). It is a courtesy:
two nights on one lake are right without it, they only waste work. So a run that can't get a lane goes on after a while.
"""

import contextlib
import hashlib
from collections.abc import Iterator

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.settings import PREFECT_API_URL

from ser_tasks.storage import open_store

LONGEST_WAIT_S = 6 * 3600
LEASE_S = 60
"""Renewed while the lane is held; a killed run's lane is free after so long."""


@contextlib.contextmanager
def lane(name: str, longest_wait_s: float = LONGEST_WAIT_S) -> Iterator[None]:
    """Waits until nobody holds the lane, and holds it. Without a server in common (``PREFECT_API_URL``) there are no lanes.

    What happens on the server never stops the work: it goes on without the lane, and says so.
    """
    if not PREFECT_API_URL.value():
        yield
        return
    log, held = get_run_logger(), contextlib.ExitStack()
    try:
        with get_client(sync_client=True) as client:
            client.upsert_global_concurrency_limit_by_name(name, 1)
        held.enter_context(concurrency(name, timeout_seconds=longest_wait_s, lease_duration=LEASE_S))
    except TimeoutError:
        log.warning(f"The lane {name} was not free for {longest_wait_s:.0f} s; going on: see `prefect gcl inspect {name}`")
    except Exception as error:
        log.warning(f"The lane {name} can't be held ({type(error).__name__}: {error}); going on")
    try:
        yield
    finally:
        try:
            held.close()
        except Exception as error:
            log.warning(f"The lane {name} could not be let go ({type(error).__name__}: {error}); it is free in {LEASE_S} s")


def lake_lane(lake: str) -> contextlib.AbstractContextManager[None]:
    """The lane of everything that writes to a lake."""
    uri = open_store(lake).uri
    return lane(f"lake-{hashlib.sha256(uri.encode()).hexdigest()[:12]}")


def card_lane(device: str) -> contextlib.AbstractContextManager[None]:
    """The lane of the GPU that this process scores on; on the CPU there is none."""
    if device != "cuda":
        return contextlib.nullcontext()
    import torch

    return lane(f"card-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}")
