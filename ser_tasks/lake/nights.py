"""Whether a night has written to a lake: where none has, its address is probably mistyped."""

import difflib
from collections.abc import Iterable, Iterator

from ser_tasks.partitions import PARTITIONS
from ser_tasks.storage import Store, open_store

OF_NO_NIGHT = ("profiles", "alerts")
"""Tables that are also written where no night has run: by ``ser adapt`` and ``ser alerts``."""
MOST_SIBLINGS = 20
"""Folders beside a mistyped lake that are looked into."""


class NoNightsError(FileNotFoundError):
    """No night has written to the lake."""


def has_nights(store: Store) -> bool:
    """Whether the lake holds a part that a night writes. Reads no part, and lists as little as it can."""
    tables = (table for table in PARTITIONS if table not in OF_NO_NIGHT)
    return any(item.key.endswith(".parquet") for table in tables for item in store.list(f"{table}/"))


def require_nights(lake: str) -> None:
    """Raises NoNightsError where no night has written to the lake; the message names the nearest lake, if there is one beside it.

    Errors of the store propagate. Nothing is written.
    """
    store = open_store(lake)
    if has_nights(store):
        return
    near = nearest_lake(store.uri)
    raise NoNightsError(
        f"No night has written to {store.uri}: give the lake of a night that has run."
        + (f" Did you mean {near}?" if near else "")
        + " --empty-ok goes on without one."
    )


def nearest_lake(uri: str) -> str | None:
    """The lake with the most similar address: the folder above, a folder within, or one beside; None where there is none."""
    return next((each for each in _candidates(uri) if _is_lake(each)), None)


def _candidates(uri: str) -> Iterator[str]:
    """Addresses that may have been meant, the likeliest first."""
    above, _, name = uri.rpartition("/")
    if not above or above == "s3:/":  # the root of a disk, or a bucket, beside which nothing is known
        yield from (f"{uri}/{each}" for each in _folders(uri)[:MOST_SIBLINGS])
        return
    yield above
    yield from (f"{above}/{each}" for each in _alike(name, _folders(above)))
    yield from (f"{uri}/{each}" for each in _folders(uri)[:MOST_SIBLINGS])


def _alike(name: str, names: Iterable[str]) -> list[str]:
    """The names, the most similar first."""
    others = [each for each in names if each != name]
    ranked = sorted(others, key=lambda each: difflib.SequenceMatcher(None, name.casefold(), each.casefold()).ratio(), reverse=True)
    return ranked[:MOST_SIBLINGS]


def _folders(uri: str) -> tuple[str, ...]:
    try:
        return open_store(uri).folders("")
    except OSError:  # the address may lie beside what these rights allow
        return ()


def _is_lake(uri: str) -> bool:
    try:
        store = open_store(uri)
        return bool({"recordings", "outcomes", "runs"} & set(store.folders(""))) and has_nights(store)
    except OSError:
        return False
