"""The listing of a store that begins before the run that needs it: while its Prefect server starts."""

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future

from ser_tasks.storage import Store, StoredObject, open_store

MOST = 20_000
"""Objects that are listed ahead, some 10 MB; the run lists those after them. A store of so many is large."""
FRESH_S = 60.0
"""A listing that began longer ago is not used: the run may have waited for its lake."""

_begun: dict[str, tuple[float, Iterator[StoredObject], Future[list[StoredObject]]]] = {}
"""By the store's URI: when its listing began, the listing, and its first objects."""


def start(uri: str) -> None:
    """Begins to list a store of recordings in a thread that ends with the process."""
    store = open_store(uri)
    listing, first = store.list(), Future[list[StoredObject]]()

    def run() -> None:
        try:
            first.set_result(list(itertools.islice(listing, MOST)))
        except Exception as error:
            first.set_exception(error)

    _begun[store.uri] = (time.monotonic(), listing, first)
    threading.Thread(target=run, name="listing ahead", daemon=True).start()


def is_large(store: Store) -> bool:
    """Whether a store holds MOST objects or more; they are listed for ``objects``, unless they are already.

    Raises what ``Store.list`` raises.
    """
    if store.uri not in _begun or _is_old(store):
        start(store.uri)
    try:
        return len(_begun[store.uri][2].result()) == MOST
    except Exception:
        forget(store)
        raise


def forget(store: Store) -> None:
    """Leaves a listing that has begun to nobody."""
    _begun.pop(store.uri, None)


def _is_old(store: Store) -> bool:
    return time.monotonic() - _begun[store.uri][0] > FRESH_S


def objects(store: Store) -> Iterator[StoredObject]:
    """What the store holds: by the listing that has begun, once, or by a new one. Raises what ``Store.list`` raises."""
    if store.uri not in _begun or _is_old(store):
        forget(store)
        yield from store.list()
        return
    _, listing, first = _begun.pop(store.uri)
    yield from first.result()
    yield from listing
