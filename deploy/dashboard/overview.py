"""The first page."""

from fastapi import APIRouter, Request, Response

from deploy.dashboard.pages import TheFilters, ask, page

router = APIRouter()


@router.get("/")
def overview(request: Request, filters: TheFilters) -> Response:
    days = ask(
        request,
        f"""
        SELECT call_date, sum(calls)::BIGINT AS calls, sum(scored)::BIGINT AS scored,
            weighted_avg(share_anger, scored_speech_s) AS share_anger, weighted_avg(share_unsure, scored_speech_s) AS share_unsure
        FROM calls_by_day_and_queue WHERE {filters.where} GROUP BY call_date ORDER BY call_date DESC
        """,
        filters.parameters,
    )
    return page(request, "overview.html", filters=filters, queues=queue_names(request), days=days)


def queue_names(request: Request) -> list[str]:
    """The queues that the viewer may choose from, by name; an empty one stands for calls without a queue."""
    rows = ask(request, "SELECT DISTINCT coalesce(queue, '') AS queue FROM call_emotions ORDER BY queue")
    return [row["queue"] for row in rows]
