"""Names of queues that a person gives: one that no call has is an error, which names the nearest ones."""

import difflib
from collections.abc import Collection, Iterable

SHOWN = 5
MAX_CHARACTERS = 60


class UnknownQueueError(ValueError):
    """No call has a queue of this name."""


def check(wanted: Iterable[str], known: Collection[str]) -> None:
    """Raises UnknownQueueError for the first wanted queue that is not in ``known``; an empty name stands for calls without a queue."""
    for name in wanted:
        if name not in known:
            raise UnknownQueueError(_message(name, sorted(each for each in known if each)))


def _message(name: str, known: list[str]) -> str:
    what = f"No call has the queue {_short(name)!r}" if name else "No call is without a queue"
    if not known:
        return f"{what}: there are no queues."
    folded = {each.casefold(): each for each in known}
    near = [folded[each] for each in difflib.get_close_matches(name.casefold(), folded, SHOWN, 0.5)]
    if near:
        return f"{what}: did you mean {' or '.join(repr(_short(each)) for each in near)}?"
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return f"{what}: there are {', '.join(repr(_short(each)) for each in known[:SHOWN])}{more}."


def _short(name: str) -> str:
    return name if len(name) <= MAX_CHARACTERS else f"{name[: MAX_CHARACTERS - 1]}…"
