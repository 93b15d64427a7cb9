"""The list of calls: searched, narrowed, sorted and paged by its address alone, so that a link or a bookmark shows the same list."""

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import StreamingResponse

from ser_tasks.dashboard.filters import Filters
from ser_tasks.dashboard.overview import queue_names
from ser_tasks.dashboard.pages import TheFilters, ask, page
from ser_tasks.dashboard.queries import Question
from ser_tasks.dashboard.timeline import clock, span
from ser_tasks.query.formats import spreadsheet_safe
from ser_tasks.schemas import EMOTIONS, NEGATIVE_EMOTIONS, OUTCOMES

router = APIRouter()

CALLS_A_PAGE, LAST_PAGE = 50, 100_000
LONGEST_SEARCH = 200
CSV_ROWS_AT_ONCE = 10_000
STEADY_S = 30
"""A call is put in order by its share as if so many seconds of the average call were added, as in the mart worst_calls:
one segment of a short call is not the worst of all."""
ENOUGH_S = 10
"""With less scored speech the list says that a share rests on little."""


def _steady(share: str) -> str:
    average = f"(SELECT weighted_avg({share}, nullif(scored_speech_s, 0)) FROM listed)"
    return f"({share} * scored_speech_s + {average} * {STEADY_S}) / (scored_speech_s + {STEADY_S})"


SORTS = {
    "newest": "started_at DESC NULLS LAST, call_date DESC",
    "oldest": "started_at NULLS LAST, call_date",
    "angriest": f"{_steady('share_anger')} DESC NULLS LAST, peak_anger DESC NULLS LAST",
    "most-negative": f"{_steady('mean_negativity')} DESC NULLS LAST",
    "calmest": f"{_steady('mean_negativity')} NULLS LAST",
    "got-worse": "negativity_change DESC NULLS LAST",
    "got-better": "negativity_change NULLS LAST",
    "peak": "peak_anger DESC NULLS LAST",
    "least-sure": f"{_steady('share_unsure')} DESC NULLS LAST",
    "most-sure": f"{_steady('share_unsure')} NULLS LAST",
    "longest": "duration_s DESC NULLS LAST",
    "shortest": "duration_s NULLS LAST",
    "queue": "queue NULLS LAST, started_at DESC NULLS LAST",
    "call": "call_id",
    "outcome": "outcome, reason_code NULLS FIRST, started_at DESC NULLS LAST",
    **{emotion: f"{_steady(f'share_{emotion}')} DESC NULLS LAST" for emotion in EMOTIONS if emotion != "anger"},
}
"""What ``sort=`` may say -> ORDER BY."""
BEST = ("happiness", "calmest", "got-better")
"""Orders in which the list leads to each call's happiest moment, not to its angriest."""

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
"""What each name of an address may say -> the condition that stands for it. Nothing of an address becomes SQL."""

SEARCHED = "contains(lower(concat_ws(' ', call_id, queue, language, codec, sampling_rate_hz)), lower($search))"

NEGATIVITY = " + ".join(f"coalesce(mean_p_{emotion}, 0)" for emotion in NEGATIVE_EMOTIONS)

LISTED = f"""WITH listed AS (
    SELECT *, {NEGATIVITY} AS mean_negativity, isodow(call_date) AS weekday,
        coalesce(local_hour, extract(hour FROM started_at AT TIME ZONE $zone)) AS hour
    FROM call_emotions
    UNION ALL BY NAME -- what could not be read has no facts: it stands under the day of its folder
    SELECT recording_id, call_id, day AS call_date, outcome FROM outcomes WHERE outcome IN ('quarantined', 'failed')
)"""
COLUMNS = ", ".join(
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


@dataclass(frozen=True)
class Listed:
    """Which calls an address asks for, and in which order."""

    filters: Filters
    chosen: dict[str, str]
    """For each name of CONDITIONS that the address says, what it says."""
    search: str
    sort: str
    page: int

    def query(self, **more: Any) -> str:
        """The address's query, with changes; None leaves a name out. Another order or condition begins at the first page."""
        own = self.chosen | {"search": self.search or None, "sort": self.sort, "page": None}
        return self.filters.query(**own | more)

    @property
    def where(self) -> str:
        conditions = [CONDITIONS[name][value] for name, value in self.chosen.items()]
        return " AND ".join([self.filters.where, *conditions, *([SEARCHED] if self.search else [])])

    def sql(self, rows: str = "") -> str:
        """The list's statement; ``rows`` is its LIMIT. Which calls are on a page is found first: to carry every column along would
        take three times as long."""
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
        return self.filters.parameters | ({"search": self.search} if self.search else {})


def listed(request: Request, filters: TheFilters) -> Listed:
    """What the address asks for. Raises 400 with a sentence for a person."""
    given = {name: value for name, value in request.query_params.items() if value}
    chosen = {name: given[name] for name in CONDITIONS if name in given}
    for name, value in chosen.items():
        _one_of(name, value, CONDITIONS[name])
    search = given.get("search", "").strip()
    if len(search) > LONGEST_SEARCH:
        raise HTTPException(400, f"A search may have {LONGEST_SEARCH} characters.")
    usual = {"anger": "angriest", "unsure": "least-sure", None: "newest"}
    sort = given.get("sort") or usual.get(chosen.get("emotion"), chosen.get("emotion", "newest"))
    _one_of("sort", sort, SORTS)
    number = given.get("page", "1")
    if not number.isascii() or not number.isdigit() or len(number) > 6 or not 1 <= int(number) <= LAST_PAGE:
        raise HTTPException(400, f"{number[:40]!r} is no page: give a number from 1 on.")
    return Listed(filters, chosen, search, sort, int(number))


TheList = Annotated[Listed, Depends(listed)]


def in_zone(request: Request) -> Callable[..., str]:
    """Writes moments in the site's time zone, as its hours and days of the week count."""
    zone = ZoneInfo(request.app.state.settings.time_zone)
    return lambda moment, form="%Y-%m-%d %H:%M": moment.astimezone(zone).strftime(form)


def _one_of(name: str, value: str, known: dict[str, str]) -> None:
    if value not in known:
        raise HTTPException(400, f"{name} can not be {value[:40]!r}: choose one of {', '.join(known)}.")


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
    [total] = ask(request, totals, wanted.parameters | zone)
    sql = wanted.sql("LIMIT $rows OFFSET $skipped")
    parameters = wanted.parameters | zone | {"rows": CALLS_A_PAGE, "skipped": CALLS_A_PAGE * (wanted.page - 1)}
    rows = ask(request, sql, parameters)
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
        enough_s=ENOUGH_S,
        steady_s=STEADY_S,
        best=wanted.sort in BEST,
        sql=Question("The list of calls", sql).with_values(parameters),
    )


@router.get("/calls.csv")
def calls_csv(request: Request, wanted: TheList) -> Response:
    sql = wanted.sql()
    parameters = wanted.parameters | {"zone": request.app.state.settings.time_zone}
    name = f"calls-{wanted.filters.first}-{wanted.filters.last}.csv"
    lines = _lines(request.state.snapshot.cursor(request.state.viewer), sql, parameters)
    return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _lines(cursor: Any, sql: str, parameters: dict[str, Any]) -> Iterator[str]:
    with cursor:
        batches = cursor.execute(sql, parameters).to_arrow_reader(CSV_ROWS_AT_ONCE)
        yield ",".join(batches.schema.names) + "\n"
        for batch in batches:
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows([map(_cell, row.values()) for row in batch.to_pylist()])
            yield text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else spreadsheet_safe(value)
