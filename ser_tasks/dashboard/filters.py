"""What every page's address may say: a period and queues. Anything else ends on a page that says what is wrong."""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from fastapi import HTTPException, Request

USUAL_DAYS, MOST_DAYS = 28, 1100
"""Days of the period where the address says none, and the most that it may say."""
MOST_QUEUES, LONGEST_QUEUE = 50, 500

OF_QUEUES = "($all_queues OR list_contains($queues::VARCHAR[], coalesce(queue, '')))"
"""The condition for a view with queue; its values are ``Filters.parameters``."""


@dataclass(frozen=True)
class Filters:
    first: date
    last: date
    """The period, both days included."""
    queues: tuple[str, ...] = ()
    """Queues to show, none: all that the viewer may see. An empty name means calls without a queue."""

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    def query(self, **more: Any) -> str:
        """The filters as an address says them, and more: ``first=2026-11-01&last=2026-11-28&queue=billing&emotion=anger``.

        ``first``, ``last`` and ``queue`` take the place of these filters' own; None leaves a name out.
        """
        own: dict[str, Any] = {"first": self.first, "last": self.last, "queue": list(self.queues)} | more
        return urlencode({name: value for name, value in own.items() if value is not None}, doseq=True)

    @property
    def where(self) -> str:
        """The condition for a view with call_date and queue; its values are ``parameters``."""
        return f"(call_date BETWEEN $first AND $last) AND {OF_QUEUES}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"first": self.first, "last": self.last, "all_queues": not self.queues, "queues": list(self.queues)}

    def before(self) -> "Filters":
        """The period of the same length just before."""
        return replace(self, first=self.first - timedelta(days=self.days), last=self.first - timedelta(days=1))


def usual(last_day: date | None) -> Filters:
    """The filters of an address that says nothing."""
    last = last_day or date.today()
    return Filters(last - timedelta(days=USUAL_DAYS - 1), last)


def filters(request: Request) -> Filters:
    """The filters of a request's address. Raises 400 with a sentence for a person."""
    newest = usual(request.app.state.snapshots.current.last_day).last
    first, last = _day(request, "first"), _day(request, "last")
    if last is None:
        last = max(newest, first) if first else newest
    if first is None:
        first = last - timedelta(days=USUAL_DAYS - 1)
    if first > last:
        raise HTTPException(400, f"The period ends on {last}, before it begins on {first}.")
    if (last - first).days >= MOST_DAYS:
        raise HTTPException(400, f"The period from {first} to {last} is longer than {MOST_DAYS} days: choose a shorter one.")
    queues = tuple(dict.fromkeys(request.query_params.getlist("queue")))
    if len(queues) > MOST_QUEUES or any(len(queue) > LONGEST_QUEUE for queue in queues):
        raise HTTPException(400, f"An address may name {MOST_QUEUES} queues of {LONGEST_QUEUE} characters each.")
    return Filters(first, last, queues)


def _day(request: Request, name: str) -> date | None:
    text = request.query_params.get(name, "")
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
        if len(text) != 10 or not 1970 <= day.year <= 2099:
            raise ValueError
    except ValueError:
        raise HTTPException(400, f"{text[:40]!r} is no day: write it as 2026-11-20, between 1970 and 2099.") from None
    return day
