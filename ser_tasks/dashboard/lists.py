"""Lists that marts make: callers who call again, callers whose mood turned from one call to the next, and the best calls."""

from dataclasses import dataclass

from fastapi import APIRouter, HTTPException, Request, Response

from ser_tasks.dashboard.filters import OF_QUEUES
from ser_tasks.dashboard.overview import queue_names
from ser_tasks.dashboard.pages import TheFilters, fetch, page
from ser_tasks.dashboard.queries import Query
from ser_tasks.dashboard.timeline import clock

router = APIRouter()

ROWS = 50


@dataclass(frozen=True)
class MartList:
    title: str
    note: str
    sql: str
    """One statement; its columns are shown in order. ``recording_id`` and ``from_recording_id`` become links, and are not shown."""


LISTS = {
    "best-calls": MartList(
        "Best calls",
        "Ranked by happiness less negative speech, as if 30 s of the average call were added to each.",
        f"""SELECT call_id AS call, queue, call_date AS date, share_happiness AS happiness, share_negative AS negative,
    share_unsure AS "not sure", moment_s AS moment, recording_id
FROM best_calls
WHERE call_date BETWEEN $first AND $last AND {OF_QUEUES}
ORDER BY happiness_score DESC, peak_happiness DESC, recording_id""",
    ),
    "repeat-callers": MartList(
        "Callers who call again",
        "Those whose anger rises most for certain come first. A caller has five scored calls at least before a trend is stated. All their "
        "calls that you may see count, whatever the period.",
        f"""SELECT customer_pseudonym AS caller, calls, scored, first_date AS "first call", last_date AS "last call", share_anger AS anger,
    first_share_anger AS "anger at first", last_share_anger AS "anger at last", coalesce(trend, 'too few calls') AS trend
FROM repeat_callers
WHERE customer_pseudonym IN (SELECT customer_pseudonym FROM call_emotions WHERE call_date BETWEEN $first AND $last AND {OF_QUEUES})
ORDER BY rise_low DESC, rise DESC, customer_pseudonym""",
    ),
    "mood-turns": MartList(
        "Callers whose mood turned",
        "A calm call and an angry one of the same caller, with none of either kind between. One call is one call: a turn is a hint what to "
        "hear.",
        """SELECT turn, customer_pseudonym AS caller, from_call_id AS "from call", from_date AS "from",
    to_call_id AS "to call", to_date AS "to", to_queue AS queue, from_share_anger AS "anger then", to_share_anger AS "anger later",
    if(same_codec, 'same', 'other') AS codec, to_recording_id AS recording_id, from_recording_id
FROM mood_turns
WHERE to_date BETWEEN $first AND $last AND ($all_queues OR list_contains($queues::VARCHAR[], coalesce(to_queue, '')))
ORDER BY to_date DESC, customer_pseudonym, to_recording_id""",
    ),
}
"""Lists by their names in addresses."""
SHARES = ("happiness", "negative", "not sure", "anger", "anger at first", "anger at last", "anger then", "anger later")
HIDDEN = ("recording_id", "from_recording_id")
LINKED = {"call": "recording_id", "to call": "recording_id", "from call": "from_recording_id"}


@router.get("/lists")
def lists(request: Request, filters: TheFilters) -> Response:
    return page(request, "lists.html", filters=filters, lists=LISTS)


@router.get("/lists/{name}")
def one_list(request: Request, name: str, filters: TheFilters) -> Response:
    if name not in LISTS:
        raise HTTPException(404, f"There is no such list: choose one of {', '.join(LISTS)}.")
    chosen = LISTS[name]
    rows = fetch(request, f"{chosen.sql}\nLIMIT {ROWS}", filters.parameters)
    return page(
        request,
        "list.html",
        filters=filters,
        queues=queue_names(request),
        chosen=chosen,
        rows=rows,
        columns=[column for column in (rows[0] if rows else {}) if column not in HIDDEN],
        shares=SHARES,
        linked=LINKED,
        clock=clock,
        most=ROWS,
        statement=Query(chosen.title, chosen.sql).with_values(filters.parameters),
    )
