"""The filters of every page's address: a period and queues. An invalid value leads to a page that names the fault."""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from fastapi import HTTPException, Request

DEFAULT_DAYS, MAX_DAYS = 28, 1100
"""Days of the period if the address has none, and the longest period."""
MAX_QUEUES, MAX_QUEUE_CHARACTERS = 50, 500

OF_QUEUES = "($all_queues OR list_contains($queues::VARCHAR[], coalesce(queue, '')))"
"""The condition for a view with queue; its values are ``Filters.parameters``."""


@dataclass(frozen=True)
class Filters:
    first: date
    last: date
    """The period, both days included."""
    queues: tuple[str, ...] = ()
    """Queues to show; without any, all that the viewer may see. An empty name stands for calls without a queue."""

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    def query(self, **more: Any) -> str:
        """The filters as a query string, with further parameters: ``first=2026-11-01&last=2026-11-28&queue=billing&emotion=anger``.

        ``first``, ``last`` and ``queue`` replace those of the filters; None removes a parameter.
        """
        own: dict[str, Any] = {"first": self.first, "last": self.last, "queue": list(self.queues)} | more
        return urlencode({name: value for name, value in own.items() if value is not None}, doseq=True)

    @property
    def where(self) -> str:
        """The SQL condition for a view with call_date and queue; ``parameters`` are its values."""
        return f"(call_date BETWEEN $first AND $last) AND {OF_QUEUES}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"first": self.first, "last": self.last, "all_queues": not self.queues, "queues": list(self.queues)}

    def before(self) -> "Filters":
        """The period of the same length that ends before this one begins."""
        return replace(self, first=self.first - timedelta(days=self.days), last=self.first - timedelta(days=1))


class FilterError(HTTPException):
    """An address whose filters are invalid. ``filters`` are those that its page offers to correct."""

    def __init__(self, message: str, filters: Filters):
        super().__init__(400, message)
        self.args, self.filters = (message, filters), filters


def default_filters(last_day: date | None) -> Filters:
    """The filters of an address without any."""
    last = last_day or date.today()
    return Filters(last - timedelta(days=DEFAULT_DAYS - 1), last)


def filters(request: Request) -> Filters:
    """The filters of a request's address. Raises FilterError with a message for the visitor."""
    usual = default_filters(request.app.state.snapshots.current.last_day)
    newest = usual.last
    queues = tuple(dict.fromkeys(request.query_params.getlist("queue")))
    if len(queues) > MAX_QUEUES or any(len(queue) > MAX_QUEUE_CHARACTERS for queue in queues):
        raise FilterError(f"An address may have at most {MAX_QUEUES} queues of {MAX_QUEUE_CHARACTERS} characters each.", usual)
    usual = replace(usual, queues=queues)
    first, last = _day(request, "first", usual), _day(request, "last", usual)
    if last is None:
        last = max(newest, first) if first else newest
    if first is None:
        first = last - timedelta(days=DEFAULT_DAYS - 1)
    if first > last:
        raise FilterError(f"The period ends on {last}, before it begins on {first}: swap the two days.", Filters(first, last, queues))
    if (last - first).days >= MAX_DAYS:
        message = f"The period from {first} to {last} is longer than {MAX_DAYS} days: choose a shorter one."
        raise FilterError(message, Filters(first, last, queues))
    return Filters(first, last, queues)


def _day(request: Request, name: str, usual: Filters) -> date | None:
    text = request.query_params.get(name, "")
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
        if len(text) != 10 or not 1970 <= day.year <= 2099:
            raise ValueError
    except ValueError:
        raise FilterError(f"{text[:40]!r} is not a date: write it as 2026-11-20, between 1970 and 2099.", usual) from None
    return day
