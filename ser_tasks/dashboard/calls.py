"""The list of calls. Its address alone holds search, filters, order and page, so that a link or bookmark shows the same list."""

import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import pyarrow as pa
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import StreamingResponse

from ser_tasks.dashboard.filters import Filters
from ser_tasks.dashboard.overview import queue_names
from ser_tasks.dashboard.pages import BYTE_ORDER_MARK, TheFilters, fetch, in_zone, log_access, page
from ser_tasks.dashboard.queries import Query
from ser_tasks.dashboard.timeline import clock, span
from ser_tasks.query.formats import csv_writer, spreadsheet_safe
from ser_tasks.schemas import EMOTIONS, NEGATIVE_EMOTIONS, OUTCOMES

router = APIRouter()

CALLS_A_PAGE, LAST_PAGE = 50, 100_000
MAX_SEARCH_CHARACTERS = 200
CSV_ROWS_AT_ONCE = 10_000
SHRINKAGE_S = 30
"""Orders by a share add so many seconds of the average call to each call (shrinkage). Otherwise short calls with one extreme segment
would always come first. The angriest calls are those of the mart worst_calls, in its order."""
LITTLE_SPEECH_S = 10
"""With less scored speech, the list marks a share as based on little."""


def _shrunk(share: str) -> str:
    average = f"(SELECT weighted_avg({share}, nullif(scored_speech_s, 0)) FROM listed)"
    return f"({share} * scored_speech_s + {average} * {SHRINKAGE_S}) / (scored_speech_s + {SHRINKAGE_S})"


REASON = "(SELECT any_value(reason_code) FROM outcomes WHERE recording_id = listed.recording_id)"

SORTS = {
    "newest": "started_at DESC NULLS LAST, call_date DESC",
    "oldest": "started_at NULLS LAST, call_date",
    "angriest": "sure_anger(call_anger, share_anger, share_unsure, scored_speech_s) DESC NULLS LAST, "
    "coalesce(call_anger, share_anger) DESC NULLS LAST, peak_anger DESC NULLS LAST",
    "most-negative": f"{_shrunk('mean_negativity')} DESC NULLS LAST",
    "calmest": f"{_shrunk('mean_negativity')} NULLS LAST",
    "got-worse": "negativity_change DESC NULLS LAST",
    "got-better": "negativity_change NULLS LAST",
    "peak": "peak_anger DESC NULLS LAST",
    "least-sure": f"{_shrunk('share_unsure')} DESC NULLS LAST",
    "most-sure": f"{_shrunk('share_unsure')} NULLS LAST",
    "longest": "duration_s DESC NULLS LAST",
    "shortest": "duration_s NULLS LAST",
    "queue": "queue NULLS LAST, started_at DESC NULLS LAST",
    "call": "call_id",
    "outcome": f"outcome, {REASON} NULLS FIRST, started_at DESC NULLS LAST",
    **{emotion: f"{_shrunk(f'share_{emotion}')} DESC NULLS LAST" for emotion in EMOTIONS if emotion != "anger"},
}
"""Values of ``sort=`` -> ORDER BY."""
BEST = ("happiness", "calmest", "got-better")
"""Orders in which the list links to each call's happiest moment, not to its angriest."""

CONDITIONS = {
    "emotion": {
        **{emotion: f"share_{emotion} > 0" for emotion in EMOTIONS},
        "unsure": "share_unsure > 0",
    },
    "escalated": {"yes": "escalated", "no": "NOT escalated"},
    "outcome": {outcome: f"outcome = '{outcome}'" for outcome in OUTCOMES}
    | {"not-scored": "outcome <> 'scored'", "readable": "outcome NOT IN ('quarantined', 'failed')"},
    "hour": {str(hour): f"hour = {hour}" for hour in range(24)},
    "weekday": {str(day): f"weekday = {day}" for day in range(1, 8)},
}
"""Parameters of an address -> their values -> the SQL condition. No text of an address becomes SQL."""

LIMITS = {
    "longer": "duration_s >= $longer",
    "shorter": "duration_s <= $shorter",
    "silence": "longest_silence_s >= $silence",
}
"""Parameters of an address with a number of seconds -> the SQL condition."""
MAX_SECONDS = 10**6
CALLER = "customer_pseudonym = $caller"
MAX_CALLER_CHARACTERS = 200

