"""The listing of a store that begins before the run that needs it: while its Prefect server starts."""

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future

from ser_tasks.storage import Store, StoredObject, open_store

MOST = 20_000
"""Objects that are listed ahead, some 10 MB; the run lists those after them."""
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


def objects(store: Store) -> Iterator[StoredObject]:
    """What the store holds: by the listing that has begun, once, or by a new one. Raises what ``Store.list`` raises."""
    begun_at, listing, first = _begun.pop(store.uri, (0.0, iter(()), None))
    if first is None or time.monotonic() - begun_at > FRESH_S:
        yield from store.list()
        return
    yield from first.result()
    yield from listing