SEARCHED = "contains(lower(concat_ws(' ', call_id, queue, language, codec, sampling_rate_hz)), lower($search))"

NEGATIVITY = " + ".join(f"coalesce(mean_p_{emotion}, 0)" for emotion in NEGATIVE_EMOTIONS)

LISTED = f"""WITH listed AS (
    SELECT *, {NEGATIVITY} AS mean_negativity, isodow(call_date) AS weekday,
        coalesce(local_hour, extract(hour FROM started_at AT TIME ZONE $zone)) AS hour
    FROM call_emotions
    UNION ALL BY NAME -- recordings that could not be read have no facts: they are listed under the day of their folder
    SELECT recording_id, call_id, day AS call_date, outcome FROM outcomes WHERE outcome IN ('quarantined', 'failed')
)"""
NAMES = (
    ["recording_id", "call_id", "call_date", "started_at", "queue", "language", "outcome", "reason_code", "reason", "duration_s"]
    + ["scored_speech_s", "scored_segments", *(f"share_{emotion}" for emotion in EMOTIONS), "share_unsure", "mean_negativity"]
    + [
        "dominant_emotion",
        "peak_anger",
        "peak_anger_at_s",
        "peak_happiness",
        "peak_happiness_at_s",
        "negativity_q1",
        "negativity_q4",
        "negativity_change",
        "escalated",
        "onset_s",
    ]
)
COLUMNS = ", ".join(NAMES)


@dataclass(frozen=True)
class Listed:
    """The calls that an address selects, and their order."""

    filters: Filters
    chosen: dict[str, str]
    """The address's values of parameters in CONDITIONS."""
    search: str
    sort: str
    page: int
    limits: dict[str, float]
    """The address's values of parameters in LIMITS, in seconds."""
    caller: str = ""
    """Pseudonym of a caller."""

    def query(self, **more: Any) -> str:
        """The query string with changes; None removes a parameter. Unless given, the page is the first."""
        own: dict[str, str | None] = {**self.chosen, **{name: f"{value:g}" for name, value in self.limits.items()}}
        own |= {"search": self.search or None, "caller": self.caller or None, "sort": self.sort, "page": None}
        return self.filters.query(**own | more)

    @property
    def where(self) -> str:
        conditions = [CONDITIONS[name][value] for name, value in self.chosen.items()]
        conditions += [LIMITS[name] for name in self.limits] + [CALLER] * bool(self.caller) + [SEARCHED] * bool(self.search)
        return " AND ".join([self.filters.where, *conditions])

    def sql(self, rows: str = "") -> str:
        """The SQL of the list; ``rows`` is its LIMIT. Selecting a page's calls first and their columns later is three times faster."""
        order = f"ORDER BY {SORTS[self.sort]}, recording_id"
        return f"""{LISTED}, chosen AS (
    SELECT recording_id FROM listed
    WHERE {self.where}
    {order} {rows}
)
SELECT {COLUMNS}
FROM (FROM listed SEMI JOIN chosen USING (recording_id)) AS listed
LEFT JOIN (SELECT recording_id, reason_code, reason FROM outcomes SEMI JOIN chosen USING (recording_id)) USING (recording_id)
{order}"""

    @property
    def parameters(self) -> dict[str, Any]:
        given = {"search": self.search, "caller": self.caller}
        return self.filters.parameters | self.limits | {name: value for name, value in given.items() if value}


def listed(request: Request, filters: TheFilters) -> Listed:
    """The list that an address selects. Raises HTTPException 400 with a message for the visitor."""
    given = {name: value for name, value in request.query_params.items() if value}
    chosen = {name: given[name] for name in CONDITIONS if name in given}
    for name, value in chosen.items():
        _one_of(name, value, CONDITIONS[name])
    search = given.get("search", "").strip()
    if len(search) > MAX_SEARCH_CHARACTERS:
        raise HTTPException(400, f"A search may have at most {MAX_SEARCH_CHARACTERS} characters.")
    caller = given.get("caller", "").strip()
    if len(caller) > MAX_CALLER_CHARACTERS:
        raise HTTPException(400, f"The pseudonym of a caller has at most {MAX_CALLER_CHARACTERS} characters.")
    limits = {name: _seconds(name, given[name]) for name in LIMITS if name in given}
    usual = {"anger": "angriest", "unsure": "least-sure", None: "newest"}
    sort = given.get("sort") or usual.get(chosen.get("emotion"), chosen.get("emotion", "newest"))
    _one_of("sort", sort, SORTS)
    number = given.get("page", "1")
    if not number.isascii() or not number.isdigit() or len(number) > 6 or not 1 <= int(number) <= LAST_PAGE:
        raise HTTPException(400, f"{number[:40]!r} is not a page: use a number from 1 on.")
    return Listed(filters, chosen, search, sort, int(number), limits, caller)


def _seconds(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= MAX_SECONDS:
        raise HTTPException(400, f"{name} cannot be {text[:40]!r}: use seconds from 0 to {MAX_SECONDS:,}.")
    return value


TheList = Annotated[Listed, Depends(listed)]


def _one_of(name: str, value: str, known: dict[str, str]) -> None:
    if value not in known:
        raise HTTPException(400, f"{name} cannot be {value[:40]!r}: choose one of {', '.join(known)}.")


@router.get("/calls")
def calls(request: Request, wanted: TheList) -> Response:
    zone = {"zone": request.app.state.settings.time_zone}
    totals = f"""
        {LISTED} SELECT count(*) AS rows, count(*) FILTER (outcome IN ('quarantined', 'failed')) AS unread,
            rows - unread AS calls, count(*) FILTER (outcome = 'scored') AS scored, sum(scored_speech_s) AS scored_speech_s,
            weighted_avg(share_unsure, nullif(scored_speech_s, 0)) AS share_unsure,
            weighted_avg(share_anger, nullif(scored_speech_s, 0)) AS share_anger
        FROM listed WHERE {wanted.where}
        """
    [total] = fetch(request, totals, wanted.parameters | zone)
    sql = wanted.sql("LIMIT $rows OFFSET $skipped")
    parameters = wanted.parameters | zone | {"rows": CALLS_A_PAGE, "skipped": CALLS_A_PAGE * (wanted.page - 1)}
    rows = fetch(request, sql, parameters)
    return page(
        request,
        "calls.html",
        filters=wanted.filters,
        queues=queue_names(request),
        wanted=wanted,
        rows=rows,
        total=total,
        first=CALLS_A_PAGE * (wanted.page - 1) + 1,
        pages=-(-total["rows"] // CALLS_A_PAGE),
        emotions=EMOTIONS,
        known_emotions=[emotion for emotion in EMOTIONS if any(row[f"share_{emotion}"] is not None for row in rows)],
        clock=clock,
        span=span,
        local=in_zone(request),
        conditions=CONDITIONS,
        little_speech_s=LITTLE_SPEECH_S,
        shrinkage_s=SHRINKAGE_S,
        best=wanted.sort in BEST,
        sql=Query("The list of calls", sql).with_values(parameters),
    )


@router.get("/calls.csv")
def calls_csv(request: Request, wanted: TheList) -> Response:
    log_access(
        request,
        "calls_csv",
        detail=wanted.query(**dict.fromkeys([name for name in ("search", "caller") if getattr(wanted, name)], "(not logged)")),
    )
    sql = wanted.sql()
    parameters = wanted.parameters | {"zone": request.app.state.settings.time_zone}
    name = f"calls-{wanted.filters.first}-{wanted.filters.last}.csv"
    cursor = request.state.snapshot.cursor(request.state.viewer)
    batches = iter(cursor.execute(sql, parameters).to_arrow_reader(CSV_ROWS_AT_ONCE))
    first = next(batches, None)  # a query that fails at once is answered 500, not with half a file
    lines = _lines(cursor, itertools.chain([] if first is None else [first], batches))
    return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _lines(cursor: Any, batches: Iterator[pa.RecordBatch]) -> Iterator[str]:
    """The list as CSV. An error after the first bytes propagates, and the server then breaks the connection."""
    with cursor:
        yield BYTE_ORDER_MARK + ",".join(NAMES) + "\n"
        for batch in batches:
            text = io.StringIO()
            csv_writer(text).writerows([map(csv_cell, row.values()) for row in batch.to_pylist()])
            yield text.getvalue()


def csv_cell(value: Any) -> Any:
    """A value for the CSV: booleans as in SQL, numbers to 6 digits, and text that no spreadsheet takes for a formula."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else spreadsheet_safe(value)
